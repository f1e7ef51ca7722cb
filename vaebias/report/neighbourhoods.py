"""Page of images without known factors: their local principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.numbers import number
from vaebias.report import figures
from vaebias.report.images import strip
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import ROLINEK2019
from vaebias.structure import Neighbourhoods

__all__ = ["few_neighbours", "neighbourhood_page", "verdict"]

_CROWDED = 0.75
"""Share of the neighbours above which as many directions may be all that they span."""

STEPS = (
    (
        "vaebias align --model M:NAME --data DATA",
        "Compare the axes of your own decoder with these directions.",
    ),
    ("vaebias structure DATA", "With known factors: are they the local principal components?"),
)


def verdict(found: Neighbourhoods) -> str:
    """Return in how many directions images vary locally, in one sentence."""
    record = found.to_json()
    first = record["components"][0]["variance_share"]
    count = round(record["dimension"])
    if count == 0:
        return "The nearest images do not differ: there are no local principal components"
    carry = "one direction carries" if count == 1 else f"about {count} directions carry"
    if few_neighbours(found) is not None:
        carry = f"{count} directions or more carry"
    return f"Around each image, {carry} the variance; the first carries {100 * first:.0f} %"


def few_neighbours(found: Neighbourhoods) -> str | None:
    """Return a note if the number of directions is limited by that of the neighbours."""
    if float(found.dimension.mean()) <= _CROWDED * found.neighbours:
        return None
    return (
        f"{found.neighbours} neighbours cannot span more than {found.neighbours} directions: "
        "measure again with more (--neighbours)."
    )


def _scaled(planes: NDArray[Any]) -> NDArray[Any]:  # [k, C, H, W]
    """Return components scaled to a largest value of 1 in the mean over colours, which is drawn."""
    largest = np.abs(planes.mean(1)).max((1, 2))
    return planes / np.where(largest > 0, largest, 1.0)[:, None, None, None]


def neighbourhood_page(
    images: NDArray[Any],  # [N, C, H, W], or [N, ...] without pictures
    found: Neighbourhoods,
    *,
    name: str,
    command: str,
) -> str:
    """Return the page of images without known factors as HTML."""
    record = found.to_json()
    rows = [
        (f"PC {i + 1}", number(one["variance_share"]), " to ".join(map(number, one["quantiles"])))
        for i, one in enumerate(record["components"])
    ]
    shown = [(int(i), planes) for i, planes in zip(found.index, found.leading, strict=False)]
    if images.ndim != 4:  # numbers that are no images
        shown = []
    summary = (
        "The axes of a VAE's decoder would follow these directions. If two directions carry "
        "equal variance, the seed decides which mixture of them a latent encodes."
    )
    return render(
        "neighbourhoods.html.j2",
        title=verdict(found),
        kind=f"local variance structure of {name}",
        summary=" ".join(filter(None, (summary, few_neighbours(found)))),
        spectrum=figures.spectra(
            {f"{found.neighbours} nearest": found.shares},
            title="Share of local principal components in the variance around an image",
            label="share of the variance",
        ),
        table=HtmlTable(("component", "share", "middle 90 %"), tuple(rows)),
        strips=[
            (
                f"image {i}",
                "and its local principal components",
                (
                    strip(images[i : i + 1], f"image {i}"),
                    strip(
                        scaled,
                        f"{len(planes)} local principal components around image {i}",
                        signed=1.0,
                    ),
                ),
            )
            for i, planes in shown
            for scaled in [_scaled(planes)]
        ],
        facts=[
            ("data", f"{name}: {len(images):,} images of {' × '.join(map(str, images.shape[1:]))}"),
            ("images measured", f"{len(found.index):,}, {found.neighbours} nearest each"),
            ("components that carry variance", number(record["dimension"])),
            ("gap of the first two", number(record["gaps"][0]) if record["gaps"] else "–"),
        ],
        command=command,
        steps=STEPS,
        papers=(ROLINEK2019,),
    )
