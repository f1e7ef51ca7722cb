"""Steps that read all that changes from tensors, as a CUDA graph of one step must."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vaebias.data import FactorGrid, load
from vaebias.errors import InputError
from vaebias.models import MODELS, Objective, build
from vaebias.training import TrainingConfig, fit_seeds
from vaebias.training.batches import Images, batch_sampler
from vaebias.training.optimisers import Optimisers
from vaebias.training.replay import Replayed
from vaebias.training.stack import Stacked, StackedStep

TINY = {"name": "mlp", "hidden": [12]}
SEEDS = (3, 0)
STEPS, BATCH = 7, 8
SETTINGS: dict[str, dict[str, Any]] = {
    "factor_vae": {"layers": 2, "width": 8},
    "beta_vae": {"warmup": 5},
    "annealed_vae": {"threshold": 6},
    "jl1_vae": {"warmup": 5},
}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class Tape(TorchDispatchMode):
    """Records operators as a CUDA graph records kernels: with the tensors that they had.

    ``replay`` runs them again on these tensors and writes what they return where it was. Numbers
    that were read from tensors stay as they were.
    """

    READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique")

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.reads: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, result))
        if str(func).startswith(self.READS):
            self.reads.append(str(func))
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, result in self._calls:
                again = func(*args, **kwargs)
                for was, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(was, Tensor) and was.data_ptr() != new.data_ptr():
                        was.copy_(new)


@pytest.fixture(scope="module")
def grid() -> FactorGrid:
    return load("blobs", levels=(4, 4, 2), width=8)


def _build(name: str, grid: FactorGrid) -> list[Objective]:
    config = SETTINGS.get(name, {})
    return [build(name, grid.image_shape, 3, TINY, seed=s, **config) for s in SEEDS]


def _steps(name: str, grid: FactorGrid, schedule: str = "cosine") -> Iterator[tuple[Any, ...]]:
    """Yield, for each step, the step with its inputs loaded, its optimisers and its objectives."""
    objectives = _build(name, grid)
    config = TrainingConfig(STEPS, BATCH, 1e-2, schedule)
    images = Images(grid, torch.device("cpu"))
    stacked = Stacked(objectives, SEEDS)
    optimisers = Optimisers(stacked, config, None, capturable=True)
    step = StackedStep(stacked, optimisers, images, STEPS, in_place=True)
    sample = batch_sampler(objectives[0], grid, config)
    for number in range(STEPS):
        drawn = [sample(BATCH, np.random.default_rng([seed, number])) for seed in SEEDS]
        step.load(number, [np.stack(frame) for frame in zip(*drawn, strict=True)])
        yield step, optimisers, stacked


def _weights(stacked: Stacked) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in stacked.parameters()]


@pytest.mark.parametrize("name", MODELS.names())
def test_a_recorded_step_is_right_for_every_step_after_it(name: str, grid: FactorGrid) -> None:
    eager, replayed = [], []
    for step, optimisers, stacked in _steps(name, grid):
        parts = step()
        optimisers.schedule()
        eager.append([*_weights(stacked), *(part.clone() for part in parts.values())])
    tape = Tape()
    for number, (step, optimisers, stacked) in enumerate(_steps(name, grid)):
        if number < 2:  # Adam makes its moments in the first step
            parts = step()
        elif number == 2:
            with tape:
                parts = step()
            assert not tape.reads, "a GPU would have to wait for a value"
        else:
            tape.replay()
        optimisers.schedule()
        replayed.append([*_weights(stacked), *(part.clone() for part in parts.values())])
    for one, other in zip(eager, replayed, strict=True):
        for x, y in zip(one, other, strict=True):
            assert torch.equal(x, y)


def test_a_number_that_is_baked_in_is_noticed(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stacked.loss
    monkeypatch.setattr(
        Stacked, "loss",
        lambda self, batch, number, total: original(self, batch, torch.tensor(int(number)), total),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test_a_recorded_step_is_right_for_every_step_after_it("beta_vae", grid)


def test_a_graph_needs_a_gpu(grid: FactorGrid) -> None:
    with pytest.raises(InputError, match="graph: expected a GPU"):
        fit_seeds(_build("vae", grid), grid, STEPS, BATCH, seeds=SEEDS, stack=True, graph=True)


@needs_cuda
@pytest.mark.parametrize("name", MODELS.names())
def test_graph_and_eager_end_with_the_same_bits(name: str, grid: FactorGrid) -> None:
    ends = []
    for graph in (True, False):
        objectives = [objective.cuda() for objective in _build(name, grid)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a step that was not captured
            histories = fit_seeds(
                objectives, grid, 20, BATCH, 1e-2, SEEDS, "cosine", stack=True, graph=graph,
                log_every=4,
            )  # fmt: skip
        ends.append((objectives, histories))
    (one, first), (other, second) = ends
    for x, y in zip(first, second, strict=True):
        assert x.values == y.values
    for x, y in zip(one, other, strict=True):
        for key, weight in x.state_dict().items():
            assert torch.equal(weight, y.state_dict()[key]), key


@needs_cuda
def test_a_step_that_reads_a_value_goes_on_without_a_graph() -> None:
    x = torch.ones(4, device="cuda")
    step = Replayed(lambda: {"sum": x.sum() + float(x[0])})
    found = [step()["sum"] for _ in range(3)]
    with pytest.warns(UserWarning, match="not captured"):
        found.append(step()["sum"])
    assert all(float(each) == 5 for each in [*found, step()["sum"]])


def test_steps_are_counted_until_one_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Stream:
        def wait_stream(self, other: object) -> None:
            happened.append("wait")

    class Graph:
        def replay(self) -> None:
            happened.append("replay")
            step()

    def step() -> dict[str, Tensor]:
        happened.append("step")
        total.add_(1)
        return {"total": total}

    total = torch.zeros(())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, nullcontext)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: None)
    replayed = Replayed(step)
    for _ in range(3):
        replayed()
    assert happened == 3 * ["wait", "step", "wait"]
    happened.clear()
    one, other = replayed()["total"], replayed()["total"]
    # The first step is that of the capture, which a GPU would not run.
    assert happened == ["step", "replay", "step", "replay", "step"]
    assert (float(one), float(other)) == (5, 6)


def test_a_step_that_cannot_be_captured_is_taken_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refused:
        def __init__(self, graph: object) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

    for name in ("Stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, object)
    monkeypatch.setattr(torch.cuda, "graph", Refused)
    monkeypatch.setattr(Replayed, "_warm_up", lambda self: self._step())
    steps: list[dict[str, Tensor]] = []
    replayed = Replayed(lambda: steps.append({}) or steps[-1])  # type: ignore[func-returns-value]
    for _ in range(3):
        replayed()
    with pytest.warns(UserWarning, match="not captured in a CUDA graph: operation not permitted"):
        replayed()
    replayed()  # without a second attempt
    assert len(steps) == 5
