"""Measure a trained model: its scores, its axes, and the factors that they mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaebias import analysis, metrics
from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.numbers import finite
from vaebias.training import encode_grid

__all__ = ["Measurement", "factor_correlations", "measure"]

SAMPLES = 10_000
"""Largest number of images that scores are computed on, as in disentanglement_lib."""
POINTS = 512
"""Number of images at which the decoder's Jacobian is computed."""


class Measurement(NamedTuple):
    """Single numbers by name, and the details behind them."""

    scores: dict[str, float | None]
    details: dict[str, Any]


def measure(
    objective: Objective,
    grid: FactorGrid,
    *,
    pairs: tuple[tuple[str, str], ...] = (),
    others: tuple[str, ...] = (),
    seed: int = 0,
) -> Measurement:
    """Score a trained model on the images it was trained on.

    Parameters
    ----------
    objective
        The model; its alignment is measured only if it has a decoder.
    grid
        The images.
    pairs
        Pairs of factors whose mixtures are looked for in the codes.
    others
        Names in ``vaebias.metrics.METRICS`` of scores to compute beside MIG.
    seed
        Seed of the sample, if the grid has more than 10,000 images.
    """
    rng = np.random.default_rng(seed)
    index = np.arange(len(grid)) if len(grid) <= SAMPLES else rng.integers(len(grid), size=SAMPLES)
    mu, logvar = encode_grid(objective, grid, index)
    codes, factors = mu.numpy(), grid.factors(index)
    mig = metrics.mig(codes, factors, names=grid.names).to_json()
    activity = analysis.active_units(mu, logvar)
    scores: dict[str, float | None] = {"mig": mig["score"]}
    scores |= {f"mig.{name}": gap for name, gap in mig["per_factor"].items()}
    for name in others:
        scores[name] = metrics.METRICS[name](codes, factors).score
    correlations = factor_correlations(codes, factors, grid.names, pairs)
    for a, b in pairs:
        scores[f"axes.{a},{b}"] = _weaker(correlations, a, b)
        scores[f"mixtures.{a},{b}"] = _weaker(correlations, f"{a}+{b}", f"{a}−{b}")
    details: dict[str, Any] = {
        "mig": mig,
        "activity": activity.to_json(),
        "correlations": {name: values.tolist() for name, values in correlations.items()},
        "samples": len(index),
        "diagnosis": None,
    }
    if objective.decoder is not None:
        diagnosis = analysis.diagnose(
            objective.decode,
            encoder=objective.encode,
            data=grid,
            index=_points(grid, rng),
            output=objective.output,
        )
        details["diagnosis"] = diagnosis.to_json()
        scores["active"] = float(diagnosis.active.sum())
        scores |= _alignment(details["diagnosis"])
    return Measurement({name: finite(value) for name, value in scores.items()}, details)


def factor_correlations(
    codes: NDArray[np.floating[Any]],  # [N, d]
    factors: NDArray[np.integer[Any]],  # [N, k]
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
) -> dict[str, NDArray[np.float64]]:
    """Correlate each latent with each factor, and with the even mixtures of pairs of factors.

    Returns
    -------
    dict
        Absolute Pearson correlations [d] of the codes with each factor ``a`` and, for each
        pair, with ``a+b`` and ``a−b``, factors in units of their standard deviation. A code that
        equals one factor of a pair has 1 with it and .71 with both mixtures; a code rotated by
        45 degrees has 1 with a mixture and .71 with both factors.
    """
    levels = dict(zip(names, _standard(factors.T), strict=True))
    targets = dict(levels)
    for a, b in pairs:
        targets[f"{a}+{b}"] = levels[a] + levels[b]
        targets[f"{a}−{b}"] = levels[a] - levels[b]
    columns = _standard(codes.T)
    return {
        name: np.abs(columns @ _standard(target[None])[0]) / len(target)
        for name, target in targets.items()
    }


def _standard(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows with mean 0 and variance 1; a constant row becomes zeros."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=1, keepdims=True)
    standard: NDArray[np.float64] = centred / np.where(spread > 1e-12, spread, np.inf)
    return standard


def _weaker(correlations: Mapping[str, NDArray[np.float64]], first: str, second: str) -> float:
    """Return the smaller of the largest correlations of any latent with each of the two."""
    return float(min(correlations[first].max(), correlations[second].max()))


def _points(grid: FactorGrid, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.choice(len(grid), min(POINTS, len(grid)), replace=False))


def _alignment(diagnosis: Mapping[str, Any]) -> dict[str, float | None]:
    chance = diagnosis["dto"]["chance"]
    return {
        "dto": diagnosis["dto"]["mean"],
        "dto.chance": None if chance is None else chance["mean"],
        "ima_contrast": diagnosis["ima_contrast"]["mean"],
        "cos.components": diagnosis["data"]["matched_components"]["mean"],
        "cos.components.chance": diagnosis["data"]["matched_components_chance"]["mean"],
        "cos.factors": diagnosis["data"]["matched_factors"]["mean"],
        "cos.factors.chance": diagnosis["data"]["matched_factors_chance"]["mean"],
    }
