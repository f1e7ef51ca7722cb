"""Rows times a factor each, in place, as a backward pass scales gradients of the forward pass."""

from __future__ import annotations

from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._native import launch, register_operator, storage

__all__ = ["scale_rows_", "scale_rows_reference"]


def scale_rows_reference(rows: Tensor, factors: Tensor) -> Tensor:
    """Return rows [B, ...] times factors [B], or times one factor []."""
    return (rows * factors.reshape(-1, *[1] * (rows.ndim - 1))).to(rows.dtype)


def _scale_rows(rows: Tensor, factors: Tensor) -> None:
    if not rows.is_contiguous():  # the kernel would write beside it
        raise InputError("rows", "a contiguous tensor", f"strides {rows.stride()}")
    if factors.ndim and factors.shape != rows.shape[:1]:
        raise InputError("factors", f"one, or shape [{len(rows)}]", list(factors.shape))
    shared = factors.ndim == 0 or factors.stride(0) == 0
    factors = factors if shared else factors.contiguous()
    if rows.numel():
        sizes = len(rows), rows[0].numel()
        launch("scale_rows", factors, rows, storage(rows), factors, shared, *sizes)


_scale_rows_op = register_operator(
    "scale_rows_(Tensor(a!) rows, Tensor factors) -> ()", _scale_rows, lambda rows, factors: None
)


def scale_rows_(rows: Tensor, factors: Tensor) -> Tensor:
    """Multiply contiguous rows [B, ...] in place by a factor each, [B], or all by one, [].

    Rows whose factor is 1 are neither read nor written, and on a GPU nobody waits to know.

    Raises
    ------
    InputError
        The rows are not contiguous, or there are more or fewer factors.
    """
    _scale_rows_op(rows, factors)
    return rows
