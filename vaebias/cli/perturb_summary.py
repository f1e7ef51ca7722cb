"""What ``vaebias perturb`` says of a perturbation: shares of mixed points, checks, change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaebias.perturb import Change, Perturbation, PerturbedGrid, Verification

__all__ = ["mixed_shares", "show"]

POINTS = 4096


def mixed_shares(
    original: PerturbedGrid, modified: PerturbedGrid, found: Verification | None
) -> dict[str, dict[str, float]]:
    """Return the share of points at which each pair is mixed, and its signed coupling."""
    from vaebias.structure import structure

    pairs = getattr(modified.perturbation, "pairs", ())
    if not pairs:
        return {}
    if found is None:
        before, after = (
            structure(grid, POINTS, stride=modified.stride) for grid in (original, modified)
        )
    else:
        before, after = found.before, found.after
    shares = {}
    for a, b in pairs:
        at = before.names.index(a), before.names.index(b)
        shares[f"{a}+{b}"] = {
            "before": float(before.mixed_share[at]),
            "after": float(after.mixed_share[at]),
            "signed_coupling_before": float(before.signed_coupling[at]),
            "signed_coupling_after": float(after.signed_coupling[at]),
        }
    return shares


def show(
    made: Perturbation,
    shares: dict[str, dict[str, float]],
    change: Change,
    found: Verification | None,
    out: Path,
    html: Path | None,
    seconds: float,
) -> None:
    """Print it as text."""
    from rich.table import Table

    from vaebias.cli.console import output
    from vaebias.numbers import number
    from vaebias.perturb.verify import SHARE

    console = output()
    console.print(f"{made.name}, epsilon {made.epsilon:g}: {seconds:.1f} s", highlight=False)
    if made.to_json().get("reached") is False:
        wanted = made.to_json()["share_wanted"]
        console.print(
            f"Not reached: the criterion should hold at {100 * wanted:g} % of the points, and "
            f"did not after all steps",
            highlight=False,
            soft_wrap=True,
        )
    for pair, one in shares.items():
        console.print(
            f"{pair}: mixed at {100 * one['before']:.1f} % of the points before, "
            f"{100 * one['after']:.1f} % after; signed coupling "
            f"{number(one['signed_coupling_after'])}",
            highlight=False,
            soft_wrap=True,
        )
    few = [pair for pair, one in shares.items() if one["after"] < SHARE]
    if few and found is None:
        console.print(
            f"Warning: {', '.join(few)} mixed at less than the {100 * SHARE:g} % of the points"
            " that --verify demands",
            highlight=False,
            soft_wrap=True,
        )
    if found is not None:
        table = Table("check", "", "found")
        for check in found.checks:
            style = {True: "green", False: "bold red", None: "yellow"}[check.passed]
            mark = f"[{style}]{check.verdict}[/]"
            table.add_row(check.name, mark, check.found)
        console.print(table)
    ratio = "–" if change.variance_ratio is None else f"{change.variance_ratio:.2f}"
    ssim = "not computed (images too small)" if change.ssim is None else number(change.ssim)
    console.print(
        f"PSNR {change.psnr:.1f} dB, SSIM {ssim}, pixel variance times {ratio}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"File: {out}", highlight=False, soft_wrap=True)
    if html is not None:
        console.print(f"Page: {html}", highlight=False, soft_wrap=True)
