"""A small call of each operator beside its reference: what the self-test and shared tests run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["EXAMPLES", "Draw", "Example", "example"]

Outputs = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class Draw:
    """Random inputs of one dtype, the same on every machine."""

    dtype: torch.dtype
    generator: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=self.dtype)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform int64 numbers in [low, high)."""
        return torch.randint(low, high, shape, generator=self.generator)


@dataclass(frozen=True)
class Example:
    """An operator and its reference as functions of ``inputs`` alone."""

    operator: Callable[..., Outputs]
    reference: Callable[..., Outputs]
    draw: Callable[[Draw], list[Tensor]]

    def inputs(self, dtype: torch.dtype) -> list[Tensor]:
        """Arguments of both, floating ones of ``dtype``."""
        return self.draw(Draw(dtype, torch.Generator().manual_seed(0)))


EXAMPLES: dict[str, Example] = {}


def example(
    operator: Callable[..., Any],
    reference: Callable[..., Any],
    *,
    outputs: Callable[[Any], Outputs] | None = None,
    **options: Any,
) -> Callable[[Callable[[Draw], list[Tensor]]], Callable[[Draw], list[Tensor]]]:
    """Register the decorated function as one that draws inputs of ``operator``.

    Parameters
    ----------
    operator, reference
        The public function, whose name becomes the example's, and the one that defines it.
    outputs
        Which of their results to compare; all by default.
    **options
        Further keyword arguments of both.
    """

    def bound(function: Callable[..., Any]) -> Callable[..., Outputs]:
        def call(*inputs: Tensor) -> Outputs:
            result: Outputs = function(*inputs, **options)
            return result if outputs is None else outputs(result)

        return call

    def register(draw: Callable[[Draw], list[Tensor]]) -> Callable[[Draw], list[Tensor]]:
        EXAMPLES[operator.__name__] = Example(bound(operator), bound(reference), draw)
        return draw

    return register
