"""A score beside random rotations of the same codes, and beside the best linear map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LinearRegression
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from vaebias.checks import check_counts, check_integer
from vaebias.errors import InputError
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.metric import METRICS, Score
from vaebias.metrics.whitening import FLOOR, rotate, whiten
from vaebias.numbers import number

__all__ = ["RotationTest", "rotation_test"]

Metric: TypeAlias = Callable[[NDArray[Any], NDArray[np.int64]], float]


@dataclass(frozen=True)
class RotationTest:
    """What a score gains from the choice of axes.

    Attributes
    ----------
    score
        Score of the codes.
    rotated
        Scores of random rotations of the whitened codes: what the same subspace scores with
        axes that are luck.
    oracle
        Score after the best linear map of the codes to the factors: what the same subspace
        scores with the right axes. If ``score`` is low and ``oracle`` is high, the factors are
        turned; if both are low, they are not there linearly.
    directions
        Number of directions that are rotated: those with enough variance.
    """

    score: float
    rotated: tuple[float, ...]
    oracle: float
    directions: int

    @property
    def mean(self) -> float:
        """Mean score of the rotations."""
        return float(np.mean(self.rotated))

    @property
    def sd(self) -> float | None:
        """Standard deviation over the rotations, None for one."""
        return float(np.std(self.rotated, ddof=1)) if len(self.rotated) > 1 else None

    @property
    def below(self) -> int:
        """Rank of ``score``: the number of rotations that score below it."""
        return sum(one < self.score for one in self.rotated)

    @property
    def p(self) -> float:
        """Share of rotations, and of the codes themselves, that score at least as high."""
        return (len(self.rotated) - self.below + 1) / (len(self.rotated) + 1)

    def __str__(self) -> str:
        """Return it as one line."""
        spread = "" if self.sd is None else f" ({number(self.sd)})"
        return (
            f"{number(self.score)}; random rotations {number(self.mean)}{spread}, "
            f"{self.below} of {len(self.rotated)} below; best linear map {number(self.oracle)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "score": self.score,
            "rotated": list(self.rotated),
            "mean": self.mean,
            "sd": self.sd,
            "below": self.below,
            "p": self.p,
            "oracle": self.oracle,
            "directions": self.directions,
        }


def rotation_test(
    metric: str | Metric,
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    n_rotations: int = 50,
    floor: float = FLOOR,
    seed: int = 0,
    jobs: int | None = 1,
    options: Mapping[str, Any] | None = None,
) -> RotationTest:
    """Compare a score with the same score of turned codes and of the best linear map.

    Parameters
    ----------
    metric
        A name in `METRICS` that needs codes and factors only, or any function of both that
        returns a number.
    codes, factors
        Encoder means and integer classes; a factor of one value is left out.
    n_rotations
        Number of random rotations.
    floor
        Directions whose standard deviation is at most this share of the largest are not rotated:
        whitening would raise the noise of inactive latents to the size of the others.
    seed
        Seed of the rotations.
    jobs
        Number of processes; None for one per core.
    options
        Further arguments of the metric.

    Returns
    -------
    RotationTest
        The score, those of the rotations, and that of the linear map.

    Raises
    ------
    UnknownNameError
        The metric is unknown.
    InputError
        See `vaebias.metrics.mig`; also for a metric that needs more, codes that are all
        constant, and numbers out of range.

    Notes
    -----
    The linear map is fitted by least squares to the levels of the factors as numbers, on the
    same rows. Factors without an order, or on a circle, need not be linear in any code.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.indices((16, 16)).reshape(2, -1)
    >>> turned = np.stack([x + y, x - y], 1)
    >>> found = rotation_test("mcc", turned, np.stack([x, y], 1), n_rotations=20)
    >>> round(found.score, 2), round(found.oracle, 2)
    (0.71, 1.0)
    """
    check_counts(n_rotations=n_rotations)
    if jobs is not None:
        check_counts(jobs=jobs)
    check_integer("seed", seed, 0)
    sample = as_sample(codes, factors)
    function = _function(metric, dict(options or {}))
    white = whiten(sample.codes, floor)
    rng = np.random.default_rng(seed)
    fitted = LinearRegression().fit(sample.codes, sample.factors).predict(sample.codes)
    oracle = fitted.reshape(len(fitted), -1)
    tables = [sample.codes, oracle, *(rotate(white, rng) for _ in range(n_rotations))]
    run = Parallel(n_jobs=-1 if jobs is None else jobs)
    first, best, *others = run(delayed(function)(table, sample.factors) for table in tables)
    return RotationTest(float(first), tuple(map(float, others)), float(best), white.shape[1])


def _function(metric: str | Metric, options: Mapping[str, Any]) -> Metric:
    if not isinstance(metric, str):
        if options:
            raise InputError("options", "none beside a function", ", ".join(options))
        return metric
    METRICS[metric]  # an unknown name is named before anything else
    if needs := METRICS.signature(metric).needs:
        raise InputError("metric", "one that needs codes and factors only", f"{metric}: {needs}")
    return _Named(metric, options)


@dataclass(frozen=True)
class _Named:
    """A metric of the registry with its options; unlike a closure it can be pickled."""

    metric: str
    options: Mapping[str, Any]

    def __call__(self, codes: NDArray[Any], factors: NDArray[np.int64]) -> float:
        result: Score = METRICS[self.metric](codes, factors, **self.options)
        return result.score
