"""Page of a perturbation: the change in the images and in their local structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.ticker

from vaebias.numbers import number
from vaebias.perturb import Change, Perturbation, PerturbedGrid, Verification
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import ZIETLOW2021
from vaebias.report.structure import structure_sections
from vaebias.report.theme import MUTED, SERIES, WIDTH, Picture, axes, styled, svg
from vaebias.report.versions import described, examples, strips
from vaebias.structure import Structure, structure

__all__ = ["loss_curve", "perturb_page"]

POINTS = 4096
STEPS = (
    (
        "vaebias train --model beta_vae --data F --steps N --out DIR",
        "Train on the modified images.",
    ),
    ("vaebias data export DATA --perturbation F --out F.npz", "Write them for other projects."),
    ("vaebias sweep PROTOCOL --out DIR", "Compare models on original, modified and noisy images."),
)


def perturb_page(
    original: PerturbedGrid,
    modified: PerturbedGrid,
    change: Change,
    verification: Verification | None,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    original, modified
        The grid without and with the perturbation, brought into the same range.
    change
        How much the images changed.
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
        title=_title(made, structures, verification),
        kind=f"{made.name} perturbation of {described(original.name, original.source)}",
        lead=_lead(original, modified),
        examples=examples({"original": original, made.name: modified}),
        contents=[
            *([("checks", "Checks")] if verification is not None else []),
            ("images", "Images"),
            ("structure", "Variance structure"),
            ("next", "Next steps"),
            ("sources", "Sources"),
        ],
        steps=STEPS,
        papers=(ZIETLOW2021,),
        strips=strips({"original": original, made.name: modified}),
        training=_training(made),
        sections=structure_sections(structures, getattr(made, "pairs", ())),
        checks=None if verification is None else _checks(verification),
        accuracy=None if verification is None else _accuracy(verification),
        facts=_facts(original, modified, change),
    )


def _title(
    made: Perturbation, structures: Mapping[str, Structure], found: Verification | None
) -> str:
    """Return the verdict: how many images mix the pairs before and after, and the checks."""
    before, after = structures.values()
    clauses = []
    for a, b in getattr(made, "pairs", ()):
        at = before.names.index(a), before.names.index(b)
        shares = [f"{100 * float(one.mixed_share[at]):.0f}\u00a0%" for one in (before, after)]
        clauses.append(
            f"{a} and {b} are now mixed at {shares[1]} of the images, before at {shares[0]}"
        )
    if not clauses:
        clauses.append(f"{made.name.capitalize()} of at most {made.epsilon:g} per pixel")
    if found is not None:
        failed = len(found.failed)
        clauses.append(f"{failed} checks failed" if failed else "all checks passed")
    return "; ".join(clauses)


def _lead(original: PerturbedGrid, modified: PerturbedGrid) -> str:
    made = modified.perturbation
    assert made is not None
    name = described(original.name, original.source)
    text = (
        f"Each of the {len(original):,} images of {name} is changed by at most ε = "
        f"{made.epsilon:g} of the pixel range; the factors stay the same."
    )
    if modified.range == "rescale":
        share = made.epsilon / (1 + 2 * made.epsilon)
        text += f" Rescaling into the pixel range by 1/(1 + 2ε) makes this at most {share:.2f}."
    return text


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
    rows = tuple((c.name, c.verdict, c.found) for c in found.checks)
    return HtmlTable(("check", "", "found"), rows, text=3)


def _accuracy(found: Verification) -> HtmlTable:
    rows = tuple((name, f"{b:.3f}", f"{a:.3f}") for name, (b, a) in found.accuracy.items())
    return HtmlTable(("factor", "original", "modified"), rows)


def _fact(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(
    original: PerturbedGrid, modified: PerturbedGrid, change: Change
) -> list[tuple[str, str]]:
    made = modified.perturbation
    assert made is not None
    named = ", ".join(f"{n} ({s})" for n, s in zip(original.names, original.sizes, strict=True))
    facts = [
        ("data", f"{described(original.name, original.source)}: {len(original):,} images"),
        ("factors", named),
        ("range", f"{modified.range}, ε = {modified.epsilon:g}"),
    ]
    for name, value in made.to_json().items():
        if name == "pairs":
            facts.append((name, ", ".join("+".join(pair) for pair in value)))
        elif name != "epsilon":
            facts.append((name, _fact(value)))
    before, after = change.pixel_variance
    facts += [
        ("largest change", f"{change.sup_norm:.4f} of the range, {change.images:,} images"),
        ("PSNR", f"{change.psnr:.1f} dB"),
        ("SSIM", "images too small" if change.ssim is None else number(change.ssim)),
        ("pixel variance", f"{before:.4g} → {after:.4g}"),
    ]
    return facts
