"""What a diagnosis holds and how it speaks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from vaebias.analysis.activity import RULES, ActiveUnits
from vaebias.analysis.alignment import Chance

__all__ = ["DataAlignment", "Diagnosis", "mean_sd"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DataAlignment:
    """Decoder directions beside the data's own local directions.

    Attributes
    ----------
    name, source, factors
        The grid, where its images come from, and its k factors.
    cosines_components, cosines_factors
        [n, d, k] cosine of each decoder direction with each local principal component of
        the data and with each factor's tangent.
    matched_components, matched_factors
        [n] mean abs(cos) of the active latents matched one to one with components, with
        factors.
    partner_components, partner_factors
        [n, d] whom each latent was matched with, -1 for nobody.
    component_variances
        [n, k] variance along the local principal components, falling.
    """

    name: str | None
    source: str | None
    factors: tuple[str, ...]
    cosines_components: Floats
    cosines_factors: Floats
    matched_components: Floats
    matched_factors: Floats
    partner_components: NDArray[np.int64]
    partner_factors: NDArray[np.int64]
    component_variances: Floats

    def to_json(self) -> dict[str, Any]:
        """Means over the points, as JSON types."""
        return {
            "name": self.name,
            "source": self.source,
            "factors": list(self.factors),
            "mean_abs_cosines_components": _plain(np.abs(self.cosines_components).mean(0)),
            "mean_abs_cosines_factors": _plain(np.abs(self.cosines_factors).mean(0)),
            "matched_components": _record(self.matched_components),
            "matched_factors": _record(self.matched_factors),
            "component_variances": _plain(self.component_variances.mean(0)),
        }


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """How a decoder's latent axes lie to its principal directions and to the data's.

    Attributes
    ----------
    points, latents, pixels
        n, d and P.
    space
        ``"image"`` or ``"logits"``: where the decoder was differentiated.
    differentiation
        ``"forward"``, ``"reverse"`` or ``"finite"``: how.
    rule, active
        What chose the active latents, and bool [d]. ``"all"``: nothing was known of them.
    activity
        Activity by all rules, where an encoder was at hand.
    distance
        [n] distance to orthogonality over the active latents; NaN where it is undefined.
    chance
        Its mean over random rotations of as many latents; None without an active latent.
    singular_values
        [n, m] of the Jacobian of the m active latents, falling.
    relative_gaps
        [n, m - 1] between them.
    ima_contrast
        [n] c_IMA, nats; NaN where a direction vanishes.
    data
        The comparison with the data, where data was given.
    notes
        What keeps the numbers from meaning what they seem to mean.
    """

    points: int
    latents: int
    pixels: int
    space: str
    differentiation: str
    rule: str
    active: NDArray[np.bool_]
    activity: ActiveUnits | None
    distance: Floats
    chance: Chance | None
    singular_values: Floats
    relative_gaps: Floats
    ima_contrast: Floats
    data: DataAlignment | None
    notes: tuple[str, ...]

    @property
    def dto(self) -> tuple[float, float]:
        """Mean and standard deviation over points of the distance to orthogonality."""
        return mean_sd(self.distance)

    def to_json(self) -> dict[str, Any]:
        """Means over the points, as JSON types; what is undefined is null."""
        chance = None if self.chance is None else dict(self.chance._asdict())
        return {
            "points": self.points,
            "latents": self.latents,
            "pixels": self.pixels,
            "space": self.space,
            "differentiation": self.differentiation,
            "active": {
                "rule": self.rule,
                "mask": self.active.tolist(),
                "count": int(self.active.sum()),
            },
            "activity": None if self.activity is None else self.activity.to_json(),
            "dto": {**_record(self.distance), "chance": chance},
            "singular_values": _plain(self.singular_values.mean(0)),
            "relative_gaps": _plain(self.relative_gaps.mean(0)),
            "ima_contrast": _record(self.ima_contrast),
            "data": None if self.data is None else self.data.to_json(),
            "notes": list(self.notes),
            "summary": self.summary(),
        }

    def table(self) -> Table:
        """The figures for a terminal."""
        table = Table(title="Decoder alignment", show_header=False)
        table.add_column("figure")
        table.add_column("value")
        count = int(self.active.sum())
        table.add_row("points", str(self.points))
        table.add_row("active latents", f"{count} of {self.latents} (rule: {self.rule})")
        if self.activity is not None:
            for rule, label in RULES.items():
                table.add_row(f"  with {label}", str(int(self.activity.by(rule).sum())))
        table.add_row("distance to orthogonality", _text(self.distance))
        if self.chance is not None:
            chance = f"{self.chance.mean:.2f} ± {self.chance.standard_error:.2f}"
            table.add_row("  of random axes", chance)
        table.add_row("c_IMA (nats)", _text(self.ima_contrast))
        table.add_row("singular values", _join(self.singular_values.mean(0)))
        table.add_row("  relative gaps", _join(self.relative_gaps.mean(0)))
        if self.data is not None:
            table.add_row("|cos| with local PCs", _text(self.data.matched_components))
            table.add_row("|cos| with factors", _text(self.data.matched_factors))
        for note in self.notes:
            table.add_row("note", note)
        return table

    def summary(self) -> str:
        """One sentence in plain words."""
        count = int(self.active.sum())
        latents = f"{count} active of {self.latents} latents"
        mean = self.dto[0]
        if self.chance is None or math.isnan(mean):
            return f"Nothing can be said of the axes: {latents}, and no defined distance."
        if count == 1:
            return f"One active of {self.latents} latents: a single axis is always aligned."
        ratio = mean / self.chance.mean
        verdict = (
            "lie along the decoder's local principal directions"
            if ratio < 1 / 3
            else "lie nearer to the decoder's local principal directions than random axes"
            if ratio < 0.8
            else "lie to the decoder's local principal directions as random axes would"
        )
        text = f"The axes ({latents}) {verdict}: DtO {mean:.2f}, chance {self.chance.mean:.2f}"
        if self.data is not None:
            components, factors = (
                mean_sd(values)[0]
                for values in (self.data.matched_components, self.data.matched_factors)
            )
            if not math.isnan(components):
                text += (
                    f"; |cos| {components:.2f} with the data's local principal components"
                    f" and {factors:.2f} with its factors"
                )
        return text + (" (see the notes)." if self.notes else ".")


def mean_sd(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the defined values; NaN where there are too few."""
    defined = values[~np.isnan(values)].astype(np.float64)
    mean = float(defined.mean()) if len(defined) else math.nan
    return mean, float(defined.std(ddof=1)) if len(defined) > 1 else math.nan


def _record(values: Floats) -> dict[str, float | None]:
    mean, sd = mean_sd(values)
    return {"mean": _number(mean), "sd": _number(sd)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(array: NDArray[Any]) -> list[Any]:
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [_number(float(value)) for value in array]


def _text(values: Floats) -> str:
    mean, sd = mean_sd(values)
    if math.isnan(mean):
        return "undefined"
    return f"{mean:.2f}" if math.isnan(sd) else f"{mean:.2f} (sd {sd:.2f})"


def _join(values: Iterable[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values) or "none"
