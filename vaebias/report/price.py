"""The price of a VAE's axes as a table."""

from __future__ import annotations

from collections.abc import Mapping

from vaebias.numbers import number, signed
from vaebias.report.page import HtmlTable
from vaebias.structure import Price

__all__ = ["PRICE_COLUMNS", "price_rows", "price_table"]

PRICE_COLUMNS = ("pair", "axes", "even mixture", "best", "turn", "saves", "on patches")
PRICE_NOTE = (
    "Lowest loss, in nats per image, of two latents that encode a pair of factors: as the factors' "
    "axes, as their even mixtures, and turned by the angle of least cost, with what this turn "
    "saves. On patches (with --patches): the first three with the optimal decoder in closed form. "
    "Phase: images return along the turned axes, so that no turn is predicted."
)


def price_rows(price: Price) -> list[tuple[str, ...]]:
    """Return a row of strings for each pair of factors, as `PRICE_COLUMNS`."""
    rows = []
    for (a, b), one in price.pairs.items():
        costs, exact = (
            None if each is None else [number(each.axes), number(each.even), number(each.best)]
            for each in (one, one.exact)
        )
        turn, saves = f"{number(one.angle, 0)}°{' (phase)' * one.recurs}", signed(one.gain)
        checked = "–" if exact is None else " / ".join(exact)
        rows.append((f"{a} + {b}", *(costs or ()), turn, saves, checked))
    return rows


def price_table(prices: Mapping[str, Price]) -> HtmlTable:
    """Return the table of one or more versions of a data set."""
    rows = [
        (row[0], version, *row[1:]) for version, one in prices.items() for row in price_rows(one)
    ]
    rows.sort(key=lambda row: row[0])  # versions of a pair one below the other
    return HtmlTable((PRICE_COLUMNS[0], "data", *PRICE_COLUMNS[1:]), tuple(rows), text=2)
