"""Which principal component each latent's decoder direction points along."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import by_rows, check, has_kernels, launch, promote_half, register_operator
from vaebias.ops._transforms import transformed
from vaebias.ops.gram_alignment import is_latents_first

__all__ = ["direction_cosines", "direction_cosines_reference"]


def direction_cosines_reference(
    jacobian: Tensor, components: Tensor, *, latent_axis: int | None = None
) -> Tensor:
    """J_i . C_a / (|J_i| |C_a|) in double, each first divided by its largest entry."""
    J = jacobian if _is_latents_first(jacobian, components, latent_axis) else jacobian.mT
    return (_units(J) @ _units(components).mT).clamp(-1, 1).to(jacobian.dtype)


def _units(rows: Tensor) -> Tensor:
    rows = rows.double()
    if rows.shape[-1]:
        largest = rows.detach().abs().amax(-1, keepdim=True)
        rows = rows / torch.where(largest > 0, largest, 1)
    return torch.nn.functional.normalize(rows, dim=-1)


def _is_latents_first(jacobian: Tensor, components: Tensor, latent_axis: int | None) -> bool:
    """Return True for the layout [B, d, P]: as given, or where one axis has as many pixels."""
    (_, first, second), P = jacobian.shape, components.shape[2]
    if latent_axis is None and (first == P) != (second == P):
        return bool(second == P)
    if latent_axis is None and first != P:
        expected = f"shape [{len(jacobian)}, k, {first} or {second}]"
        raise InputError("components", expected, list(components.shape))
    return is_latents_first(jacobian, latent_axis)


def _cosines(jacobian: Tensor, components: Tensor, latents_first: bool) -> tuple[Tensor, Tensor]:
    jacobian, components = jacobian.contiguous(), components.contiguous()
    B, P, d = jacobian.mT.shape if latents_first else jacobian.shape
    k = components.shape[1]
    cosines, norms = jacobian.new_empty(B, d, k), jacobian.new_empty(B, d + k)
    launch(
        "direction_cosines", jacobian,
        jacobian, latents_first, components, B, P, d, k, cosines, norms,
    )  # fmt: skip
    return cosines, norms


def _cosines_fake(
    jacobian: Tensor, components: Tensor, latents_first: bool
) -> tuple[Tensor, Tensor]:
    (B, k, _), d = components.shape, jacobian.shape[1 if latents_first else 2]
    return jacobian.new_empty(B, d, k), jacobian.new_empty(B, d + k)


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    jacobian, components, ctx.latents_first = inputs
    cosines, norms = output
    ctx.mark_non_differentiable(norms)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(jacobian, components, cosines, norms)


def _backward(ctx: Any, g: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if g is None:
        return (None,) * 3
    jacobian, components, cosines, norms = ctx.saved_tensors
    J = jacobian if ctx.latents_first else jacobian.mT
    # d cos_ia / d J_i = (C_a / |C_a| - cos_ia J_i / |J_i|) / |J_i|, divided in this order: the
    # norms' product may leave the range of floats where no result does.
    inverse = torch.where(norms > 0, 1 / norms, 0)
    of_column, of_component = inverse.split([J.shape[1], components.shape[1]], 1)
    of_column, of_component = of_column[..., None], of_component[:, None]
    g_jacobian = g_components = None
    if ctx.needs_input_grad[0]:
        along = (g * cosines).sum(2, keepdim=True)
        g_jacobian = of_column * ((g * of_component) @ components - (along * of_column) * J)
        g_jacobian = g_jacobian if ctx.latents_first else g_jacobian.mT
    if ctx.needs_input_grad[1]:
        along = (g * cosines).sum(1)[..., None]
        of_component = of_component.mT
        g_components = of_component * ((g * of_column).mT @ J - (along * of_component) * components)
    return g_jacobian, g_components, None


_cosines_op = register_operator(
    "direction_cosines(Tensor jacobian, Tensor components, bool latents_first) -> (Tensor, Tensor)",
    _cosines,
    _cosines_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_rows,
)


def direction_cosines(
    jacobian: Tensor,  # [B, P, d] or [B, d, P]
    components: Tensor,  # [B, k, P]
    *,
    latent_axis: int | None = None,
) -> Tensor:  # [B, d, k]
    """Cosine of the angle between each decoder direction and each principal component.

    Equivalent to::

        F.normalize(jacobian, dim=1).mT @ F.normalize(components, dim=2).mT

    for [B, P, d], without normalised copies; products add up in double. Differentiable in
    both.

    Parameters
    ----------
    jacobian
        Decoder Jacobians at B points, [B, P, d] or [B, d, P], float32 or float64 (half types
        count in float32).
    components
        k directions of image space at each point, [B, k, P], of any length.
    latent_axis
        Which axis of ``jacobian`` has the latents, 1 or 2. May be left out where only the
        other is as long as ``components`` has pixels.

    Returns
    -------
    Tensor
        [B, d, k], in [-1, 1]: 0 where the column or the component is zero, NaN where either
        holds NaN or infinity.

    Raises
    ------
    InputError
        A shape, dtype or device that does not fit; a layout that is not clear.
    """
    check("jacobian", jacobian, "B P d")
    check("components", components, "B k P")
    jacobian, components = promote_half(jacobian), promote_half(components)
    latents_first = _is_latents_first(jacobian, components, latent_axis)
    B, P = jacobian.shape[0], jacobian.shape[2 if latents_first else 1]
    if components.shape[0] != B or components.shape[2] != P:
        raise InputError("components", f"shape [{B}, k, {P}]", list(components.shape))
    if components.dtype != jacobian.dtype:
        raise InputError("components", f"the dtype of jacobian, {jacobian.dtype}", components.dtype)
    if components.device != jacobian.device:
        raise InputError(
            "components", f"the device of jacobian, {jacobian.device}", components.device
        )
    if transformed() or not has_kernels(jacobian.device):
        return direction_cosines_reference(
            jacobian, components, latent_axis=1 if latents_first else 2
        )
    cosines: Tensor = _cosines_op(jacobian, components, latents_first)[0]
    return cosines


@example(direction_cosines, direction_cosines_reference)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(4, 300, 6), draw.normal(4, 5, 300)]
