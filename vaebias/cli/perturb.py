"""``vaebias perturb``: make a version of a data set whose local components mix factors."""

from __future__ import annotations

import inspect
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import AsJson, Force, Html, Restrict, restricted
from vaebias.cli.perturb_summary import mixed_shares, show
from vaebias.errors import InputError, RunFailedError, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vaebias.perturb import PerturbedGrid, Verification

BOUNDS = ("variance_ratio", "psnr", "ssim")


def perturb(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Data set, such as dsprites.")],
    out: Annotated[Path, typer.Option(metavar="F", help="Safetensors file to write.")],
    method: Annotated[
        str,
        typer.Option(
            help="learned, gram, priced, mosaic, pattern or noise; to turn the axes of a VAE of "
            "known beta, take priced, or mosaic where images have hard edges."
        ),
    ] = "gram",
    epsilon: Annotated[
        float | None,
        typer.Option(help="Size of the change, in (0, 1]; by default that of the data set."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="a+b[,c+d]", help="Pairs of factors to mix; by default those of the data set."
        ),
    ] = None,
    restrict: Restrict = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed; 0 by default.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of the perturbation's network.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Margin beyond the mixing criterion, below 2 (gram).")
    ] = None,
    frequency: Annotated[
        float | None,
        typer.Option(
            help="Frequency of the pattern over the factors, 0 is smooth (learned, gram, priced)."
        ),
    ] = None,
    strides: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S]",
            help="Distance in levels at which factors are mixed; several (gram, priced).",
        ),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Beta of the VAE whose axes should turn (priced).")
    ] = None,
    likelihood: Annotated[
        str | None, typer.Option(help="Its likelihood: bernoulli or gaussian (priced).")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Standard deviation of a Gaussian likelihood (priced).")
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(help="Nats by which mixtures should cost less; beta / 4 by default (priced)."),
    ] = None,
    variance_ratio: Annotated[
        float | None,
        typer.Option(help="Largest growth of the pixel variance; exits with 1 beyond it."),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option(help="Least PSNR in dB; exits with 1 below it.")
    ] = None,
    ssim: Annotated[float | None, typer.Option(help="Least SSIM; exits with 1 below it.")] = None,
    form: Annotated[
        str | None, typer.Option(help="grating, checkerboard, or picture (pattern).")
    ] = None,
    turn: Annotated[
        float | None, typer.Option(help="Number of periods of the grating (pattern).")
    ] = None,
    tiles: Annotated[
        int | None, typer.Option(help="Tiles across the image, and down it (mosaic).")
    ] = None,
    changes: Annotated[
        int | None, typer.Option(help="Changes of each tile; an odd number is best (mosaic).")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="F.npy", help="Array [C, H, W] in [-1, 1] (pattern).")
    ] = None,
    range_: Annotated[
        str,
        typer.Option("--range", help="How images are mapped back into [0, 1]: rescale or clip."),
    ] = "rescale",
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the result; exits with 1 if a check fails.")
    ] = False,
    as_json: AsJson = False,
    html: Html = None,
    force: Force = False,
) -> None:
    """Make a perturbation after which the local principal components mix pairs of factors.

    Writes a small file; images are changed when they are read. Factors and order stay the same.
    Prints the share of images at which each pair is mixed, before and after, and how much images
    change.
    """
    from vaebias import data as datasets
    from vaebias import perturb as perturbations
    from vaebias.cli.progress import watch_points
    from vaebias.files import refuse_to_overwrite

    if out.suffix not in ("", ".safetensors"):
        raise InputError("--out", "a name ending in .safetensors, or without an ending", out)
    refuse_to_overwrite(out, force=force, option="--out")
    if html is not None:
        refuse_to_overwrite(html, force=force, option="--html")
        if html.resolve() == out.resolve():
            raise InputError("--html", "another file than --out", html)
    if not out.parent.is_dir():
        raise InputError("--out", "a file in an existing folder", f"{out}, no such folder")
    if range_ not in perturbations.RANGES:
        raise InputError("--range", " or ".join(perturbations.RANGES), repr(range_))
    make = perturbations.PERTURBATIONS[method]
    grid = restricted(datasets.load(data), restrict)
    given = dict(zip(BOUNDS, (variance_ratio, psnr, ssim), strict=True))
    options = _options(
        data,
        method,
        inspect.signature(make).parameters,
        {
            "epsilon": epsilon,
            "pairs": None if pairs is None else parse_pairs(pairs),
            "seed": seed,
            "steps": steps,
            "margin": margin,
            "frequency": frequency,
            "strides": None if strides is None else parse_strides(strides),
            "beta": beta,
            "likelihood": likelihood,
            "scale": scale,
            "gain": gain,
            **given,
            "range": range_,
            "form": form if picture is None else form or "picture",
            "turn": turn,
            "tiles": tiles,
            "changes": changes,
            "picture": None if picture is None else _read(picture),
        },
    )
    # those of the command, or of the data set's defaults
    bounds = perturbations.Bounds(**{name: options.get(name, own) for name, own in given.items()})
    bounds.check_size(grid.image_shape)
    started = time.monotonic()
    with watch_points(f"{method} perturbation", options.get("steps", 1)) as progress:
        if "progress" in inspect.signature(make).parameters:
            options["progress"] = lambda done, total, *_: progress(done, total)
        made = make(grid, **options)
    seconds = time.monotonic() - started
    modified = perturbations.PerturbedGrid(grid, made, range=range_)
    original = perturbations.PerturbedGrid(grid, None, made.epsilon, range=range_)
    found = _verify(original, modified) if verify else None
    change = perturbations.measure_change(original, modified) if found is None else found.change
    shares = mixed_shares(original, modified, found)
    perturbations.save(out, made, grid, range=range_)
    if html is not None:
        from vaebias.report import page
        from vaebias.report.perturb import perturb_page

        text = perturb_page(original, modified, change, found)
        page.write(html, text, force=force, option="--html")
    if as_json:
        document = {
            "data": {"name": grid.name, "source": grid.source, "provenance": grid.provenance},
            "perturbation": made.to_json(),
            "range": range_,
            "out": str(out),
            "seconds": seconds,
            "mixed_share": shares,
            "change": change.to_json(),
            "verification": None if found is None else found.to_json(),
        }
        typer.echo(json.dumps(document, allow_nan=False))
    else:
        show(made, shares, change, found, out, html, seconds)
    wrong = dict(bounds.exceeded(change))
    if found is not None:
        wrong = {check.name: check.found for check in found.failed} | wrong
    if wrong:
        failed = "; ".join(f"{name}: {what}" for name, what in wrong.items())
        raise RunFailedError(f"{out} was written, but does not pass: {failed}")


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``a+b`` or ``a+b,c+d``.

    Raises
    ------
    InputError
        ``text`` is anything else.
    """
    pairs = [tuple(name.strip() for name in pair.split("+")) for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InputError("--pairs", "pairs such as posX+posY or a+b,c+d", repr(text))
    return tuple((pair[0], pair[1]) for pair in pairs)


def parse_strides(text: str) -> tuple[int, ...]:
    """Read ``3`` or ``1,2,3``.

    Raises
    ------
    InputError
        ``text`` is anything else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError("--strides", "levels such as 3 or 1,2,3", repr(text)) from None


def _options(data: str, method: str, known: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the given options, completed by the data set's defaults for this method."""
    from vaebias.perturb import DEFAULTS

    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        # noise ignores --pairs, so that a control can be made with the same command line; bounds
        # are checked with every method
        if name not in known and name not in ("pairs", "range", *BOUNDS):
            own = ", ".join(f"--{one}" for one in given if one in known)
            raise InputError(f"--{name}", f"an option of {method} ({own})", options[name])
    default = DEFAULTS.get(data)
    if default is not None:
        options = default.settings(method) | options
    options = {name: value for name, value in options.items() if name in known}
    if "pairs" in known and "pairs" not in options:
        raise InputError("--pairs", f"pairs of factors: {data} has none by default", "none")
    if "epsilon" not in options:
        raise InputError("--epsilon", f"a strength: {data} has none by default", "none")
    return options


def _read(path: Path) -> NDArray[np.generic]:
    import numpy as np

    with reading(f"--picture {path}", "an array saved by numpy.save"):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise InputError("--picture", "one array", f"{path}, which contains several")
    return array


def _verify(original: PerturbedGrid, modified: PerturbedGrid) -> Verification:
    from vaebias.cli.progress import watch_points
    from vaebias.perturb import verify

    with watch_points("verification", 1) as progress:
        return verify(original, modified, progress=lambda what, done, total: progress(done, total))
