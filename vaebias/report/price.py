"""The price of a VAE's axes as a table."""

from __future__ import annotations

from collections.abc import Mapping

from vaebias.numbers import number, signed
from vaebias.report.page import HtmlTable
from vaebias.structure import ExactPrice, PairPrice, Price

__all__ = ["price_columns", "price_note", "price_rows", "price_table"]


def price_columns(price: Price) -> tuple[str, ...]:
    """Return the columns of `price_rows`, the last one only if the price has patches."""
    columns = ("pair", "axes", "even mixture", "best", "turn", "saves")
    return (*columns, "on patches") if _has_patches(price) else columns


def price_rows(price: Price) -> list[tuple[str, ...]]:
    """Return a row of strings for each pair of factors, as `price_columns`."""
    rows = []
    for (a, b), one in price.pairs.items():
        turn = f"{number(one.angle, 0)}°{' (phase)' * one.recurs}"
        row = (f"{a} + {b}", *_costs(one), turn, signed(one.gain))
        if _has_patches(price):
            row = (*row, "–" if one.exact is None else " / ".join(_costs(one.exact)))
        rows.append(row)
    return rows


def price_table(prices: Mapping[str, Price]) -> HtmlTable:
    """Return the table of one or more versions of a data set."""
    rows = [
        (row[0], version, *row[1:]) for version, one in prices.items() for row in price_rows(one)
    ]
    rows.sort(key=lambda row: row[0])  # versions of a pair one below the other
    pair, *others = price_columns(next(iter(prices.values())))
    return HtmlTable((pair, "data", *others), tuple(rows), text=2)


def price_note(price: Price) -> str:
    """Return what the columns of the table mean."""
    patches = "On patches: the first three with the optimal decoder in closed form. "
    return (
        "Lowest loss, in nats per image, of two latents that encode a pair of factors: as the "
        "factors' axes, as their even mixtures, and turned by the angle of least cost, with what "
        f"this turn saves. {patches if _has_patches(price) else ''}"
        "Phase: images return along the turned axes, so that no turn is predicted."
    )


def _has_patches(price: Price) -> bool:
    return any(one.exact is not None for one in price.pairs.values())


def _costs(cost: PairPrice | ExactPrice) -> list[str]:
    return [number(cost.axes), number(cost.even), number(cost.best)]
