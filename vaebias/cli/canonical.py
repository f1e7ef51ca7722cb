"""Canonical sets on the command line: ``vaebias data card``, and checks of their pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.options import AsJson, Force

if TYPE_CHECKING:
    from vaebias.data.fetch import Verdict
    from vaebias.perturb.canonical import DataCard

__all__ = ["card", "pixel_verdict"]


def card(
    names: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="Canonical sets, such as blobs-modified-v1-a."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="F.md", help="Also write the table as a page, this file.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of the probes; 2,500 by default.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Describe canonical modified sets: size of the change, structure, price, read-outs.

    Computed from rendered images, beside the original rescaled alike. Values before and after are
    joined by an arrow.
    """
    from vaebias.experiments.results.tables import markdown
    from vaebias.files import refuse_to_overwrite, write_text
    from vaebias.perturb.canonical import canonical, card_rows

    if out is not None:
        refuse_to_overwrite(out, force=force, option="--out")
    for name in names:  # before any work
        canonical(name)
    cards = [_card(name, steps) for name in names]
    table = markdown(("", *names), card_rows(cards), text=1)
    if out is not None:
        command = f"vaebias data card {' '.join(names)}"
        write_text(out, f"# Data card\n\nMade by `{command}`.\n\n{table}\n")
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in cards], allow_nan=False))
    else:
        typer.echo(table)


def _card(name: str, steps: int | None) -> DataCard:
    from vaebias.cli.progress import watch_points
    from vaebias.perturb.canonical import data_card
    from vaebias.perturb.verify import PROBE_STEPS

    with watch_points(name, 1) as progress:
        return data_card(
            name,
            steps=PROBE_STEPS if steps is None else steps,
            progress=lambda what, done, total: progress(done, total),
        )


def pixel_verdict(name: Path) -> Verdict | None:
    """Compare the pixels of a canonical set with those shipped; None if it is none's name."""
    from vaebias.data.fetch import Verdict
    from vaebias.perturb.canonical import CANONICAL, check_pixels

    if str(name) not in CANONICAL:
        return None
    pixels = check_pixels(str(name))
    return Verdict(name, pixels.passed, str(name), f"SHA-256 {pixels.expected}", pixels.found)
