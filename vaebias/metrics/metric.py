"""What all metrics share: their registry and the shape of their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from vaebias.display import Displayed, bars, heatmap
from vaebias.registry import Registry

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

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
    continuous
        Whether it takes continuous factors; others get them binned.
    factors
        Whether it uses the factors; if not, it is computed for images without factors, too.
    """

    needs: tuple[Column, ...] = ()
    takes: frozenset[Column | Argument] = frozenset()
    all_rows: bool = False
    continuous: bool = False
    factors: bool = True


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
        continuous: bool = False,
        factors: bool = True,
    ) -> Callable[[Function], Function]:
        """Return a decorator that stores a function of ``(codes, factors, ...)`` under ``name``.

        Parameters
        ----------
        name
            Name of the metric.
        needs, takes, all_rows, continuous, factors
            See `Signature`. `evaluate` calls the function with what is declared here, and with
            nothing else.
        """
        store = super().register(name)

        def add(function: Function) -> Function:
            self._signatures[name] = Signature(
                tuple(needs), frozenset(takes), all_rows, continuous, factors
            )
            return store(function)

        return add

    def signature(self, name: str) -> Signature:
        """Return what a metric is called with; UnknownNameError lists the known names."""
        self[name]
        return self._signatures[name]


METRICS = MetricRegistry()


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result(Displayed):
    """What the results of all metrics have in common.

    ``float(result)`` is the score, and a format applies to it: ``f"{result:.2f}"``. Notebooks
    show a table; see also `to_frame`, `plot` and `html`.

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

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a data frame.

        One row for each factor, if the metric scores single factors; else one row with the
        score and the other single numbers. ``frame.attrs`` has the score and the settings.
        """
        import pandas as pd

        columns = self._of_factors()
        if columns:
            frame = pd.DataFrame(columns, index=pd.Index(self.names, name="factor"))
        else:
            frame = pd.DataFrame(self._numbers(), index=[self.metric])
        frame.attrs.update(metric=self.metric, score=self.score, settings=dict(self.settings))
        return frame

    def plot(self) -> Figure:
        """Return a matplotlib figure: scores of the factors, and the first matrix [d, k]."""
        from matplotlib.figure import Figure

        scores = next(iter(self._of_factors().values()), None)
        matrix = next(
            (
                (name, value)
                for name, value in self._fields().items()
                if isinstance(value, np.ndarray)
                and value.ndim == 2
                and self.names
                and value.shape[1] == len(self.names)
            ),
            None,
        )
        figure = Figure(figsize=(9 if matrix else 5, 3.2), layout="constrained")
        axes = figure.subplots(1, 2 if matrix else 1, squeeze=False)[0]
        values = self._numbers() if scores is None else dict(zip(self.names, scores, strict=True))
        bars(axes[0], {name: float(one) for name, one in values.items()}, self.metric)
        if matrix:
            heatmap(axes[1], matrix[1], self.names, matrix[0].replace("_", " "))
        return figure

    def __float__(self) -> float:
        """Return the score."""
        return float(self.score)

    def __format__(self, spec: str) -> str:
        """Format the score."""
        return format(self.score, spec) if spec else repr(self)

    def __repr__(self) -> str:
        """Return the score and those of the factors, in one line."""
        parts = [f"score={self.score:.3f}"]
        parts += [f"{name}={value:.3f}" for name, value in self._numbers().items()][1:]
        scores = next(iter(self._of_factors().values()), None)
        if scores is not None:
            named = zip(self.names, scores, strict=True)
            parts.append(f"per_factor={{{', '.join(f'{n}: {v:.2f}' for n, v in named)}}}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _fields(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def _numbers(self) -> dict[str, float]:
        """Return the score and the other single numbers."""
        return {"score": self.score} | {
            name: value for name, value in self._fields().items() if isinstance(value, float)
        }

    def _of_factors(self) -> dict[str, list[float]]:
        """Return what has a number for each factor, the scores first."""
        found: dict[str, list[float]] = {}
        for name, value in self._fields().items():
            if isinstance(value, dict) and value and list(value) == list(self.names):
                found = {name: list(value.values()), **found}
            elif isinstance(value, np.ndarray) and value.shape == (len(self.names),) != (0,):
                found[name] = value.tolist()
        # without scores of factors, a [k] array may be of as many codes
        return found if "per_factor" in found else {}

    def _title(self) -> str:
        return f"{self.metric} {self.score:.3f}"

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [(name, f"{value:.3f}") for name, value in self._numbers().items()]
        scores = next(iter(self._of_factors().values()), [])
        rows += [(f"  {name}", f"{v:.3f}") for name, v in zip(self.names, scores, strict=False)]
        if self.constant:
            rows.append(("without a score", ", ".join(self.constant)))
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return [*rows, ("settings", settings)]


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
