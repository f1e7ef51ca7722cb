"""Each kernel against its reference on this machine, in a second, for ``vaebias doctor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebias.ops._examples import EXAMPLES, Outputs

__all__ = ["SelfTest", "self_test"]

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True)
class SelfTest:
    """How far a kernel is from its reference: values and gradients together."""

    kernel: str
    device: str
    dtype: str
    error: float
    """Largest absolute difference over the largest absolute value of the same tensor."""
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


def self_test(device: str | torch.device = "cpu") -> list[SelfTest]:
    """Run every kernel on ``device`` in float32 and float64 against its reference."""
    results = []
    for dtype, tolerance in TOLERANCE.items():
        for name, example in EXAMPLES.items():
            inputs = [x.to(device) for x in example.inputs(dtype)]
            error = max(
                _difference(found, expected)
                for found, expected in zip(
                    _values_and_gradients(example.operator, inputs),
                    _values_and_gradients(example.reference, inputs),
                    strict=True,
                )
            )
            results.append(SelfTest(name, str(device), str(dtype)[6:], error, tolerance))
    return results


def _values_and_gradients(function: Callable[..., Outputs], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = function(*leaves)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    smooth = [y for y in outputs if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    values = [y.detach() for y in outputs]
    return [*values, *torch.autograd.grad(smooth, wanted, [torch.ones_like(y) for y in smooth])]


def _difference(found: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max() / largest)
