"""A decoder's directions beside the data's local principal components, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias import analysis
from vaebias.checkpoints import Model
from vaebias.data import FactorGrid
from vaebias.report.images import sheet
from vaebias.report.theme import Picture
from vaebias.report.traversal import decode

__all__ = ["Pair", "directions"]

FRAMES = 7


class Pair(NamedTuple):
    """A latent and the component it was matched with, at one image.

    Attributes
    ----------
    name
        What they are.
    picture
        Two rows, latent and component: the direction itself (signed, by its own largest
        value), then what is drawn as the latent moves by two standard deviations either way,
        and the same reconstruction moved as far along the component.
    """

    name: str
    picture: Picture


def directions(
    model: Model,
    grid: FactorGrid,
    point: int,
    code: Tensor,  # [d]
    spread: Tensor,  # [d] standard deviation of the codes
    partners: Sequence[tuple[int, int]],
) -> list[Pair]:
    """Draw the pairs of latent and component at one image of the grid.

    Parameters
    ----------
    model
        Has a decoder.
    grid, point
        The data, and the index of the image.
    code, spread
        Its code, and how far codes lie apart.
    partners
        Latents and their components, in the order of the page.
    """
    if model.decoder is None:
        return []
    columns = analysis.jacobian(model.decoder, code[None], output=model.output)[0]
    tangents = analysis.factor_tangents(grid, np.array([point]))
    components = analysis.local_pca(tangents).components[0]
    steps = torch.linspace(-2, 2, FRAMES)
    pairs = []
    for latent, matched in partners:
        column, component = columns[latent], components[matched]
        if column @ component < 0:  # a component has no sign of its own: that of its latent
            component = -component
        z = code.repeat(FRAMES, 1)
        z[:, latent] += steps * spread[latent]
        along = decode(model, z)
        here = along[FRAMES // 2]
        reach = np.linalg.norm((along - here).reshape(FRAMES, -1), axis=1).max()
        moved = (reach / 2 * steps[:, None] * component).numpy().reshape(along.shape)
        rows = [
            [_signed(direction, here.shape), *map(_rgb, frames)]
            for direction, frames in ((column, along), (component, here + moved))
        ]
        name = f"z{latent + 1} and PC {matched + 1}"
        alt = f"{name}: their directions, and the image moved along each"
        pairs.append(Pair(name, sheet(np.array(rows), alt)))
    return pairs


def _rgb(image: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:  # [3, H, W]
    return np.broadcast_to(image.clip(0, 1), (3, *image.shape[1:]))


def _signed(direction: Tensor, shape: Sequence[int]) -> NDArray[np.floating[Any]]:  # [3, H, W]
    """White where nothing moves, purple and orange either way; the mean over channels."""
    plane = direction.reshape(*shape).mean(0).numpy()
    level = plane / (2 * max(float(np.abs(plane).max()), 1e-30)) + 0.5
    return np.moveaxis(matplotlib.colormaps["PuOr_r"](level)[..., :3], -1, 0)
