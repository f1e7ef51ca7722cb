"""A step that a GPU replays: its kernels are captured once, in a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Replayed"]

WARM_UP = 3
"""Number of steps taken before one is captured: libraries choose their kernels, and allocate."""


class Replayed:
    """A step of training, captured in a CUDA graph after the first few and replayed from then on.

    A replay launches all kernels of a step at once, with the same addresses: Python, which takes
    longer to launch the kernels of a small network than the GPU to run them, is left out.

    Parameters
    ----------
    step
        Takes a step and returns tensors. All that changes from one step to the next must be in
        tensors that stay where they are, and no value may be read from the GPU.
    """

    def __init__(self, step: Callable[[], dict[str, Tensor]]) -> None:
        self._step = step
        self._before_capture = WARM_UP
        self._side_stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, Tensor]:
        """Take a step and return its tensors, which the next call leaves as they are."""
        if self._before_capture == 0:
            self._capture()
        self._before_capture -= 1  # below 0 after the only attempt
        if self._before_capture >= 0:
            return self._warm_up()
        if self._graph is None:
            return self._step()
        self._graph.replay()
        return {name: value.clone() for name, value in self._result.items()}

    def _warm_up(self) -> dict[str, Tensor]:
        """Take a step on a stream of its own, as capture asks of the steps before it."""
        own = torch.cuda.current_stream()
        self._side_stream.wait_stream(own)
        with torch.cuda.stream(self._side_stream):
            result = self._step()
        own.wait_stream(self._side_stream)
        for value in result.values():
            value.record_stream(own)
        return result

    def _capture(self) -> None:
        """Capture a step, which does not run it; if it cannot be, go on without."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._result = self._step()
        except RuntimeError as error:
            warnings.warn(f"a step is not captured in a CUDA graph: {error}", stacklevel=3)
        else:
            self._graph = graph
