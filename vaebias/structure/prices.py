"""Prices of a VAE's axes: of pairs of factors, of rotations of all, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.inference import ACTIVE_BELOW
from vaebias.numbers import finite
from vaebias.structure.exact import ExactPrice
from vaebias.structure.recurrence import RECURS
from vaebias.structure.tangents import Likelihood

__all__ = ["UNDECIDED", "PairPrice", "Price", "RotationPrice"]

UNDECIDED = 0.15
"""Nats per unit of beta: of seeds trained on axes that differ by less, some turn and some do not.

Costs are proportional to beta where latents are well encoded. Found on blobs, see
docs/prediction.md.
"""


@dataclass(frozen=True)
class PairPrice:
    """The price of two latents that code one pair of factors, in nats an image.

    Attributes
    ----------
    axes
        Cost if each latent is one of the factors.
    even
        Cost of the better even mixture, a turn by +45 or -45 degrees.
    best, worst
        Least and highest cost over all turns.
    angle
        Turn of least cost, in degrees from -45 to 45: how far the latent of the first factor turns
        towards the second. The sign tells which mixture is the cheaper one.
    beta
        Weight of the KL divergence.
    start_gain
        What the better even mixture saves with posteriors as wide as the prior, where training
        starts; as `mixing_gain`, which holds for the posteriors where it ends.
    exact
        The same on patches of the grid, without the quadratic approximation, if asked for.
    recurrence
        How far images return along the stronger axis of the best turn, see `recurrence`; looked
        at where that turn saves enough to be predicted, else 0.
    """

    axes: float
    even: float
    best: float
    worst: float
    angle: float
    beta: float
    start_gain: float
    exact: ExactPrice | None = None
    recurrence: float = 0.0

    @property
    def gain(self) -> float:
        """What the best turn saves over the factors' axes, >= 0."""
        return self.axes - self.best

    @property
    def mixing_gain(self) -> float:
        """What the better even mixture saves over the factors' axes; negative if it costs."""
        return self.axes - self.even

    @property
    def starts_low(self) -> bool:
        """Whether the mixture saves less than `UNDECIDED` times beta where training starts."""
        return self.start_gain < UNDECIDED * self.beta

    @property
    def recurs(self) -> bool:
        """Whether images return along the turned axis: a phase, not an axis."""
        return self.recurrence >= RECURS

    @property
    def decided(self) -> bool:
        """Whether the best and the worst turn differ by more than `UNDECIDED` times beta.

        Not if `recurs`: latents then find the circle of the phase first, and most stay there,
        although the turn would cost less.
        """
        return self.worst - self.best > UNDECIDED * self.beta and not self.recurs

    @property
    def turns(self) -> bool:
        """Whether the best turn is decided and saves more than `UNDECIDED` times beta."""
        return self.gain > UNDECIDED * self.beta and not self.recurs

    def to_json(self) -> dict[str, Any]:
        """All numbers, with the gains, as JSON types."""
        record = asdict(self) | {"gain": self.gain, "mixing_gain": self.mixing_gain}
        if self.exact is not None:
            record["exact"]["error"] = finite(self.exact.error)
        return record


@dataclass(frozen=True, eq=False)
class RotationPrice:
    """The price of as many latents as factors, over all rotations.

    Attributes
    ----------
    mixture
        [k, k]; row i holds the weights of latent i over the whitened factors. Each latent stands in
        the row of the factor of which it has most.
    axes, best
        Cost of the factors' axes and of these.
    variance
        [k] mean posterior variance of each latent, as a share of the prior's.
    """

    mixture: NDArray[np.float64]
    axes: float
    best: float
    variance: NDArray[np.float64]

    @property
    def gain(self) -> float:
        """What the rotation saves over the factors' axes, >= 0."""
        return self.axes - self.best

    @property
    def passive(self) -> NDArray[np.bool_]:
        """[k] whether a latent stays passive: its posterior is nearly the prior."""
        return np.asarray(self.variance >= ACTIVE_BELOW)


@dataclass(frozen=True, eq=False)
class Price:
    """What a beta-VAE's axes cost on a data set, and so which it will take.

    Attributes
    ----------
    pairs
        For each pair of factors, under their names.
    all
        For all factors together.
    names
        The k factors that have an order and more than one level.
    grams
        [n, k, k] M = Σ^½ T H Tᵀ Σ^½ at the points, from which all else is computed.
    weights
        [n] of the points, which sum to 1.
    index
        [n] the points.
    widths
        [k] posterior width of each factor, in levels, over which tangents were taken.
    sd
        [k] standard deviation of each factor, in levels.
    beta, likelihood, scale
        As given; the scale is None for Bernoulli pixels.
    cyclic
        Factors that are circles.
    correlated
        Whether the factors are correlated.
    data
        Name of the data set.
    """

    pairs: Mapping[tuple[str, str], PairPrice]
    all: RotationPrice
    names: tuple[str, ...]
    grams: NDArray[np.float64]
    weights: NDArray[np.float64]
    index: NDArray[np.int64]
    widths: NDArray[np.float64]
    sd: NDArray[np.float64]
    beta: float
    likelihood: Likelihood
    scale: float | None
    cyclic: tuple[str, ...]
    correlated: bool
    data: str

    @property
    def passive(self) -> tuple[str, ...]:
        """Factors, named by the latent that is most of each, which no latent will code."""
        return tuple(n for n, off in zip(self.names, self.all.passive, strict=True) if off)

    @property
    def verdict(self) -> str:
        """One or two sentences: what a beta-VAE will do."""
        return _verdict(self)

    def to_json(self) -> dict[str, Any]:
        """Everything but the points, as JSON types; pairs under "a+b"."""
        named = [dict(zip(self.names, row, strict=True)) for row in self.all.mixture.tolist()]
        return {
            "data": self.data,
            "beta": self.beta,
            "likelihood": self.likelihood,
            "scale": self.scale,
            "units": "sd",
            "points": len(self.index),
            "factors": list(self.names),
            "cyclic": list(self.cyclic),
            "correlated": self.correlated,
            "sd": dict(zip(self.names, self.sd.tolist(), strict=True)),
            "posterior_width": dict(zip(self.names, self.widths.tolist(), strict=True)),
            "pairs": {f"{a}+{b}": one.to_json() for (a, b), one in self.pairs.items()},
            "all": {
                "axes": self.all.axes,
                "best": self.all.best,
                "gain": self.all.gain,
                "mixture": dict(zip(self.names, named, strict=True)),
                "posterior_variance": dict(
                    zip(self.names, self.all.variance.tolist(), strict=True)
                ),
            },
            "passive": list(self.passive),
            "undecided_below": UNDECIDED * self.beta,
            "verdict": self.verdict,
        }


def _verdict(price: Price) -> str:
    active = {pair: one for pair, one in price.pairs.items() if not set(pair) & set(price.passive)}
    turning = {pair: one for pair, one in active.items() if one.turns}
    phases = [f"{a} and {b}" for (a, b), one in active.items() if one.recurs]
    undecided = {pair: one for pair, one in active.items() if not (one.decided or one.recurs)}
    kept = {pair: one for pair, one in active.items() if one.decided and not one.turns}
    said = []
    if turning:
        ranked = sorted(turning.items(), key=lambda item: -item[1].gain)
        turns = [
            f"{a} and {b} by {abs(one.angle):.0f}° (saves {one.gain:.2f} nats)"
            for (a, b), one in ranked
        ]
        said.append("turns " + ", ".join(turns))
    elif kept:
        (a, b), least = min(kept.items(), key=lambda item: item[1].worst - item[1].axes)
        margin = f"by at least {least.worst - least.axes:.2f} nats (for {a} and {b})"
        said.append(f"keeps the factors as its axes, {margin}")
    if not active:
        coded = [name for name in price.names if name not in price.passive]
        said.append(f"encodes {', '.join(coded) or 'nothing'}")
    if price.passive:
        said.append(f"drops {', '.join(price.passive)}")
    who = f"VAE with beta {price.beta:g}"
    sentences = [f"A {who} {' and '.join(said)}."] if said else []
    start = "The prediction" if said else f"For a {who}, the prediction"
    if undecided:
        names = ", ".join(f"{a} and {b}" for a, b in undecided)
        margin = f"{UNDECIDED * price.beta:.2g} nats"
        sentences.append(
            f"{start} is undecided for {names}: factors and mixtures differ by less than {margin}."
        )
    if phases:
        sentences.append(
            f"{start} is undecided for {', '.join(phases)}: their mixture is cheaper, but images "
            "return along it, and a phase of more than one cycle takes two latents."
        )
    late = [f"{a} and {b}" for (a, b), one in turning.items() if one.starts_low]
    if late:
        sentences.append(
            f"Mixtures of {', '.join(late)} save less than {UNDECIDED * price.beta:.2g} nats where "
            "training starts, with posteriors as wide as the prior: the turn may be smaller."
        )
    if price.cyclic:
        is_one = "is a circle" if len(price.cyclic) == 1 else "are circles"
        sentences.append(f"({', '.join(price.cyclic)} {is_one}, which one axis cannot represent.)")
    return " ".join(sentences)
