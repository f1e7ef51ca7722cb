"""How large an effect a study can find, before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaebias.experiments.protocol import Protocol
from vaebias.numbers import number
from vaebias.statistics import EFFECTS, detectable_effect, seeds_needed

__all__ = ["Power", "study_power"]


@dataclass(frozen=True)
class Power:
    """Effects that a study finds with a probability of 80 %, in the units of `statistics.power`.

    Attributes
    ----------
    values
        Number of independent values per cell: seeds, or draws of a perturbation if there are
        several.
    detectable
        Smallest effect that they find; None for one value.
    needed
        Number of values that each of ``statistics.EFFECTS`` needs.
    """

    values: int
    detectable: float | None
    needed: dict[float, int]

    def __str__(self) -> str:
        """Return all of it in three sentences."""
        if self.detectable is None:
            found = "One run per cell detects no difference: there is no spread to compare it with."
        else:
            found = (
                f"{self.values} values per cell detect a difference of {number(self.detectable)} "
                "with a probability of 80 %."
            )
        effects = ", ".join(number(effect, 1) for effect in self.needed)
        needed = ", ".join(map(str, self.needed.values()))
        return (
            f"{found} Differences of {effects} need {needed} values. The unit is the standard "
            "deviation of the difference of two runs, 1.4 times the spread over seeds."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        needed = {f"{effect:g}": values for effect, values in self.needed.items()}
        return {"values": self.values, "detectable": self.detectable, "needed": needed}


def study_power(protocol: Protocol) -> Power:
    """Return the power of the contrasts of a study."""
    draws = [len(variant.draws) for variant in protocol.variants if len(variant.draws) > 1]
    values = min([len(protocol.seeds), *draws])
    return Power(
        values,
        detectable_effect(values) if values > 1 else None,
        {effect: seeds_needed(effect) for effect in EFFECTS},
    )
