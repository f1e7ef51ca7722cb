"""Modules are found behind whatever calls them, and get their mode back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from vaebias.modules import device_of, dtype_of, evaluating, modules_of

NET = nn.Linear(2, 2)
MINE = ModuleType("mine")
MINE.net = NET  # type: ignore[attr-defined]


class Wrapper:
    def __init__(self, net: nn.Module) -> None:
        self.parts = {"decoder": [net]}

    def decode(self, z: Tensor) -> Tensor:
        return self.parts["decoder"][0](z)

    def __call__(self, z: Tensor) -> Tensor:
        return self.decode(z)


def _local() -> Callable[[Tensor], Tensor]:
    net, wrapper = NET, Wrapper(NET)
    if torch.rand(1) > 2:
        return lambda z: net(z)
    return lambda z: wrapper.decode(z)


def _decorated() -> Callable[[Tensor], Tensor]:
    @functools.wraps(NET.forward)
    def decode(z: Tensor, net: nn.Module = NET) -> Tensor:
        return net(z)

    return decode


@pytest.mark.parametrize(
    "function",
    [
        NET,
        NET.forward,
        lambda z: NET(z),
        lambda z: [NET(row) for row in z],
        lambda z: MINE.net(z),
        functools.partial(torch.func.functional_call, NET, {}),
        Wrapper(NET),
        Wrapper(NET).decode,
        _local(),
        _decorated(),
    ],
)
def test_a_module_is_found(function: object) -> None:
    assert modules_of(function) == [NET]


@pytest.mark.parametrize("function", [None, torch.sigmoid, len, 3, lambda z: z.sigmoid(), int])
def test_other_functions_use_no_module(function: object) -> None:
    assert modules_of(function) == []


def test_modes_are_set_and_restored_through_a_lambda() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    net[1].eval()
    with evaluating(lambda z: net(z)):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, True, False]


def test_device_and_dtype_are_those_of_the_parameters() -> None:
    half = nn.Linear(2, 2).bfloat16()
    assert dtype_of(lambda x: half(x)) == torch.bfloat16
    assert dtype_of(torch.sigmoid) == torch.float32
    assert device_of(half) == torch.device("cpu")
