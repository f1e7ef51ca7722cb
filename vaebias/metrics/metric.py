"""What all metrics share: their registry and the shape of their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from vaebias.registry import Registry

__all__ = [
    "METRICS",
    "Argument",
    "Column",
    "MetricRegistry",
    "Result",
    "Score",
    "Signature",
    "to_json",
]

Column: TypeAlias = Literal["logvar", "squared_error", "nats"]
"""A value of each image beside its codes and factors; `evaluate` measures it on the model."""
Argument: TypeAlias = Literal["names", "test", "seed", "jobs"]
"""An argument that `evaluate` supplies."""


class Score(Protocol):
    """The result of a metric."""

    @property
    def score(self) -> float:
        """The one number that tables show."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        ...


Function = TypeVar("Function", bound=Callable[..., Score])


@dataclass(frozen=True)
class Signature:
    """What a metric is called with, beside codes and factors.

    Attributes
    ----------
    needs
        Columns without which it cannot be computed.
    takes
        Further columns and arguments, each passed by keyword where it is known.
    all_rows
        Whether it draws batches of its own, and so takes every row instead of a sample.
    """

    needs: tuple[Column, ...] = ()
    takes: frozenset[Column | Argument] = frozenset()
    all_rows: bool = False


class MetricRegistry(Registry[Callable[..., Score]]):
    """The metrics by name, and what each is called with."""

    def __init__(self) -> None:
        super().__init__("metric", "vaebias.metrics")
        self._signatures: dict[str, Signature] = {}

    def register(  # type: ignore[override]  # narrower: an object that returns no score is refused
        self,
        name: str,
        *,
        needs: Sequence[Column] = (),
        takes: Sequence[Column | Argument] = (),
        all_rows: bool = False,
    ) -> Callable[[Function], Function]:
        """Return a decorator that stores a function of ``(codes, factors, ...)`` under ``name``.

        Parameters
        ----------
        name
            Name of the metric.
        needs, takes, all_rows
            See `Signature`. `evaluate` calls the function with what is declared here, and with
            nothing else.
        """
        store = super().register(name)

        def add(function: Function) -> Function:
            self._signatures[name] = Signature(tuple(needs), frozenset(takes), all_rows)
            return store(function)

        return add

    def signature(self, name: str) -> Signature:
        """Return what a metric is called with; UnknownNameError lists the known names."""
        self[name]
        return self._signatures[name]


METRICS = MetricRegistry()


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """What the results of all metrics have in common.

    Attributes
    ----------
    score
        The one number that tables show.
    names
        The factors that vary: columns of matrices with a factor axis.
    constant
        Factors that take one value in the sample; no score is defined for them.
    settings
        What else the score depends on: scores are comparable only if these are equal.
    """

    metric: ClassVar[str]
    score: float
    names: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON types: matrices as lists of rows, None if not finite."""
        values = {one.name: to_json(getattr(self, one.name)) for one in fields(self)}
        return {"metric": self.metric, **values}


def to_json(value: Any) -> Any:
    """Return arrays, tuples and mappings as JSON types; None for a number that is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
