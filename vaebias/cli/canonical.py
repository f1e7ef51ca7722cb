"""Canonical sets on the command line: ``vaebias data card``, and checks of their pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.options import AsJson, Force, command_line

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
    sample: Annotated[
        int | None, typer.Option(min=8, help="Number of images compared; 4,096 by default.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Describe canonical modified sets: size of the change, structure, price, read-outs.

    Computed from rendered images, beside the original, rescaled or clipped alike.
    """
    from vaebias.experiments.results.tables import markdown
    from vaebias.files import refuse_to_overwrite, write_text
    from vaebias.perturb.canonical import canonical, card_tables

    if out is not None:
        refuse_to_overwrite(out, force=force, option="--out")
    for name in names:  # before any work
        canonical(name)
    cards = [_card(name, steps, sample) for name in names]
    tables = "\n\n".join(
        f"## {one.title}\n\n{markdown(one.head, one.rows, text=one.text)}"
        for one in card_tables(cards)
    )
    if out is not None:
        given = {"--steps": steps, "--sample": sample}
        command = command_line("data", "card", *names, options=given)
        write_text(out, f"# Data cards\n\nMade by `{command}`.\n\n{tables}\n")
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in cards], allow_nan=False))
    else:
        typer.echo(tables)


def _card(name: str, steps: int | None, sample: int | None) -> DataCard:
    from vaebias.cli.progress import watch_points
    from vaebias.perturb.canonical import data_card
    from vaebias.perturb.canonical.card import SAMPLE
    from vaebias.perturb.verify import PROBE_STEPS

    with watch_points(name, 1) as progress:
        return data_card(
            name,
            steps=PROBE_STEPS if steps is None else steps,
            sample=SAMPLE if sample is None else sample,
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
