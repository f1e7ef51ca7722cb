"""Predicted axes beside trained ones, for every model and version of the data of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from vaebias import checkpoints
from vaebias.analysis import LatentTurn, latent_turn
from vaebias.errors import InputError
from vaebias.experiments.protocol import ModelSpec
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.study import Study
from vaebias.experiments.running.run import perturbations, variant_grid
from vaebias.files import MODEL_FILE
from vaebias.interfaces import Progress
from vaebias.numbers import finite
from vaebias.perturb import Change, measure_change
from vaebias.structure import PairPrice, price

__all__ = ["Agreement", "PredictedTurn", "agreement", "study_prediction"]

PREDICTED = ("vae", "beta_vae")
"""Objectives whose loss is the one that the price is derived from."""


@dataclass(frozen=True, eq=False)
class PredictedTurn:
    """One pair of factors, one version of the data, one model: what was predicted and what came.

    Attributes
    ----------
    study, variant, model
        Labels.
    pair
        The two factors.
    beta
        Weight of the KL divergence.
    price
        The prediction, made from the data alone.
    turns
        The measured turn of each finished run.
    seeds, mig
        Seed and MIG of each run.
    change
        How much the images of this version differ from the original's; None for the original.
    """

    study: str
    variant: str
    model: str
    pair: tuple[str, str]
    beta: float
    price: PairPrice
    turns: tuple[LatentTurn, ...]
    seeds: tuple[int, ...]
    mig: tuple[float | None, ...]
    change: Change | None = None

    @property
    def relative_gain(self) -> float:
        """What the even mixture saves over the factors' axes, in nats per unit of beta."""
        return self.price.mixing_gain / self.beta

    @property
    def relative_start_gain(self) -> float:
        """The same with posteriors as wide as the prior, where training starts."""
        return self.price.start_gain / self.beta

    @property
    def degrees(self) -> tuple[float, ...]:
        """Measured turns of the runs, in degrees; runs without any are left out."""
        return tuple(turn.degrees for turn in self.turns if turn.degrees is not None)

    @property
    def decided(self) -> bool:
        """Whether costs differ enough between turns for a prediction; see `PairPrice`."""
        return self.price.decided

    @property
    def error(self) -> float | None:
        """Median over runs of |measured - predicted| angle, in degrees."""
        predicted = abs(self.price.angle)
        errors = [abs(degrees - predicted) for degrees in self.degrees]
        return float(np.median(errors)) if errors else None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "study": self.study,
            "variant": self.variant,
            "model": self.model,
            "pair": list(self.pair),
            "beta": self.beta,
            "gain": self.price.mixing_gain,
            "relative_gain": self.relative_gain,
            "relative_start_gain": self.relative_start_gain,
            "predicted_degrees": abs(self.price.angle),
            "decided": self.decided,
            "recurrence": self.price.recurrence,
            "change": None if self.change is None else self.change.to_json(),
            "seeds": list(self.seeds),
            "measured_degrees": [turn.degrees for turn in self.turns],
            "even_share": [turn.even_share for turn in self.turns],
            "between_degrees": [turn.between_degrees for turn in self.turns],
            "mig": [None if value is None else finite(value) for value in self.mig],
            "error_degrees": self.error,
        }


@dataclass(frozen=True)
class Agreement:
    """How well predictions and runs agree over all cells.

    Attributes
    ----------
    cells, decided
        Number of cells, and of those outside the undecided range.
    rank_correlation
        Spearman's, of the predicted gain per beta with the mean measured turn; None below 3 cells.
    start_correlation
        The same of the gain with posteriors as wide as the prior, where training starts.
    monotone_correlation
        That of the first over cells that are not a phase (see `vaebias.structure.recurrence`).
    angle_correlation
        The same of the predicted angle, over decided cells.
    median_error
        Median over decided cells of the error of the angle, in degrees.
    """

    cells: int
    decided: int
    rank_correlation: float | None
    start_correlation: float | None
    monotone_correlation: float | None
    angle_correlation: float | None
    median_error: float | None


def study_prediction(
    study: Study, folder: Path, *, sample: int = 2048, progress: Progress | None = None
) -> Iterator[PredictedTurn]:
    """Compare predicted with measured turns, for the pairs that the study's protocol names.

    Parameters
    ----------
    study
        Result of `read_study`.
    folder
        Its folder, from which perturbations and models are read.
    sample
        Number of points of the price and of the measurement.
    progress
        Called as ``progress(done, total)`` after every run.

    Raises
    ------
    InputError
        The study names no pair, or has no finished run of a VAE or beta-VAE.
    """
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in study.results:
        run = result.run
        if run.model.objective in PREDICTED:
            cells.setdefault((run.variant.name, run.model.label), []).append(result)
    pairs = study.protocol.perturbation.pairs
    if not cells or not pairs:
        expected = f"a study of a pair of factors with runs of {' or '.join(PREDICTED)}"
        raise InputError("DIR", expected, study.protocol.name)
    made = perturbations(study.protocol, folder)
    done, total = 0, sum(map(len, cells.values()))
    for (variant, label), results in cells.items():
        run = results[0].run
        base = run.load()
        grid = variant_grid(base, run.perturbation, made[variant])
        change = None
        if made[variant] is not None:
            change = measure_change(variant_grid(base, run.perturbation, None), grid)
        beta, likelihood, scale = _loss(run.model)
        predicted = price(grid, beta, likelihood, scale=scale, sample=sample)
        models = []
        for result in results:
            models.append(checkpoints.load(result.folder / MODEL_FILE))
            done += 1
            if progress is not None:
                progress(done, total)
        for pair in pairs:
            a, b = pair
            known = predicted.pairs.get((a, b)) or predicted.pairs[b, a]
            at = [predicted.names.index(name) for name in pair]
            widths = (float(predicted.widths[at[0]]), float(predicted.widths[at[1]]))
            yield PredictedTurn(
                study=study.protocol.name,
                variant=variant,
                model=label,
                pair=(a, b),
                beta=beta,
                price=known,
                turns=tuple(
                    latent_turn(model.encoder, grid, (a, b), widths=widths, sample=sample)
                    for model in models
                ),
                seeds=tuple(result.run.seed for result in results),
                mig=tuple(result.scores.get("mig") for result in results),
                change=change,
            )


def agreement(cells: Sequence[PredictedTurn]) -> Agreement:
    """Summarise how well predictions and runs agree."""
    shown = [cell for cell in cells if cell.degrees]
    decided = [cell for cell in shown if cell.decided]
    monotone = [cell for cell in shown if not cell.price.recurs]
    errors = [cell.error for cell in decided if cell.error is not None]
    return Agreement(
        len(shown),
        len(decided),
        _spearman([cell.relative_gain for cell in shown], shown),
        _spearman([cell.relative_start_gain for cell in shown], shown),
        _spearman([cell.relative_gain for cell in monotone], monotone),
        _spearman([abs(cell.price.angle) for cell in decided], decided),
        float(np.median(errors)) if errors else None,
    )


def _spearman(predicted: Sequence[float], cells: Sequence[PredictedTurn]) -> float | None:
    turns = [float(np.mean(cell.degrees)) for cell in cells]
    if len(cells) < 3 or len(set(predicted)) == 1 or len(set(turns)) == 1:
        return None
    return float(spearmanr(predicted, turns).statistic)


def _loss(model: ModelSpec) -> tuple[float, Any, float | None]:
    """Return beta, likelihood and scale of a model's loss."""
    from vaebias.models import MODELS

    config = MODELS[model.objective].config_type(**model.options)
    beta = float(getattr(config, "beta", 1.0))
    likelihood = getattr(config, "likelihood", "bernoulli")
    scale = float(getattr(config, "scale", 1.0)) if likelihood == "gaussian" else None
    return beta, likelihood, scale
