"""Whether a decoder follows principal components: from Jacobians to distances and contrasts."""

from __future__ import annotations

from typing import Any, NamedTuple

import scipy
import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import _native
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import by_rows, check, has_kernels, launch, promote_half, register_operator

__all__ = ["GramAlignment", "gram_alignment", "gram_alignment_reference", "is_latents_first"]

CLEARLY_LONGER = 4  # times as many pixels as latents


class GramAlignment(NamedTuple):
    """Results of `gram_alignment`, with J = U S V^T at each point."""

    gram: Tensor  # [B, d, d]
    singular_values: Tensor  # [B, d]
    v: Tensor  # [B, d, d]
    distance: Tensor  # [B]
    permutation: Tensor  # [B, d]
    ima_contrast: Tensor  # [B]


def gram_alignment_reference(
    jacobian: Tensor, active: Tensor | None = None, *, latent_axis: int | None = None
) -> GramAlignment:
    """J = U S V^T by torch.linalg, P(V) by linear sum assignment on |V|."""
    J = jacobian.mT if is_latents_first(jacobian, latent_axis) else jacobian
    B, _, d = J.shape
    on = _active_mask(active, J)
    gram = J.double().mT @ J.double()
    values, v = gram.new_zeros(B, d), gram.new_zeros(B, d, d)
    distance, contrast = gram.new_zeros(B), gram.new_zeros(B)
    permutation = torch.full((B, d), -1, device=J.device)
    for b in range(B):
        at = on[b].nonzero()[:, 0]
        m = len(at)
        if not gram[b].isfinite().all():
            values[b], v[b], distance[b], contrast[b] = (torch.nan,) * 4
        elif m:
            squared, vectors = torch.linalg.eigh(gram[b][at][:, at])
            squared, vectors = squared.flip(0).clamp_min(0), vectors.detach().flip(1)
            rows, columns = scipy.optimize.linear_sum_assignment(-vectors.abs().cpu().numpy())
            order = torch.as_tensor(columns, device=J.device)
            signs = vectors[rows, columns].sign()[order.argsort()]
            values[b, :m], v[b, at, :m] = squared.sqrt(), vectors * signs
            permutation[b, at] = order
            distance[b] = (v[b, at, :m] - torch.eye(m).to(vectors)[order.argsort()].T).norm()
            contrast[b] = (gram[b].diagonal()[at].log() - squared.log()).sum().clamp_min(0) / 2
            if m > J.shape[1] or (squared == 0).any():
                contrast[b] = torch.inf
    return GramAlignment(
        gram.to(J.dtype),
        values.to(J.dtype),
        v.to(J.dtype),
        distance.to(J.dtype),
        permutation,
        contrast.to(J.dtype),
    )


def is_latents_first(jacobian: Tensor, latent_axis: int | None) -> bool:
    """Return True for the layout [B, d, P]: as given, or where one axis is clearly the pixels'."""
    _, first, second = jacobian.shape
    if latent_axis is None:
        if max(first, second) < CLEARLY_LONGER * min(first, second):
            expected = f"1 or 2, as shape {list(jacobian.shape)} leaves open where the latents are"
            raise InputError("latent_axis", expected, None)
        return first < second
    if latent_axis not in (1, 2, -1, -2):
        raise InputError("latent_axis", "1 or 2", latent_axis)
    return latent_axis in (1, -2)


def _active_mask(active: Tensor | None, J: Tensor) -> Tensor:
    B, _, d = J.shape
    if active is None:
        return torch.ones(B, d, dtype=torch.bool, device=J.device)
    return active.expand(B, d)


def _align(jacobian: Tensor, active: Tensor | None, latents_first: bool) -> tuple[Tensor, ...]:
    jacobian = jacobian.contiguous()
    active = None if active is None else active.contiguous()
    B, P, d = jacobian.mT.shape if latents_first else jacobian.shape
    gram, v = jacobian.new_empty(B, d, d), jacobian.new_empty(B, d, d)
    values, distance = jacobian.new_empty(B, d), jacobian.new_empty(B)
    permutation = jacobian.new_empty(B, d, dtype=torch.int64)
    contrast = jacobian.new_empty(B)
    size = 2 * B * d * d if _native.runs_cuda_kernels(jacobian) else 0
    workspace = jacobian.new_empty(size, dtype=torch.float64)
    launch(
        "gram_alignment", jacobian,
        jacobian, latents_first, active, B, P, d, workspace,
        gram, values, v, distance, permutation, contrast,
    )  # fmt: skip
    return gram, values, v, distance, permutation, contrast


def _align_fake(jacobian: Tensor, active: Tensor | None, latents_first: bool) -> tuple[Tensor, ...]:
    B, d = jacobian.shape[0], jacobian.shape[1 if latents_first else 2]
    new = jacobian.new_empty
    permutation = new((B, d), dtype=torch.int64)
    return new((B, d, d)), new((B, d)), new((B, d, d)), new((B,)), permutation, new((B,))


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    jacobian, active, ctx.latents_first = inputs
    gram, values, v, distance, permutation, _ = output
    ctx.mark_non_differentiable(v, distance, permutation)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(jacobian, active, gram, values, v)


def _backward(
    ctx: Any, g_gram: Tensor | None, g_values: Tensor | None, *rest: Tensor | None
) -> tuple[Tensor | None, None, None]:
    g_contrast = rest[-1]
    jacobian, active, gram, values, v = ctx.saved_tensors
    total = torch.zeros_like(gram) if g_gram is None else g_gram
    # d s_j = v_j^T dG v_j / (2 s_j), and c = (sum_i log G_ii - sum_j log s_j^2) / 2. Directions
    # that do not exist (singular value 0) pass nothing on.
    spectrum = torch.zeros_like(values)
    inverse = torch.where(values > 0, 1 / values, 0)
    if g_values is not None:
        spectrum = spectrum + g_values * inverse / 2
    if g_contrast is not None:
        spectrum = spectrum - g_contrast[:, None] * inverse**2 / 2
        norms = gram.diagonal(dim1=1, dim2=2)
        diagonal = torch.where(norms > 0, g_contrast[:, None] / (2 * norms), 0)
        total = total + torch.diag_embed(diagonal if active is None else diagonal * active)
    total = total + (v * spectrum[:, None]) @ v.mT
    total = total + total.mT  # G = J^T J
    return total @ jacobian if ctx.latents_first else jacobian @ total, None, None


_align_op = register_operator(
    "gram_alignment(Tensor jacobian, Tensor? active, bool latents_first) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _align,
    _align_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_rows,
)


def gram_alignment(
    jacobian: Tensor,  # [B, P, d] or [B, d, P]
    active: Tensor | None = None,  # [d] or [B, d]
    *,
    latent_axis: int | None = None,
) -> GramAlignment:
    """How far the columns of decoder Jacobians are from orthogonal principal directions.

    With J = U S V^T over the active latents, V is the identity up to order and sign where
    the columns of J are orthogonal. Equivalent to::

        V = torch.linalg.svd(J).Vh.mT
        i, j = linear_sum_assignment(-abs(V))   # P: the nearest signed permutation
        distance = norm(V - P)                  # "distance to orthogonality"
        ima_contrast = J.norm(dim=1).log().sum() - logdet(J.T @ J) / 2

    at each point, in one kernel from Jacobian to numbers; products add up in double.
    Gradients flow through ``gram``, ``singular_values`` and ``ima_contrast``.

    Parameters
    ----------
    jacobian
        [B, P, d] or [B, d, P], float32 or float64 (half types count in float32).
    active
        Which latents count, bool, [d] or [B, d]; all if None.
    latent_axis
        Which axis of ``jacobian`` has the latents, 1 or 2. May be left out where the other
        is at least four times as long, as pixels are.

    Returns
    -------
    GramAlignment
        ``gram`` [B, d, d]: J^T J of all columns. The rest is about the m active ones:
        ``singular_values`` [B, d], descending, then zeros. ``v`` [B, d, d]: columns are the
        right singular vectors in that order, zero elsewhere. ``permutation`` [B, d]: which
        singular vector each latent is matched to, -1 if passive; signs of ``v`` are such
        that matched entries are positive. ``distance`` [B]: Frobenius norm of V - P(V),
        in [0, sqrt(2 m)], unnormalised; compare with chance, and mind that it means
        little where singular values are nearly equal. ``ima_contrast`` [B], nats: 0 iff
        the columns are orthogonal, infinite if they are linearly dependent. A point whose
        Jacobian holds NaN or infinity is NaN, with permutation -1.

    Raises
    ------
    InputError
        A shape, dtype or device that does not fit; a layout that is not clear.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (distance to orthogonality).
    Gresele et al., Independent mechanism analysis, NeurIPS 2021 (IMA contrast).
    """
    check("jacobian", jacobian, "B P d")
    jacobian = promote_half(jacobian)
    latents_first = is_latents_first(jacobian, latent_axis)
    B, d = jacobian.shape[0], jacobian.shape[1 if latents_first else 2]
    if active is not None:
        if not isinstance(active, Tensor) or active.dtype != torch.bool:
            raise InputError(
                "active", "a bool tensor", getattr(active, "dtype", type(active).__name__)
            )
        if active.shape not in ((d,), (B, d)):
            raise InputError("active", f"shape [{d}] or [{B}, {d}]", list(active.shape))
        if active.device != jacobian.device:
            raise InputError("active", f"the device of jacobian, {jacobian.device}", active.device)
        active = active.expand(B, d)
    if d > _core.MAX_COLUMNS or not has_kernels(jacobian.device):
        return gram_alignment_reference(jacobian, active, latent_axis=1 if latents_first else 2)
    return GramAlignment(*_align_op(jacobian, active, latents_first))


def _well_defined(found: GramAlignment) -> list[Tensor]:
    return [found.gram, found.singular_values, found.distance, found.ima_contrast]


@example(gram_alignment, gram_alignment_reference, outputs=_well_defined)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(4, 300, 6) * torch.arange(1, 7)]
