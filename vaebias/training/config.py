"""How a model is trained, and the functions that training calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from vaebias.checkpoints import TrainingState
from vaebias.checks import check_counts, check_positive
from vaebias.errors import InputError
from vaebias.interfaces import Progress
from vaebias.models import Objective

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "PAIRINGS",
    "SCHEDULES",
    "Callbacks",
    "Evaluate",
    "FitOptions",
    "Log",
    "SaveCheckpoint",
    "TrainingConfig",
    "TrainingOptions",
    "configure",
]

Log: TypeAlias = Callable[[int, Mapping[str, float]], None]  # log(step, values)
Evaluate: TypeAlias = Callable[[int, Objective], Mapping[str, float]]  # evaluate(step, model)
SaveCheckpoint: TypeAlias = Callable[[TrainingState], None]

SCHEDULES = ("constant", "cosine", "one-cycle")
"""Known learning-rate schedules. ``"cosine"`` falls to 0 as half a cosine (Loshchilov & Hutter
2017, without restarts); ``"one-cycle"`` is that of Smith & Topin 2019."""

PAIRINGS = ("laplace", "laplace-moving", "uniform", "ranked")
"""Known ways to draw pairs; each objective of pairs has its own by default."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Attributes
    ----------
    steps
        Number of optimiser steps.
    batch_size
        Number of images per step, or of pairs if the objective takes pairs.
    learning_rate
        Learning rate of Adam; the peak of ``"one-cycle"``. The defaults are those of
        disentanglement_lib. An adversary has a constant rate of its own.
    schedule
        ``"constant"``, ``"cosine"`` (falls to 0 as half a cosine) or ``"one-cycle"`` (changes
        the learning rate and, inversely, Adam's beta1).
    warmup
        Number of steps over which the learning rate first rises linearly; must be 0 for
        ``"one-cycle"``, which has a rise of its own.
    pairing
        ``"laplace"``, ``"laplace-moving"`` (at least one factor changes), ``"uniform"``
        (`vaebias.data.uniform_pairs`) or ``"ranked"`` (`vaebias.data.ranked_pairs`). None: as
        the objective asks. Only for objectives that take pairs.
    pair_rate
        Rate of the Laplace steps between the two frames of a pair
        (`vaebias.data.laplace_pairs`). None: 1, where there are such pairs.
    accumulate
        Number of parts in which a batch is computed, one after the other, with gradients added:
        the step of the whole batch in the memory of one part. Above 1 only if the objective is
        ``separable``.
    log_every
        Number of steps between two entries of the history. Losses and weights are checked for
        NaN, and callbacks are called, at these steps only.

    Raises
    ------
    InputError
        A value is out of range.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    warmup: int = 0
    pairing: str | None = None
    pair_rate: float | None = None
    accumulate: int = 1
    log_every: int = 100

    def __post_init__(self) -> None:
        names = ("steps", "batch_size", "log_every", "accumulate")
        check_counts(**{name: getattr(self, name) for name in names})
        check_positive("learning_rate", self.learning_rate)
        if self.schedule not in SCHEDULES:
            raise InputError("schedule", " or ".join(SCHEDULES), repr(self.schedule))
        if self.schedule == "one-cycle" and self.warmup:
            raise InputError("warmup", "0, for one-cycle rises on its own", self.warmup)
        if not 0 <= self.warmup <= self.steps:
            expected = f"a number of steps from 0 to {self.steps}"
            raise InputError("warmup", expected, self.warmup)
        if self.pairing is not None and self.pairing not in PAIRINGS:
            raise InputError("pairing", " or ".join(PAIRINGS), repr(self.pairing))
        if self.pair_rate is not None:
            check_positive("pair_rate", self.pair_rate)


@dataclass(frozen=True)
class Callbacks:
    """Functions that a training run calls, and how often.

    Attributes
    ----------
    log
        Called as ``log(step, values)`` with each new entry of the history: the loss, its parts
        and the use of the latents.
    progress
        Called as ``progress(done, total)`` in steps, as often as ``log``.
    evaluate, evaluate_every
        ``evaluate(step, model)`` returns scores, of which the finite ones enter the history.
        Called every ``evaluate_every`` steps and after the last one; never if
        ``evaluate_every`` is None.
    checkpoint, checkpoint_every
        ``checkpoint(state)`` is called every ``checkpoint_every`` steps and after the last one,
        once losses and weights are known to be finite; only after the last one if
        ``checkpoint_every`` is None.

    Both intervals must be multiples of ``TrainingConfig.log_every``.
    """

    log: Log | None = None
    progress: Progress | None = None
    evaluate: Evaluate | None = None
    evaluate_every: int | None = None
    checkpoint: SaveCheckpoint | None = None
    checkpoint_every: int | None = None

    def checked(self, log_every: int) -> Self:
        """Return self; raise InputError if an interval is not a multiple of ``log_every``."""
        for name in ("checkpoint_every", "evaluate_every"):
            value = getattr(self, name)
            if value is None:
                continue
            check_counts(**{name: value})
            if value % log_every:
                raise InputError(name, f"a multiple of {log_every}", value)
        return self


class TrainingOptions(TypedDict, total=False):
    """Keyword form of the rarer fields of `TrainingConfig`."""

    warmup: int
    pairing: str | None
    pair_rate: float | None
    accumulate: int
    log_every: int


class FitOptions(TrainingOptions, total=False):
    """The same, and the fields of `Callbacks`."""

    log: Log | None
    progress: Progress | None
    evaluate: Evaluate | None
    evaluate_every: int | None
    checkpoint: SaveCheckpoint | None
    checkpoint_every: int | None


def configure(steps: int | TrainingConfig, **settings: Any) -> TrainingConfig:
    """Return the configuration that the arguments of ``fit`` describe.

    Raises
    ------
    InputError
        A setting is out of range, or one is given together with a `TrainingConfig`.
    """
    if not isinstance(steps, TrainingConfig):
        return TrainingConfig(steps, **settings)
    changed = [name for name, value in settings.items() if value != getattr(TrainingConfig, name)]
    if changed:
        found = f"a TrainingConfig and {', '.join(changed)}"
        raise InputError("steps", "a TrainingConfig or the settings one by one", found)
    return steps
