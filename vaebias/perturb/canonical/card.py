"""Data cards: what a canonical set changes, and what it leaves as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vaebias.errors import InputError
from vaebias.numbers import number, signed
from vaebias.perturb.canonical.sets import CanonicalSet, canonical
from vaebias.perturb.defaults import DEFAULTS
from vaebias.perturb.perturbation import PerturbedGrid
from vaebias.perturb.verify import PROBE_STEPS, Verification, verify
from vaebias.structure import PairPrice, Structure, price

__all__ = ["CardTable", "DataCard", "card_tables", "data_card"]

SAMPLE = 4096
"""Number of images compared, and of points of the structure and the price."""
MODEL = {"likelihood": "bernoulli", "scale": None}
"""Settings of the VAE whose axes are predicted, where the perturbation has none of its own."""


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
    sample: int = SAMPLE,
    progress: Callable[[str, int, int], None] | None = None,
) -> DataCard:
    """Describe a canonical set by its rendered images, beside the original treated alike.

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
    # noise has no pairs of its own, and a mosaic no model
    settings = canonical(name.replace("-noise-", "-modified-")).stored.perturbation.to_json()
    known = MODEL | DEFAULTS[one.data].settings("priced") | settings
    model = {key: known[key] for key in ("beta", "likelihood", "scale")}
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


class CardTable(NamedTuple):
    """Strings about the sets of one data set, a row for each; ``text`` columns are of words."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: int


def card_tables(cards: Sequence[DataCard]) -> list[CardTable]:
    """Return two tables for each data set: what is changed, and what can still be read.

    Their first rows are the originals, rescaled or clipped like the sets below them.
    """
    found = []
    for data in dict.fromkeys(card.one.data for card in cards):
        some = [card for card in cards if card.one.data == data]
        for what, entries, text in (("changes", _changes, 2), ("read-outs", _readouts, 1)):
            rows = [
                {"": name, **entries(card, after)}
                for card in some
                for name, after in (("original", False), (card.one.name, True))
            ]
            different = dict.fromkeys(tuple(row.values()) for row in rows)  # originals are alike
            found.append(CardTable(f"{data}: {what}", tuple(rows[0]), tuple(different), text))
    return found


def _changes(card: DataCard, after: bool) -> dict[str, str]:
    change, ratio = card.verification.change, card.verification.change.variance_ratio
    entries = {
        "changed by": f"{card.settings['name']}, ε {card.settings['epsilon']:g}",
        "PSNR, dB": f"{change.psnr:.1f}" if math.isfinite(change.psnr) else "–",
        "SSIM": "–" if change.ssim is None else number(change.ssim),
        "variance, times": "–" if ratio is None else number(ratio),
    }
    if not after:
        entries = dict.fromkeys(entries, "–")
    found: Structure = card.verification.after if after else card.verification.before
    for (a, b), prices in card.prices.items():
        mixed = 100 * float(found.mixed_share[found.names.index(a), found.names.index(b)])
        one = prices[after]
        turn = f"{abs(one.angle):.0f}°" + ("" if one.decided else " (undecided)")
        entries |= {
            f"{a} and {b} mixed, % of points": f"{mixed:.0f}",
            f"gain of mixing, nats (β {card.model['beta']:g})": signed(one.mixing_gain),
            "predicted turn": turn,
        }
    return entries


def _readouts(card: DataCard, after: bool) -> dict[str, str]:
    return {name: number(both[after]) for name, both in card.verification.accuracy.items()}
