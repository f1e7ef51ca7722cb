"""Counter-based normal noise: the same seed, offset and element give the same bits anywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._native import by_slices, launch, register_operator

__all__ = ["check_stream", "philox_normal", "philox_normal_reference"]


def philox_normal_reference(
    shape: tuple[int, ...], seed: int | Tensor, offset: int, dtype: torch.dtype
) -> Tensor:
    """Philox4x32-10 (Salmon et al. 2011) with Box-Muller, as csrc/philox.h draws them."""
    size, mask = math.prod(shape), 0xFFFFFFFF
    width = 4 if dtype == torch.float32 else 2
    block = torch.arange((size + width - 1) // width)
    c = [
        block & mask,
        block >> 32,
        torch.full_like(block, offset & mask),
        torch.full_like(block, offset >> 32),
    ]
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        # 32 x 32 bits do not fit into int64: multiply the halves.
        high, low = zip(
            *(_multiply(m, x) for m, x in ((0xD2511F53, c[0]), (0xCD9E8D57, c[2]))), strict=True
        )
        c = [high[1] ^ c[1] ^ key[0], low[1], high[0] ^ c[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    if dtype == torch.float32:
        uniform = [((w.float() + 0.5) * 2.0**-32).double() for w in c]
    else:
        uniform = [(((h << 21) ^ (w >> 11)).double() + 0.5) * 2.0**-53 for h, w in (c[:2], c[2:])]
    normals = []
    for u, v in zip(uniform[::2], uniform[1::2], strict=True):
        radius = (-2 * u.log()).sqrt()
        normals += [radius * (2 * math.pi * v).cos(), radius * (2 * math.pi * v).sin()]
    return torch.stack(normals, 1).flatten()[:size].reshape(shape).to(dtype)


def _multiply(m: int, x: Tensor) -> tuple[Tensor, Tensor]:
    low = m * (x & 0xFFFF)
    high = m * (x >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def check_stream(name: str, number: int) -> None:
    if number < 0:
        raise InputError(name, "a number from 0 to 2**63 - 1", number)


def _normal(like: Tensor, seed: Tensor, offset: int) -> Tensor:
    check_stream("seed", int(seed))
    zero, noise, kl = torch.zeros_like(like), torch.empty_like(like), torch.empty_like(like)
    launch("sample_and_kl", like, zero, zero, None, int(seed), offset, like.numel(), noise, kl)
    return noise


def _normal_fake(like: Tensor, seed: Tensor, offset: int) -> Tensor:
    return like.new_empty(like.shape)


philox_normal = register_operator(
    "philox_normal(Tensor like, Tensor seed, SymInt offset) -> Tensor",
    _normal,
    _normal_fake,
    vmap=by_slices,
)
