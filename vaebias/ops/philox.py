"""Counter-based normal noise: the same seed, offset and element give the same bits anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._native import launch, register_operator

__all__ = [
    "check_stream",
    "philox_normal",
    "philox_normal_reference",
    "philox_uniforms_reference",
]


def philox_normal_reference(
    shape: tuple[int, ...], seed: int | Tensor, offset: int | Tensor, dtype: torch.dtype
) -> Tensor:
    """Philox4x32-10 (Salmon et al. 2011) with Box-Muller, as csrc/philox.h draws them."""
    size = math.prod(shape)
    uniforms = [x.double() for x in philox_uniforms_reference(size, seed, offset, dtype)]
    normals = []
    for u, v in zip(uniforms[::2], uniforms[1::2], strict=True):
        radius = (-2 * u.log()).sqrt()
        normals += [radius * (2 * math.pi * v).cos(), radius * (2 * math.pi * v).sin()]
    return torch.stack(normals, 1).flatten()[:size].reshape(shape).to(dtype)


def philox_uniforms_reference(
    size: int, seed: int | Tensor, offset: int | Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Uniforms in (0, 1] of the blocks for ``size`` normals: four of each in float32, else two."""
    mask, width = 0xFFFFFFFF, 4 if dtype == torch.float32 else 2
    device = next((x.device for x in (seed, offset) if isinstance(x, Tensor)), None)
    block = torch.arange((size + width - 1) // width, device=device)
    zero = torch.zeros_like(block)
    c = [block & mask, block >> 32, zero + (offset & mask), zero + (offset >> 32)]
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        # 32 x 32 bits do not fit into int64: multiply the halves.
        high, low = zip(
            *(_multiply(m, x) for m, x in ((0xD2511F53, c[0]), (0xCD9E8D57, c[2]))), strict=True
        )
        c = [high[1] ^ c[1] ^ key[0], low[1], high[0] ^ c[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    if dtype == torch.float32:
        return [(w.float() + 0.5) * 2.0**-32 for w in c]
    return [(((h << 21) ^ (w >> 11)).double() + 0.5) * 2.0**-53 for h, w in (c[:2], c[2:])]


def _multiply(m: int, x: Tensor) -> tuple[Tensor, Tensor]:
    low = m * (x & 0xFFFF)
    high = m * (x >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def check_stream(name: str, number: int | Tensor) -> None:
    """Refuse a negative seed or offset, or a tensor that is not a single int64."""
    if isinstance(number, Tensor):
        if number.ndim or number.dtype != torch.int64:
            found = f"{number.dtype} {list(number.shape)}"
            raise InputError(name, "an int, or int64 of shape []", found)
    elif number < 0:
        raise InputError(name, "a number from 0 to 2**63 - 1", number)


def _normal(like: Tensor, seeds: Tensor, offset: Tensor) -> Tensor:
    if seeds.device.type == "cpu":  # on CUDA a look would wait for the device
        check_stream("seed", int(seeds.min()) if len(seeds) else 0)
    noise = torch.empty_like(like, memory_format=torch.contiguous_format)
    streams = len(seeds)
    launch(
        "philox_normal", like,
        seeds.contiguous(), offset, streams, like.numel() // max(streams, 1), noise,
    )  # fmt: skip
    return noise


def _normal_fake(like: Tensor, seeds: Tensor, offset: Tensor) -> Tensor:
    return like.new_empty(like.shape)


def _slices(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return the vmap rule: the streams of all slices in one call."""

    def rule(info: Any, in_dims: Any, like: Tensor, seeds: Tensor, offset: Tensor) -> Any:
        if in_dims[2] is not None:
            raise InputError("offset", "the same for all slices", "one for each")
        size = info.batch_size
        likes = (
            like.expand(size, *like.shape) if in_dims[0] is None else like.movedim(in_dims[0], 0)
        )
        seeds = seeds.expand(size, -1) if in_dims[1] is None else seeds.movedim(in_dims[1], 0)
        return operator(likes, seeds.flatten(), offset), 0

    return rule


_normal_op = register_operator(
    "philox_normal(Tensor like, Tensor seeds, Tensor offset) -> Tensor",
    _normal,
    _normal_fake,
    vmap=_slices,
)


def philox_normal(
    like: Tensor,  # [...]
    seed: int | Tensor,
    offset: int | Tensor,
) -> Tensor:  # [...]
    """Draw the noise of a stream; seed and offset are read where it is drawn, not before."""
    seed, offset = (torch.as_tensor(x, device=like.device) for x in (seed, offset))
    noise: Tensor = _normal_op(like, seed.reshape(1), offset)
    return noise
