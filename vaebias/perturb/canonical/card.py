"""Data cards: what a canonical set changes, and what it leaves as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.errors import InputError
from vaebias.numbers import number, signed
from vaebias.perturb.canonical.sets import CanonicalSet, canonical
from vaebias.perturb.perturbation import PerturbedGrid
from vaebias.perturb.verify import PROBE_STEPS, Verification, verify
from vaebias.structure import PairPrice, price

__all__ = ["DataCard", "card_rows", "data_card"]


@dataclass(frozen=True, eq=False)
class DataCard:
    """Description of a canonical set, computed on rendered images.

    Attributes
    ----------
    one
        The set.
    source
        Where the images come from: "rendered" or "blobs".
    settings
        Record of the perturbation.
    verification
        Structure, size of the change and read-outs, before and after.
    model
        The VAE whose axes are predicted: its beta, likelihood and scale.
    prices
        For each pair of factors, its price before and after.
    """

    one: CanonicalSet
    source: str
    settings: dict[str, Any]
    verification: Verification
    model: dict[str, Any]
    prices: dict[tuple[str, str], tuple[PairPrice, PairPrice]]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "name": self.one.name,
            "source": self.source,
            "file": self.one.path.name,
            "sha256": self.one.file,
            "pixels_sha256": self.one.pixels,
            "perturbation": self.settings,
            "verification": self.verification.to_json(),
            "model": self.model,
            "prices": {
                f"{a}+{b}": {"before": before.to_json(), "after": after.to_json()}
                for (a, b), (before, after) in self.prices.items()
            },
        }


def data_card(
    name: str,
    *,
    steps: int = PROBE_STEPS,
    sample: int = 4096,
    progress: Callable[[str, int, int], None] | None = None,
) -> DataCard:
    """Describe a canonical set by its rendered images, beside the original rescaled alike.

    Parameters
    ----------
    name
        Name of a modified set or of a noise control.
    steps
        Training steps of the probes.
    sample
        Number of images compared, and of points of the structure and the price.
    progress
        Called as ``progress(what, done, total)``.

    Raises
    ------
    UnknownNameError
        There is no such set.
    InputError
        The set is the original, in which nothing is changed.
    """
    one = canonical(name)
    if not one.applied:
        raise InputError("name", "a modified set or a noise control", repr(name))
    modified = one.rendered()
    base = one.base(**one.rendered_options)
    original = PerturbedGrid(base, None, modified.epsilon, range=modified.range)
    # noise has no pairs and no model of its own: they are those of the modified set
    settings = canonical(name.replace("-noise-", "-modified-")).stored.perturbation.to_json()
    model = {key: settings[key] for key in ("beta", "likelihood", "scale")}
    pairs = [(str(a), str(b)) for a, b in settings["pairs"]]
    both = [
        price(
            grid,
            model["beta"],
            model["likelihood"],
            scale=model["scale"],
            sample=sample,
            progress=None if progress is None else _named(progress, f"price {when}"),
        ).pairs
        for grid, when in ((original, "before"), (modified, "after"))
    ]
    prices = {}
    for a, b in pairs:
        before, after = (found.get((a, b)) or found[b, a] for found in both)
        prices[a, b] = before, after
    checked = verify(original, modified, steps=steps, sample=sample, progress=progress)
    assert modified.perturbation is not None
    record = modified.perturbation.to_json()
    return DataCard(one, modified.source, record, checked, model, prices)


def _named(progress: Callable[[str, int, int], None], what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)


def card_rows(cards: Sequence[DataCard]) -> list[tuple[str, ...]]:
    """Return the rows of a table with a column for each card, the first of labels.

    Values before and after are joined by an arrow.
    """
    rows: dict[str, list[str]] = {}
    for place, card in enumerate(cards):
        for label, value in _entries(card).items():
            rows.setdefault(label, [""] * len(cards))[place] = value
    return [(label, *values) for label, values in rows.items()]


def _entries(card: DataCard) -> dict[str, str]:
    found = card.verification
    change = found.change
    ratio = change.variance_ratio
    entries = {
        "changed by": f"{card.settings['name']}, seed {card.settings['seed']}, "
        f"epsilon {card.settings['epsilon']:g}",
        "PSNR, dB": f"{change.psnr:.1f}" if math.isfinite(change.psnr) else "–",
        "SSIM": "–" if change.ssim is None else number(change.ssim),
        "pixel variance, times": "–" if ratio is None else number(ratio),
    }
    for (a, b), (was, now) in card.prices.items():
        at = found.before.names.index(a), found.before.names.index(b)
        shares = (100 * float(one.mixed_share[at]) for one in (found.before, found.after))
        entries[f"points at which {a} and {b} are mixed, %"] = _arrow(f"{v:.0f}" for v in shares)
        entries[f"gain of the mixture of {a} and {b}, nats"] = _arrow(
            signed(one.mixing_gain) for one in (was, now)
        )
        entries[f"the same per unit of beta ({card.model['beta']:g})"] = _arrow(
            signed(one.mixing_gain / one.beta) for one in (was, now)
        )
        entries[f"predicted turn of {a} and {b}"] = _arrow(
            f"{abs(one.angle):.0f}°" + ("" if one.decided else " (undecided)") for one in (was, now)
        )
    for name, accuracies in found.accuracy.items():
        entries[f"{name} read by a probe, accuracy"] = _arrow(number(v) for v in accuracies)
    entries["SHA-256 of pixels"] = f"{card.one.pixels[:16]}…"
    return entries


def _arrow(values: Any) -> str:
    return " → ".join(values)
