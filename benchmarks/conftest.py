"""What the benchmarks share: threads, contenders of a group, results checked before timing.

``pytest benchmarks --benchmark-only`` runs them, with pytest-benchmark's own options; run.py
prints their ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from vaebias.ops import build_info


def pytest_report_header() -> str:
    """Say which clone of the CPU kernels runs."""
    build = build_info()
    return f"vaebias: CPU kernels for {build['instruction_set']}, by {build['compiler']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let warnings of the contenders pass; in tests they are errors."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(params=["one thread", "all threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The thread count of torch, and so of the kernels."""
    before = torch.get_num_threads()
    count = 1 if request.param == "one thread" else before
    if request.param == "all threads" and before == 1:
        pytest.skip("torch has one thread only")
    torch.set_num_threads(count)
    yield count
    torch.set_num_threads(before)


@pytest.fixture
def compete(benchmark: Any, threads: int) -> Callable[..., None]:
    """Time one contender of a group, after checking it against the group's reference.

    ``compete(group, name, function, expected, moved=bytes)``: contenders of one group and
    thread count are compared with each other by benchmarks/run.py; ``moved`` are the bytes
    that the work must read and write at the least.
    """

    def run(
        group: str,
        name: str,
        function: Callable[[], Tensor | tuple[Tensor, ...]],
        expected: tuple[Tensor, ...] | None = None,
        *,
        moved: int = 0,
    ) -> None:
        found = function()
        if expected is not None:
            found = (found,) if isinstance(found, Tensor) else found
            for x, y in zip(found, expected, strict=True):
                torch.testing.assert_close(x.double(), y.double(), rtol=1e-3, atol=1e-3)
        benchmark.group = f"{group}, {threads} thread{'s' if threads > 1 else ''}"
        benchmark.extra_info |= {
            "contender": name,
            "moved": moved,
            "instruction_set": build_info()["instruction_set"],
        }
        benchmark(function)

    return run


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    """Each benchmark compiles for its own shapes, as a program that uses one shape would."""
    torch._dynamo.reset()
