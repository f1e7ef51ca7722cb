"""Jacobian of any decoder: derivative of each pixel by each latent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from vaebias.analysis.latents import choose_coordinates, flattened
from vaebias.errors import InputError
from vaebias.inference import CPU_BATCH, check_repeatable, evaluating
from vaebias.interfaces import Decoder, Output

__all__ = ["DecoderJacobian", "jacobian", "prepare_jacobian"]

Method = Literal["forward", "reverse", "single", "finite"]

# Activations of a decoder, in units of its output, are not known from outside. The study's
# convolutional decoders hold 8 to 16 times their image at the widest layer.
_ACTIVATIONS = 16
_SINGLE = 4096  # pixels up to which one reverse pass for each is affordable


@dataclass(frozen=True)
class DecoderJacobian:
    """A prepared decoder; calling it on latents returns their Jacobians.

    Attributes
    ----------
    function
        z [B, d] -> flat pixels [B, P], in the requested space.
    latents, pixels
        Numbers of latents and pixels, d and P.
    method
        ``"forward"`` mode over all latents at once, ``"reverse"`` mode twice if the decoder has
        no forward mode, a ``"single"`` reverse pass for each pixel, or central ``"finite"``
        differences.
    coordinates
        int64 [d], the latents to differentiate by; None for all.
    """

    function: Callable[[Tensor], Tensor]
    latents: int
    pixels: int
    method: Method
    coordinates: Tensor | None = None

    def __call__(
        self,
        z: Tensor,  # [B, d]
    ) -> Tensor:  # [B, d, P]
        """Return Jacobians at ``z``."""
        if len(z) == 0:
            return z.new_zeros(0, self.latents, self.pixels)
        columns = _all_or(self.coordinates, z)
        size = max(1, CPU_BATCH // (1 + len(columns))) if z.is_cpu else len(z)
        differentiate = _METHODS[self.method]
        parts = [differentiate(self.function, part, columns) for part in z.detach().split(size)]
        j = parts[0] if len(parts) == 1 else torch.cat(parts)
        return j.float() if j.dtype in (torch.float16, torch.bfloat16) else j

    def chunk(self, memory: int) -> int:
        """Return the number of points that fit into about ``memory`` bytes, at least 1."""
        return max(1, memory // (4 * _ACTIVATIONS * (1 + self.latents) * self.pixels))


def jacobian(
    decoder: Decoder,
    z: Tensor,  # [B, d]
    *,
    output: Output = "logits",
    space: Output = "image",
    method: Method | Literal["auto"] = "auto",
    memory: int = 2**28,
    coordinates: Sequence[int] | NDArray[np.int64] | None = None,
) -> Tensor:  # [B, d, P]
    """Derivative of each pixel by each latent, at each point.

    By forward mode: d directions pushed through the decoder in one vectorised pass, at about
    d + 1 times the cost of decoding, whatever P is.

    Parameters
    ----------
    decoder
        Maps z [B, d] to an image (any [B, ...] of P numbers) for each row, rows independent
        of each other. A module is put into evaluation mode meanwhile.
    z
        Latents; of any shape [B, ...], in whose flat order the d directions are.
    output
        What the decoder returns: Bernoulli ``"logits"`` or the ``"image"`` itself.
    space
        Where to differentiate. ``"image"``: pixels, after the sigmoid of logits: the space in
        which the data's principal components live. ``"logits"``: before it.
    method
        ``"auto"`` takes the first of forward, reverse, single, finite that the decoder supports.
        Attention is computed by torch's math backend, which has all derivatives.
    memory
        Rough bound on memory, in bytes, in addition to the result; points are done in chunks.
    coordinates
        Flat indices of the latents to differentiate by; all by default.

    Returns
    -------
    Tensor
        [B, d, P], of z's dtype (float32 for half precision) and on its device; outside autograd.

    Raises
    ------
    InputError
        Where z or what the decoder makes of it has the wrong shape, or z is not finite.
    """
    decoder, z = flattened(decoder, z.shape[1:]), z.flatten(1) if z.ndim > 2 else z
    chosen = choose_coordinates(coordinates, z.shape[1] if z.ndim == 2 else 0, 0)
    with evaluating(decoder):
        at = prepare_jacobian(
            decoder, z, output=output, space=space, method=method, coordinates=chosen
        )
        step = at.chunk(memory)
        chunks = [at(z[start : start + step]) for start in range(0, len(z), step)]
    return torch.cat(chunks) if chunks else at(z)


def prepare_jacobian(
    decoder: Decoder,
    z: Tensor,  # [B, d]
    *,
    output: Output = "logits",
    space: Output = "image",
    method: Method | Literal["auto"] = "auto",
    coordinates: Tensor | None = None,
) -> DecoderJacobian:
    """Check a decoder on the first latents and choose how to differentiate it.

    Parameters and errors are those of `jacobian`.
    """
    for name, value in (("output", output), ("space", space)):
        if value not in ("logits", "image"):
            raise InputError(name, "'logits' or 'image'", repr(value))
    if output == "image" and space == "logits":
        raise InputError("space", "'image', where the decoder returns images", repr(space))
    if z.ndim != 2 or z.shape[1] == 0 or not z.is_floating_point():
        raise InputError("z", "floating-point latents [B, d]", f"{z.dtype} {list(z.shape)}")
    if not z.isfinite().all():
        raise InputError("z", "finite latents", "NaN or infinity")
    first = z[:1].detach() if len(z) else z.new_zeros(1, z.shape[1])
    pixels = _pixels(decoder, first)
    check_repeatable("decoder", decoder, z.detach())

    def function(points: Tensor) -> Tensor:
        # the fast attentions lack forward mode and second derivatives
        with sdpa_kernel(SDPBackend.MATH):
            images = decoder(points).flatten(1)
        return images.sigmoid() if space != output else images

    if method == "auto":
        # of two points: some operators have derivatives of a batch of one only
        pair = torch.cat([z, first, first])[:2].detach()
        method = _choose(function, pair, _all_or(coordinates, pair), pixels)
    elif method not in _METHODS:
        raise InputError("method", f"'auto' or one of {', '.join(_METHODS)}", repr(method))
    latents = z.shape[1] if coordinates is None else len(coordinates)
    return DecoderJacobian(function, latents, pixels, method, coordinates)


def _pixels(decoder: Decoder, z: Tensor) -> int:
    """Return the number of pixels, from two copies of a point: one could hide a missing batch."""
    try:
        with torch.no_grad():
            images = decoder(z.repeat(2, 1))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        found = f"{type(error).__name__}: {error}"
        raise InputError(
            "z", f"latents that the decoder takes ({z.shape[1]} a point given)", found
        ) from error
    expected = "a floating-point image for each row of z [2, d], as [2, C, H, W] or [2, P]"
    if not isinstance(images, Tensor):
        raise InputError("decoder(z)", expected, type(images).__name__)
    if images.ndim < 2 or images.shape[0] != 2 or not images.is_floating_point():
        raise InputError("decoder(z)", expected, f"{images.dtype} {list(images.shape)}")
    return images[0].numel()


def _all_or(coordinates: Tensor | None, z: Tensor) -> Tensor:
    if coordinates is None:
        return torch.arange(z.shape[1], device=z.device)
    return coordinates.to(z.device)


def _choose(
    function: Callable[[Tensor], Tensor], z: Tensor, columns: Tensor, pixels: int
) -> Method:
    for name in ("forward", "reverse", "single"):
        if name == "single" and pixels > _SINGLE:
            continue
        try:
            found = _METHODS[name](function, z, columns)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError):
            continue  # torch has no common type for "this operation lacks a derivative"
        # A decoder that leaves autograd (inference_mode, detach) yields zeros, not an error.
        if found.any() or not _finite(function, z, columns).any():
            return name
    return "finite"


def _forward(function: Callable[[Tensor], Tensor], z: Tensor, columns: Tensor) -> Tensor:
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[columns]
    basis = basis[:, None].expand(-1, *z.shape)

    def push(tangent: Tensor) -> Tensor:
        derivative: Tensor = torch.func.jvp(function, (z,), (tangent,))[1]
        return derivative

    with torch.no_grad(), _BiasAsWeight(), warnings.catch_warnings():
        # torch's own use of torch.jit.script, at the first forward-mode call of a process
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        rows: Tensor = torch.func.vmap(push)(basis)  # [d, B, P]
    return rows.movedim(0, 1)


class _BiasAsWeight(TorchFunctionMode):
    """Compute x Wᵀ + b as [x, 1] [W, b]ᵀ.

    Where a constant is added, torch's forward mode calls its Python reference of the sum, and the
    first call imports torch.compile: 2 to 4 s of a process.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and not kwargs and len(args) == 3 and args[2] is not None:
            x, weight, bias = args
            x = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)
            args = x, torch.cat([weight, bias[:, None]], 1)
        return func(*args, **(kwargs or {}))


def _reverse(function: Callable[[Tensor], Tensor], z: Tensor, columns: Tensor) -> Tensor:
    """J by two reverse passes: g(u) = Jᵀu is linear in u, and its transpose is J."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone().requires_grad_()
        images = function(z)
        dual = torch.zeros_like(images, requires_grad=True)
        (pulled,) = torch.autograd.grad(images, z, dual, create_graph=True)
        rows = [
            torch.autograd.grad(pulled[:, i].sum(), dual, retain_graph=True)[0]
            for i in columns.tolist()
        ]
    return torch.stack(rows, 1)


def _single(function: Callable[[Tensor], Tensor], z: Tensor, columns: Tensor) -> Tensor:
    """J by one reverse pass for each pixel: for decoders without second derivatives."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone().requires_grad_()
        images = function(z)
        pulled = [
            torch.autograd.grad(images[:, pixel].sum(), z, retain_graph=True)[0][:, columns]
            for pixel in range(images.shape[1])
        ]
    return torch.stack(pulled, 2)


def _finite(function: Callable[[Tensor], Tensor], z: Tensor, columns: Tensor) -> Tensor:
    # cube root of the rounding unit: where truncation and cancellation of a central
    # difference balance, for latents of order 1
    step = torch.finfo(z.dtype).eps ** (1 / 3)
    with torch.no_grad():
        rows = []
        for i in columns.tolist():
            ahead, behind = z.clone(), z.clone()
            ahead[:, i] += step
            behind[:, i] -= step
            # divide by the step that rounding left, not the one asked for
            taken = (ahead[:, i] - behind[:, i])[:, None]
            rows.append((function(ahead) - function(behind)) / taken)
    return torch.stack(rows, 1)


_METHODS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]] = {
    "forward": _forward,
    "reverse": _reverse,
    "single": _single,
    "finite": _finite,
}
