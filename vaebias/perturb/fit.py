"""The training loop of perturbations whose loss is a function of psi alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaebias.errors import RunFailedError
from vaebias.perturb.psi import Psi

__all__ = ["fit_psi"]

_RATE = 2e-3
_REPORT_EVERY = 20


def fit_psi(
    psi: Psi,
    loss: Callable[[int], Tensor],
    steps: int,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[float, ...]:
    """Train psi in place by Adam at 2e-3; return the loss averaged over each 20 steps.

    Parameters
    ----------
    psi
        The network.
    loss
        Called with the number of each step, from 1; returns its loss.
    steps
        Number of steps.
    progress
        Called as ``progress(steps done, steps, loss)``.

    Raises
    ------
    RunFailedError
        The loss became NaN or infinite.
    """
    optimiser = torch.optim.Adam(psi.parameters(), lr=_RATE)
    losses: list[float] = []
    recent: list[float] = []
    for step in range(1, steps + 1):
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            value = loss(step)
            value.backward()
        optimiser.step()
        recent.append(float(value.detach()))
        if not math.isfinite(recent[-1]):
            raise RunFailedError(f"the perturbation's loss is {recent[-1]} at step {step}")
        if step % _REPORT_EVERY == 0 or step == steps:
            losses.append(math.fsum(recent) / len(recent))
            recent = []
            if progress is not None:
                progress(step, steps, losses[-1])
    return tuple(losses)
