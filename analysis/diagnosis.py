"""Result of a diagnosis, as JSON, table and summary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from vaebias.analysis.activity import RULES, ActiveUnits
from vaebias.analysis.alignment import Chance
from vaebias.analysis.references import (
    QUANTILES,
    DataAlignment,
    Floats,
    Prediction,
    Price,
    Reference,
    mean_sd,
    quantiles,
    record,
)
from vaebias.display import Displayed, bars
from vaebias.numbers import finite_list, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Diagnosis"]


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Displayed):
    """Alignment of a decoder's latent axes with its own principal directions and the data's.

    Notebooks show it as a table; ``float(diagnosis)`` is the mean distance to orthogonality. See
    also `to_frame`, `plot` and `html`.

    Attributes
    ----------
    points, latents, pixels
        n, d and P.
    space
        ``"image"`` or ``"logits"``: the output that was differentiated.
    differentiation
        Mode of differentiation: ``"forward"``, ``"reverse"`` or ``"finite"``.
    rule, active
        Rule that chose the active latents, and bool [d]. ``"all"``: there was no encoder.
    activity
        Activity by all rules, if there was an encoder.
    distance
        [n] distance to orthogonality over the active latents; NaN if undefined.
    chance
        Mean distance of random rotations of as many latents; None without an active latent.
    singular_values
        [n, m] of the Jacobian of the m active latents, falling.
    relative_gaps
        [n, m - 1] relative gaps between them.
    ima_contrast
        [n] c_IMA, nats; NaN if a direction vanishes.
    data
        Comparison with the data's factors, if data was given.
    label_free
        Comparisons with as many principal components as there are active latents, by name:
        ``"neighbours"``, ``"global"`` and ``"posterior"``, as requested.
    price
        Price of the axes in nats, if beta was given and a latent is active.
    prediction
        Posterior variances and expected ones, if beta was given.
    notes
        Caveats for reading the numbers.
    coordinates
        Flat indices of the latents that were measured, if not all.
    index
        int64 [n], the points' index in the data; None without data.
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
    label_free: dict[str, Reference]
    price: Price | None
    prediction: Prediction | None
    notes: tuple[str, ...]
    coordinates: tuple[int, ...] | None = None
    index: NDArray[np.int64] | None = None

    def latent(self, i: int) -> str:
        """Return the name of the i-th latent that was looked at: ``z1`` for the first."""
        return f"z{(i if self.coordinates is None else self.coordinates[i]) + 1}"

    @property
    def dto(self) -> tuple[float, float]:
        """Mean and standard deviation over points of the distance to orthogonality."""
        return mean_sd(self.distance)

    def to_json(self) -> dict[str, Any]:
        """Return distributions over the points as JSON types; undefined values are null."""
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
            "quantile_levels": list(QUANTILES),
            "dto": {**record(self.distance), "chance": chance},
            "singular_values": finite_list(self.singular_values.mean(0)),
            "singular_value_quantiles": finite_list(quantiles(self.singular_values)),
            "relative_gaps": finite_list(self.relative_gaps.mean(0)),
            "relative_gap_quantiles": finite_list(quantiles(self.relative_gaps)),
            "ima_contrast": record(self.ima_contrast),
            "data": None if self.data is None else self.data.to_json(),
            "label_free": {name: each.to_json() for name, each in self.label_free.items()},
            "price": None if self.price is None else self.price.to_json(),
            "prediction": None if self.prediction is None else self.prediction.to_json(),
            "notes": list(self.notes),
            "summary": self.summary(),
            **({} if self.coordinates is None else {"coordinates": list(self.coordinates)}),
        }

    def table(self) -> Table:
        """Return the figures as a table for the terminal."""
        table = Table(title=self._title(), show_header=False)
        table.add_column("figure")
        table.add_column("value")
        for row in self._rows():
            table.add_row(*row)
        return table

    def summary(self) -> str:
        """Return one sentence about the axes."""
        count = int(self.active.sum())
        latents = f"{count} active of {self.latents} latents"
        mean = self.dto[0]
        if self.chance is None or math.isnan(mean):
            return f"The axes cannot be judged: {latents}, and the distance is undefined."
        if count == 1:
            return f"One active of {self.latents} latents: a single axis is always aligned."
        ratio = mean / self.chance.mean
        verdict = (
            "lie along the decoder's local principal directions"
            if ratio < 1 / 3
            else "lie nearer to the decoder's local principal directions than random axes"
            if ratio < 0.8
            else "lie no nearer to the decoder's local principal directions than random axes"
        )
        text = (
            f"The axes ({latents}) {verdict}: DtO {number(mean)}, chance {number(self.chance.mean)}"
        )
        if self.data is not None:
            components, factors = (
                mean_sd(values)[0]
                for values in (self.data.components.matched, self.data.tangents.matched)
            )
            if not math.isnan(components):
                chances = " and ".join(
                    number(mean_sd(each.chance)[0])
                    for each in (self.data.components, self.data.tangents)
                )
                text += (
                    f"; |cos| {number(components)} with the data's local principal components"
                    f" and {number(factors)} with its factors (random axes: {chances})"
                )
        return text + (" (see the notes)." if self.notes else ".")

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each point: DtO, c_IMA and singular values."""
        import pandas as pd

        values = {"distance": self.distance, "ima_contrast": self.ima_contrast}
        values |= {f"singular_value_{i + 1}": one for i, one in enumerate(self.singular_values.T)}
        frame = pd.DataFrame(values).rename_axis("point")
        frame.attrs.update(summary=self.summary(), notes=list(self.notes))
        return frame

    def plot(self) -> Figure:
        """Return a matplotlib figure: DtO beside chance, and the singular values."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        known = self.distance[np.isfinite(self.distance)]
        left.hist(known, bins=30)
        if self.chance is not None:
            left.axvline(self.chance.mean, color="black", ls="--", label="random axes")
            left.legend(frameon=False)
        left.set_xlabel("distance to orthogonality")
        left.set_ylabel("points")
        bars(
            right,
            {f"{i + 1}": float(one) for i, one in enumerate(self.singular_values.mean(0))},
            "mean singular value",
        )
        return figure

    def __float__(self) -> float:
        """Return the mean distance to orthogonality."""
        return self.dto[0]

    def __format__(self, spec: str) -> str:
        """Format the mean distance to orthogonality."""
        return format(self.dto[0], spec) if spec else repr(self)

    def __repr__(self) -> str:
        """Return DtO beside chance in one line."""
        chance = "" if self.chance is None else f", chance={self.chance.mean:.2f}"
        active = f"{int(self.active.sum())} of {self.latents}"
        return f"Diagnosis(dto={self.dto[0]:.2f}{chance}, active={active}, points={self.points})"

    def _title(self) -> str:
        return "Decoder alignment"

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []

        def add(*row: str) -> None:
            rows.append(row)

        count = int(self.active.sum())
        add("points", str(self.points))
        add("active latents", f"{count} of {self.latents} (rule: {self.rule})")
        if self.activity is not None:
            for rule, label in RULES.items():
                add(f"  with {label}", str(int(self.activity.by(rule).sum())))
        add("distance to orthogonality", _text(self.distance))
        if self.chance is not None:
            chance = f"{self.chance.mean:.2f} ± {self.chance.standard_error:.2f}"
            add("  of random axes", chance)
        if self.price is not None:
            add(f"price of the axes (nats, β {self.price.beta:g})", _text(self.price.nats))
            add("  of random axes", _text(self.price.chance))
        add("c_IMA (nats)", _text(self.ima_contrast))
        add("singular values", _join(self.singular_values.mean(0)))
        add("  relative gaps", _join(self.relative_gaps.mean(0)))
        if self.data is not None:
            add("|cos| with local PCs", _text(self.data.components.matched))
            add("  of random axes", _text(self.data.components.chance))
            add("  principal angles", _degrees(self.data.components.angles))
            add("|cos| with factors", _text(self.data.tangents.matched))
            add("  of random axes", _text(self.data.tangents.chance))
            for i in np.flatnonzero(self.active).tolist():
                add(f"  {self.latent(i)}", self.data.mixture.describe(i, self.data.factors))
        for name, each in self.label_free.items():
            add(f"|cos| with {name} PCs", _text(each.matched))
            add("  of random axes", _text(each.chance))
            add("  principal angles", _degrees(each.angles))
        if self.prediction is not None:
            ratios = np.median(self.prediction.ratio[:, self.active], 0)
            add("σ² over its expected value", _join(ratios))
        for note in self.notes:
            add("note", note)
        return rows


def _text(values: Floats) -> str:
    mean, sd = mean_sd(values)
    if math.isnan(mean):
        return "undefined"
    return f"{mean:.2f}" if math.isnan(sd) else f"{mean:.2f} (sd {sd:.2f})"


def _degrees(angles: Floats) -> str:
    """Return the median of each principal angle."""
    defined = (column[~np.isnan(column)] for column in np.degrees(angles).T)
    medians = (np.median(column) if len(column) else math.nan for column in defined)
    return " ".join("–" if math.isnan(value) else f"{value:.0f}°" for value in medians)


def _join(values: Iterable[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values) or "none"
