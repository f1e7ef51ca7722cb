"""A panel of metrics on an encoder or on codes, with what repeating it makes of each score."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, runtime_checkable
from typing import Protocol as Interface

import numpy as np
import torch
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from vaebias.errors import InputError, UnknownNameError
from vaebias.metrics.metric import (
    METRICS,
    Score,
    as_codes,
    as_factors,
    as_sample,
    positive,
    to_json,
)
from vaebias.metrics.protocol import PROTOCOLS, Entry, Protocol, entries
from vaebias.metrics.reconstruction import reconstruction_errors

__all__ = ["Decoder", "Encoder", "Evaluation", "Grid", "Summary", "evaluate"]

Encoder: TypeAlias = "Callable[[Tensor], Tensor | tuple[Tensor, Tensor | None]]"
"""[B, C, H, W] float in [0, 1] to codes [B, d], or to a tuple of them and log-variances."""
Decoder: TypeAlias = "Callable[[Tensor], Tensor]"
"""Codes [B, d] to [B, C, H, W]."""
Index: TypeAlias = "NDArray[np.int64]"

BATCH = 512
SHOWN = 500
LEVEL = 0.95


@runtime_checkable
class Grid(Interface):
    """What is asked of a factor grid; ``vaebias.data.FactorGrid`` is one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The k factors."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """[n, C, H, W], uint8 in 0..255 or float in 0..1."""
        ...

    def factors(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n, k] levels."""
        ...


class Summary(NamedTuple):
    """A score over repeats.

    Attributes
    ----------
    mean
        Over repeats.
    std
        Of a single repeat; None where there was one only.
    interval
        95 % confidence interval of the mean (Student's t); None where there was one only.
    values
        The score of each repeat.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a panel found.

    Attributes
    ----------
    scores
        By label, as ``mig``, ``mig.bins10``; further scores of a metric are
        ``dci.completeness`` and the like.
    details
        By label, the whole result of the first repeat as JSON types: matrices, scores of
        each factor, settings.
    settings
        Protocol, repeats, seed, samples, and how many images of how many were encoded.
    codes, factors
        [n, d] and [n, k], the first samples (500 at most) of the first repeat, to be looked at.
    """

    scores: Mapping[str, Summary]
    details: Mapping[str, dict[str, Any]]
    settings: Mapping[str, Any]
    codes: NDArray[np.floating[Any]]
    factors: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types; None for what is not finite."""
        scores = {label: to_json(one._asdict()) for label, one in self.scores.items()}
        return {"settings": to_json(self.settings), "scores": scores, "details": dict(self.details)}


def evaluate(
    codes_or_encoder: Encoder | ArrayLike | Tensor,
    grid: Grid | ArrayLike | Tensor,
    protocol: str = "locatello2019",
    n_repeats: int = 5,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    names: Sequence[str] | None = None,
    decoder: Decoder | None = None,
    output: Literal["logits", "image"] = "logits",
    max_images: int | None = None,
    device: torch.device | str = "cpu",
    jobs: int | None = None,
) -> Evaluation:
    """Run a panel of metrics.

    Every repeat draws its own training and test sample from the grid, uniformly with
    replacement, and its own votes. All images that any of them needs are encoded once, before.
    Of the protocol, metrics for which there is no posterior variance or no decoder are left out.

    Parameters
    ----------
    codes_or_encoder
        An encoder, ``[B, C, H, W]`` float in [0, 1] to codes, or to codes and log-variances,
        which sees batches on ``device``; or codes [N, d] of all N images of the grid, in its
        order.
    grid
        The factor grid. With codes, also just their factors [N, k]: any table of labelled codes
        is scored. Training and test rows are then disjoint random parts of it, two thirds
        and one third, or fewer where the protocol asks for fewer; intervals then say what the
        choice of rows and votes does, not what other data would.
    protocol
        ``"locatello2019"``, or ``"fast"``, whose DCI is another estimator's.
    n_repeats
        Of the whole panel, with other samples.
    seed
        Of all draws, by repeat: repeat r is the same whatever their number.
    metrics
        Names of metrics or labels of the protocol; all of the protocol by default.
    progress
        Called as ``progress(done, total)`` after every batch encoded and every metric.
    names
        Of the factors, where ``grid`` is a table of them.
    decoder
        On ``device`` beside an encoder: images are decoded from their codes as well.
    output
        What it returns: Bernoulli logits, or pixel values.
    max_images
        Encode no more than so many images, a uniform choice of the grid, and draw from them.
        Vote metrics may need every image of the grid, and do by default.
    device
        Where images are encoded.
    jobs
        Processes for the metrics; by default as many as there are cores.

    Returns
    -------
    Evaluation
        Mean, deviation and interval of each score, and the first repeat's results whole.

    Raises
    ------
    UnknownNameError
        An unknown protocol or metric.
    InputError
        Codes that do not fit the grid or are not finite, an encoder without a grid, a metric
        asked for by name that needs what there is not, or numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> factors = np.stack([axis.ravel() for axis in np.indices((8, 8))], 1)
    >>> found = evaluate(factors * [1.0, -2.0], factors, metrics=["mcc"], n_repeats=2, jobs=1)
    >>> round(found.scores["mcc"].mean, 6)
    1.0
    """
    positive(n_repeats=n_repeats)
    for name, value in {"max_images": max_images, "jobs": jobs}.items():
        if value is not None:
            positive(**{name: value})
    if seed < 0:
        raise InputError("seed", "a number not below 0", seed)
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    plan = PROTOCOLS[protocol]
    chosen = entries(plan, metrics)
    watch = _Watch(progress)
    watch.total += n_repeats * len(chosen)
    samples = _samples(codes_or_encoder, grid, plan, n_repeats, seed, max_images, chosen)
    model = _Model(codes_or_encoder, decoder, output, device)
    table, names = _rows(model, grid, samples.rows, names, watch)
    codes, factors = table["codes"], table["factors"]
    possible = {label: entry for label, entry in chosen.items() if not _lacks(entry, table)}
    if metrics is not None and (missing := [label for label in chosen if label not in possible]):
        needs = f"{', '.join(_lacks(chosen[missing[0]], table))} (of an encoder and decoder)"
        raise InputError(f"metric {missing[0]}", needs, "none")
    watch.total -= n_repeats * (len(chosen) - len(possible))
    chosen = possible
    if any("names" in _parameters(entry) for entry in chosen.values()):
        for draw in samples.draws:  # here rather than in another process, before long work
            as_sample(codes[draw.train], factors[draw.train], names)
    processes = effective_n_jobs(-1 if jobs is None else jobs)
    # what is left of the cores where there are fewer repeats than cores goes to a metric's parts
    inside = -(-processes // n_repeats)
    calls = [
        (label, entry, _arguments(entry, table, draw, repeat, seed, inside))
        for repeat, draw in enumerate(samples.draws)
        for label, entry in chosen.items()
    ]
    run = Parallel(n_jobs=processes, return_as="generator")
    results: dict[str, list[Score]] = {label: [] for label in chosen}
    found = run(delayed(_call)(entry, arguments, names) for _, entry, arguments in calls)
    for (label, _, _), result in zip(calls, found, strict=True):
        results[label].append(result)
        watch.step()
    settings = {
        "protocol": protocol,
        "repeats": n_repeats,
        "seed": seed,
        "train": len(samples.draws[0].train),
        "test": len(samples.draws[0].test),
        "rows": len(codes),
        "of": samples.size,
        "latents": codes.shape[1],
        "factors": list(names),
    }
    shown = samples.draws[0].train[:SHOWN]
    return Evaluation(
        codes=codes[shown],
        factors=factors[shown],
        scores={k: v for label, found in results.items() for k, v in _summaries(label, found)},
        details={label: found[0].to_json() for label, found in results.items()},
        settings=settings,
    )


class _Draw(NamedTuple):
    train: Index  # places among the rows
    test: Index


class _Samples(NamedTuple):
    rows: Index | None  # of the grid, in order; None for all
    size: int
    draws: list[_Draw]


class _Watch:
    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self.done = self.total = 0
        self._progress = progress

    def step(self) -> None:
        self.done += 1
        if self._progress is not None:
            self._progress(self.done, self.total)


def _samples(
    codes_or_encoder: Any,
    grid: Any,
    plan: Protocol,
    n_repeats: int,
    seed: int,
    max_images: int | None,
    chosen: Mapping[str, Entry],
) -> _Samples:
    """Decide on the rows of every repeat before any image is looked at."""
    rngs = [np.random.default_rng([seed, repeat]) for repeat in range(n_repeats)]
    if not isinstance(grid, Grid):
        size = len(as_codes(codes_or_encoder)) if not callable(codes_or_encoder) else 0
        if size < 3:
            expected = "a factor grid, or factors beside at least 3 rows of codes"
            raise InputError("grid", expected, f"a table and {size or 'no'} codes")
        return _Samples(None, size, [_parts(size, plan, rng) for rng in rngs])
    size = len(grid)
    candidates = np.arange(size)
    if max_images is not None and max_images < size:
        choice = np.random.default_rng(seed).choice(size, max_images, replace=False)
        candidates = np.sort(choice)
    draws = [
        _Draw(*(candidates[rng.integers(len(candidates), size=n)] for n in (plan.train, plan.test)))
        for rng in rngs
    ]
    if callable(codes_or_encoder) and not any(map(_votes, chosen.values())):
        rows = np.unique(np.concatenate([row for draw in draws for row in draw]))
    else:
        rows = candidates
    places = [_Draw(*(np.searchsorted(rows, row) for row in draw)) for draw in draws]
    return _Samples(rows if len(rows) < size else None, size, places)


def _parts(size: int, plan: Protocol, rng: np.random.Generator) -> _Draw:
    order = rng.permutation(size)
    held = max(size // 3, 1)
    return _Draw(order[held:][: plan.train], order[:held][: plan.test])


class _Model(NamedTuple):
    codes_or_encoder: Any
    decoder: Decoder | None
    output: Literal["logits", "image"]
    device: torch.device | str


def _rows(
    model: _Model,
    grid: Any,
    rows: Index | None,
    names: Sequence[str] | None,
    watch: _Watch,
) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
    """Codes, factors and whatever else is known of each row, and the factors' names."""
    given = model.codes_or_encoder
    if not isinstance(grid, Grid):
        codes = as_codes(given)
        factors = as_factors(grid, len(codes))
        labels = names or [str(j) for j in range(factors.shape[1])]
        return {"codes": codes, "factors": factors}, labels
    index = np.arange(len(grid)) if rows is None else rows
    if callable(given):
        table = _encode(model, grid, index, watch)
        table["codes"] = as_codes(table["codes"])
    else:
        codes = as_codes(given)
        if len(codes) != len(grid):
            raise InputError("codes", f"a row for each of {len(grid)} images", len(codes))
        table = {"codes": codes[index]}
    return table | {"factors": grid.factors(index)}, grid.names


@torch.no_grad()
def _encode(model: _Model, grid: Grid, index: Index, watch: _Watch) -> dict[str, NDArray[Any]]:
    starts = range(0, len(index), BATCH)
    watch.total += len(starts)
    parts: list[dict[str, NDArray[Any]]] = []
    for start in starts:
        images = torch.from_numpy(grid.images(index[start : start + BATCH])).to(model.device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        found = model.codes_or_encoder(images)
        codes, logvar = (found, None) if isinstance(found, Tensor) else (*found, None)[:2]
        if codes.ndim != 2 or len(codes) != len(images):
            expected = f"codes [{len(images)}, d] of {len(images)} images"
            raise InputError("encoder", expected, list(codes.shape))
        part = {"codes": codes.float().cpu().numpy()}
        if logvar is not None:
            part["logvar"] = logvar.float().cpu().numpy()
        if model.decoder is not None:
            part |= reconstruction_errors(model.decoder(codes), images, model.output)
        parts.append(part)
        watch.step()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _parameters(entry: Entry) -> Mapping[str, inspect.Parameter]:
    """What a metric takes: by this it is called, so that a new one needs no entry here."""
    return inspect.signature(METRICS[entry.metric]).parameters


def _votes(entry: Entry) -> bool:
    """Whether a metric draws batches of its own, and so wants all rows there are."""
    return "votes" in _parameters(entry)


def _lacks(entry: Entry, table: Mapping[str, Any]) -> list[str]:
    """What a metric needs of each row and the table does not have."""
    return [
        name
        for name, one in _parameters(entry).items()
        if one.default is one.empty and name not in table
    ]


def _arguments(
    entry: Entry,
    table: Mapping[str, NDArray[Any]],
    draw: _Draw,
    repeat: int,
    seed: int,
    jobs: int,
) -> dict[str, Any]:
    parameters = _parameters(entry)
    rows = slice(None) if _votes(entry) else draw.train
    given: dict[str, Any] = {
        name: values[rows] for name, values in table.items() if name in parameters
    }
    if "test" in parameters:
        given["test"] = table["codes"][draw.test], table["factors"][draw.test]
    if "seed" in parameters:
        given["seed"] = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
    if "jobs" in parameters:
        given["jobs"] = jobs
    return given


def _call(entry: Entry, arguments: Mapping[str, Any], names: Sequence[str]) -> Score:
    named = {"names": names} if "names" in _parameters(entry) else {}
    return METRICS[entry.metric](**arguments, **entry.options, **named)


def _summaries(label: str, results: Sequence[Score]) -> list[tuple[str, Summary]]:
    """The score, and other single numbers that the results have."""
    numbers = [name for name, value in vars(results[0]).items() if isinstance(value, float)]
    return [
        (
            label if name == "score" else f"{label}.{name}",
            _summary([getattr(result, name) for result in results]),
        )
        for name in ("score", *(name for name in numbers if name != "score"))
    ]


def _summary(values: Sequence[float]) -> Summary:
    n = len(values)
    mean = math.fsum(values) / n if all(map(math.isfinite, values)) else math.inf
    if n == 1 or not math.isfinite(mean):
        return Summary(mean, None, None, tuple(values))
    std = float(np.std(values, ddof=1))
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n)
    return Summary(mean, std, (mean - half, mean + half), tuple(values))
