"""A panel of metrics on an encoder or on codes, repeated for confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.checks import check_counts, check_integer
from vaebias.errors import InputError, UnknownNameError
from vaebias.inference import batches_of
from vaebias.interfaces import Decoder, Encoder, LabelledImages, Output, Progress
from vaebias.metrics.calls import Table, call_metrics, missing
from vaebias.metrics.evaluation import Evaluation, summaries
from vaebias.metrics.inputs import as_codes, as_sample, factor_names
from vaebias.metrics.measure import factor_columns, measure_images, table_of_codes
from vaebias.metrics.panels import PANELS, Entry, Panel, choose
from vaebias.metrics.rotation_test import rotation_test
from vaebias.metrics.samples import Samples, sample_grid, sample_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate"]

SHOWN = 500
"""Number of samples that an `Evaluation` keeps for plots."""


def evaluate(
    codes_or_encoder: Encoder | ArrayLike | Tensor,
    grid: LabelledImages | ArrayLike | Tensor | pd.DataFrame,
    panel: str = "locatello2019",
    n_repeats: int = 5,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    images: LabelledImages | None = None,
    names: Sequence[str] | None = None,
    bins: int | None = None,
    decoder: Decoder | None = None,
    output: Output = "logits",
    max_images: int | None = None,
    device: torch.device | str = "cpu",
    jobs: int | None = None,
    rotations: int = 0,
) -> Evaluation:
    """Run a panel of metrics.

    Every repeat draws its own training and test sample from the grid, uniformly with
    replacement, and its own votes. Before that, all images that any of them needs are encoded
    once. Metrics of the panel that need log-variances or a decoder are omitted if there are none.

    Parameters
    ----------
    codes_or_encoder
        An encoder: ``[B, C, H, W]``, float in [0, 1], to codes, or to codes and log-variances.
        A module, or a module's bound method, is set to evaluation mode meanwhile. Or codes
        [N, d] of all N images of the grid, in its order.
    grid
        The factor grid. With codes, their factors [N, k] will do: any table of labelled codes
        can be scored. Training and test rows are then disjoint random parts of it, two thirds
        and one third, or fewer if the panel asks for fewer; the intervals then show the effect
        of choosing rows and votes, not that of other data.
    images
        Images without factors of their own, such as ``vaebias.data.load("folder/")``, whose
        factors [N, k] are then ``grid``, one row for each; they are split like a table.
    panel
        ``"locatello2019"``, or ``"fast"``, whose DCI uses another estimator.
    n_repeats
        Number of repeats of the whole panel, each with its own samples.
    seed
        Seed of all draws: repeat r is the same for any number of repeats.
    metrics
        Names of metrics or labels of the panel; by default the whole panel.
    progress
        Called as ``progress(done, total)`` after every batch encoded and every metric.
    names
        Names of the factors, if ``grid`` is a table of them; by default those of its columns.
    bins
        If given, cut the continuous factors of a table into this many equal widths. Metrics
        that take continuous factors (`vaebias.metrics.mcc`) use their values.
    decoder
        Decodes the codes of an encoder, on ``device``, so that reconstruction is scored too.
    output
        What the decoder returns: Bernoulli logits, or pixel values.
    max_images
        Encode at most this many images, chosen uniformly, and draw from them; of a table, use at
        most this many rows, at least 3. Metrics by votes may need every image of the grid, and use
        all by default.
    device
        Device on which images are encoded.
    jobs
        Number of processes for the metrics; by default one per core.
    rotations
        Number of random rotations of the codes with which each score is compared on the training
        sample of the first repeat, see `rotation_test`. Metrics that need more than codes and
        factors, or that draw batches of their own, are omitted; all are for images without factors.

    Returns
    -------
    Evaluation
        Mean, deviation and interval of each score, and the complete results of the first repeat.

    Raises
    ------
    UnknownNameError
        The panel or a metric is unknown.
    InputError
        Codes do not fit the grid or are not finite, an encoder comes without a grid, a metric
        asked for by name needs what there is not, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> factors = np.stack([axis.ravel() for axis in np.indices((8, 8))], 1)
    >>> found = evaluate(factors * [1.0, -2.0], factors, metrics=["mcc"], n_repeats=2, jobs=1)
    >>> round(found.scores["mcc"].mean, 6)
    1.0
    """
    optional = {"max_images": max_images, "jobs": jobs, "bins": bins}
    given = {name: value for name, value in optional.items() if value is not None}
    check_counts(n_repeats=n_repeats, **given)
    for name, value in {"seed": seed, "rotations": rotations}.items():
        check_integer(name, value, 0)
    if panel not in PANELS:
        raise UnknownNameError("panel", panel, PANELS)
    chosen = choose(PANELS[panel], metrics)
    if images is not None:
        _check_images(images, codes_or_encoder, grid)
    pictures = grid if isinstance(grid, LabelledImages) else images
    samples = _samples(
        codes_or_encoder, grid, images, PANELS[panel], n_repeats, seed, max_images, chosen
    )
    watch = _Watch(progress, n_repeats * len(chosen))
    notes: list[str] = []
    if callable(codes_or_encoder) and pictures is not None:
        index = np.arange(len(pictures)) if samples.rows is None else samples.rows
        columns: Table = {}
        if not isinstance(grid, LabelledImages):
            columns = factor_columns(grid, len(pictures), bins)
        watch.total += len(batches_of(index))
        table, notes = measure_images(
            codes_or_encoder,
            pictures,
            index,
            decoder=decoder,
            output=output,
            device=device,
            progress=watch.step,
        )
        table |= {name: column[index] for name, column in columns.items()}
    else:
        assert not callable(codes_or_encoder)  # without a grid, `_samples` refuses an encoder
        table = table_of_codes(codes_or_encoder, grid, samples.rows, bins)
    codes, factors = table["codes"], table["factors"]
    if isinstance(grid, LabelledImages):
        names = grid.names
    else:
        names = factor_names(names or None, factors.shape[1], grid)
    labelled = getattr(grid, "labelled", True)
    possible = {
        label: entry
        for label, entry in chosen.items()
        if not missing(entry, table, labelled=labelled)
    }
    if metrics is not None and (lacking := [label for label in chosen if label not in possible]):
        lacks = missing(chosen[lacking[0]], table, labelled=labelled)
        source = "" if "factors" in lacks else " (of an encoder and decoder)"
        needs = f"{', '.join(lacks)}{source}"
        raise InputError(f"metric {lacking[0]}", needs, "none")
    watch.total -= n_repeats * (len(chosen) - len(possible))
    if any("names" in entry.signature.takes for entry in possible.values()):
        for repeat in samples.repeats:  # before long work, and not in another process
            as_sample(codes[repeat.train], factors[repeat.train], names)
    results = call_metrics(
        possible, table, samples.repeats, names=names, seed=seed, jobs=jobs, done=watch.step
    )
    settings: dict[str, Any] = {
        "panel": panel,
        "repeats": n_repeats,
        "seed": seed,
        "train": len(samples.repeats[0].train),
        "test": len(samples.repeats[0].test),
        "rows": len(codes),
        "of": samples.size,
        "latents": codes.shape[1],
        "factors": list(names),
    }
    first = samples.repeats[0].train
    turned = {
        label: rotation_test(
            entry.metric,
            codes[first],
            factors[first],
            n_rotations=rotations,
            seed=seed,
            jobs=jobs,
            options=entry.options,
        )
        for label, entry in possible.items()
        if rotations and labelled and not entry.signature.needs and not entry.signature.all_rows
    }
    if bins is not None:
        settings["bins"] = bins
    shown = first[:SHOWN]
    return Evaluation(
        codes=codes[shown],
        factors=factors[shown],
        scores=summaries(results),
        details={label: found[0].to_json() for label, found in results.items()},
        settings=settings,
        rotations=turned,
        notes=(*notes, *_notes(factors, names)),
    )


def _check_images(images: LabelledImages, encoder: object, factors: object) -> None:
    if not callable(encoder):
        raise InputError("images", "an encoder beside them", type(encoder).__name__)
    if isinstance(factors, LabelledImages):
        raise InputError("images", "a table of factors beside them", type(factors).__name__)
    if len(images) < 3:
        raise InputError("images", "at least 3 images", len(images))


def _notes(factors: NDArray[np.int64], names: Sequence[str]) -> tuple[str, ...]:
    constant = [
        name for name, one in zip(names, factors.T, strict=True) if not (one != one[0]).any()
    ]
    if not constant:
        return ()
    return (f"No score for factors that take a single value: {', '.join(constant)}.",)


class _Watch:
    """Count batches and metrics as one sequence of steps."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.done, self.total = 0, total
        self._progress = progress

    def step(self, *_: int) -> None:
        self.done += 1
        if self._progress is not None:
            self._progress(self.done, self.total)


def _samples(
    codes_or_encoder: Encoder | ArrayLike | Tensor,
    grid: LabelledImages | ArrayLike | Tensor | pd.DataFrame,
    images: LabelledImages | None,
    panel: Panel,
    n_repeats: int,
    seed: int,
    max_images: int | None,
    chosen: Mapping[str, Entry],
) -> Samples:
    """Decide on the rows of every repeat before any image is encoded."""
    if isinstance(grid, LabelledImages):
        given = not callable(codes_or_encoder)
        every_row = given or any(entry.signature.all_rows for entry in chosen.values())
        return sample_grid(grid, panel, n_repeats, seed, max_images=max_images, every_row=every_row)
    if max_images is not None:
        check_integer("max_images", max_images, 3)  # to train on two rows and test on one
    if images is not None:
        return sample_table(len(images), panel, n_repeats, seed, max_rows=max_images)
    if callable(codes_or_encoder):
        expected = "a factor grid, or images= beside a table of factors, for an encoder"
        raise InputError("grid", expected, type(grid).__name__)
    size = len(as_codes(codes_or_encoder))
    if size < 3:
        raise InputError("codes", "at least 3 rows", size)
    return sample_table(size, panel, n_repeats, seed, max_rows=max_images)
