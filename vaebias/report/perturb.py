"""Page of a perturbation: the change in the images and in their local structure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.ticker

from vaebias.numbers import number
from vaebias.perturb import Perturbation, PerturbedGrid, Verification
from vaebias.report.page import HtmlTable, render
from vaebias.report.structure import differences, structure_sections
from vaebias.report.theme import MUTED, SERIES, WIDTH, Picture, axes, styled, svg
from vaebias.structure import structure

__all__ = ["loss_curve", "perturb_page"]

POINTS = 4096


def perturb_page(
    original: PerturbedGrid, modified: PerturbedGrid, verification: Verification | None
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    original, modified
        The grid without and with the perturbation, brought into the same range.
    verification
        Result of `vaebias.perturb.verify`, if it was run.
    """
    made = modified.perturbation
    assert made is not None
    if verification is None:
        before, after = (
            structure(grid, POINTS, stride=modified.stride) for grid in (original, modified)
        )
    else:
        before, after = verification.before, verification.after
    structures = {"original": before, made.name: after}
    return render(
        "perturb.html.j2",
        title=f"What the {made.name} perturbation changes",
        kind="perturbation",
        strips=differences(original, modified, made.name),
        training=_training(made),
        sections=structure_sections(structures, getattr(made, "pairs", ())),
        checks=None if verification is None else _checks(verification),
        accuracy=None if verification is None else _accuracy(verification),
        facts=_facts(original, modified, verification),
    )


@styled
def loss_curve(losses: Sequence[float], *, stretch: int, label: str, title: str) -> Picture:
    """Draw the loss of a training, one point per ``stretch`` steps, with a line at 0."""
    figure, (ax,) = axes(WIDTH, 2.2)
    steps = [stretch * place for place in range(1, len(losses) + 1)]
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.plot(steps, losses, color=SERIES[0], lw=1.4)
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    ax.grid(axis="y")
    return svg(figure, f"{title}. From {losses[0]:.3g} to {losses[-1]:.3g}.")


def _training(made: Perturbation) -> Picture | None:
    losses = getattr(made, "losses", ())
    if not losses:
        return None
    stretch = -(-made.to_json()["steps"] // len(losses))
    label = made.to_json().get("loss", "criterion")
    return loss_curve(losses, stretch=stretch, label=label, title="Loss of the training")


def _checks(found: Verification) -> HtmlTable:
    rows = tuple((c.name, "passed" if c.passed else "FAILED", c.found) for c in found.checks)
    return HtmlTable(("check", "", "found"), rows, text=3)


def _accuracy(found: Verification) -> HtmlTable:
    rows = tuple((name, f"{b:.3f}", f"{a:.3f}") for name, (b, a) in found.accuracy.items())
    return HtmlTable(("factor", "original", "modified"), rows)


def _facts(
    original: PerturbedGrid, modified: PerturbedGrid, found: Verification | None
) -> list[tuple[str, str]]:
    made = modified.perturbation
    assert made is not None
    named = ", ".join(f"{n} ({s})" for n, s in zip(original.names, original.sizes, strict=True))
    facts = [
        ("data", f"{original.name} ({original.source}): {len(original):,} images"),
        ("factors", named),
        ("range", f"{modified.range}, ε = {modified.epsilon:g}"),
    ]
    for name, value in made.to_json().items():
        if name == "pairs":
            facts.append((name, ", ".join("+".join(pair) for pair in value)))
        elif name != "epsilon":
            facts.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    if found is not None:
        before, after = found.pixel_variance
        facts += [
            ("largest change", f"{found.sup_norm:.4f} of the range, {found.images:,} images"),
            ("PSNR", f"{found.psnr:.1f} dB"),
            ("SSIM", "images too small" if found.ssim is None else number(found.ssim)),
            ("pixel variance", f"{before:.4g} → {after:.4g}"),
        ]
    return facts
