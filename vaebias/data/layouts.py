"""Factors of the published data sets, which their files store as pickles or not at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vaebias.data.factor import Factor

__all__ = [
    "LAYOUTS",
    "cars3d_axes",
    "dsprites_axes",
    "mpi3d_axes",
    "mpi3d_small_axes",
    "shapes3d_axes",
    "smallnorb_axes",
]


def dsprites_axes() -> list[Factor]:
    """Shape (1 square, 2 ellipse, 3 heart), scale, orientation in radians, posX, posY.

    Orientation 39 is the same angle as orientation 0 (2 pi), so that the period is 39.
    """
    return [
        Factor("shape", np.array([1.0, 2.0, 3.0]), ordinal=False),
        Factor("scale", np.linspace(0.5, 1, 6)),
        Factor("orientation", np.linspace(0, 2 * np.pi, 40), period=39),
        Factor("posX", np.linspace(0, 1, 32)),
        Factor("posY", np.linspace(0, 1, 32)),
    ]


def shapes3d_axes() -> list[Factor]:
    """Three hues, scale, shape (0 cube, 1 cylinder, 2 sphere, 3 capsule), orientation in degrees.

    Hues cover the whole colour circle in tenths and are cyclic; orientation is an arc.
    """
    hues = [
        Factor(f"{part}_hue", np.linspace(0, 0.9, 10), period=10)
        for part in ("floor", "wall", "object")
    ]
    return [
        *hues,
        Factor("scale", np.linspace(0.75, 1.25, 8)),
        Factor("shape", np.arange(4.0), ordinal=False),
        Factor("orientation", np.linspace(-30, 30, 15)),
    ]


def cars3d_axes(cars: int = 183) -> list[Factor]:
    """Elevation (4 steps), azimuth in degrees (a whole turn), index of the car."""
    return [
        Factor("elevation", np.arange(4)),
        Factor("azimuth", np.arange(0, 360, 15), period=24),
        Factor("object", np.arange(cars), ordinal=False),
    ]


def smallnorb_axes() -> list[Factor]:
    """Category, instance, elevation and azimuth in degrees, lighting."""
    categories = ["animal", "human", "airplane", "truck", "car"]
    return [
        Factor("category", np.array(categories), ordinal=False),
        Factor("instance", np.arange(10), ordinal=False),
        Factor("elevation", np.arange(30, 71, 5)),
        Factor("azimuth", np.arange(0, 360, 20), period=18),
        Factor("lighting", np.arange(6), ordinal=False),
    ]


_OBJECT = ("object_color", "object_shape")


def mpi3d_axes() -> list[Factor]:
    """Object colour, shape and size, camera height, background colour, two axes of the arm."""
    colours = ["white", "green", "red", "blue", "brown", "olive"]
    shapes = ["cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"]
    backgrounds = ["purple", "sea green", "salmon"]
    return [
        Factor("object_color", np.array(colours), ordinal=False),
        Factor("object_shape", np.array(shapes), ordinal=False),
        Factor("object_size", np.arange(2)),
        Factor("camera_height", np.arange(3)),
        Factor("background_color", np.array(backgrounds), ordinal=False),
        Factor("horizontal_axis", np.arange(40)),
        Factor("vertical_axis", np.arange(40)),
    ]


def mpi3d_small_axes() -> list[Factor]:
    """Factors of the MPI3D files with 460,800 images: four colours and four shapes."""
    four = {name: Factor(name, np.arange(4), ordinal=False) for name in _OBJECT}
    return [four.get(axis.name, axis) for axis in mpi3d_axes()]


LAYOUTS: dict[str, Callable[[], list[Factor]]] = {
    "cars3d": cars3d_axes,
    "dsprites": dsprites_axes,
    "mpi3d": mpi3d_axes,
    "shapes3d": shapes3d_axes,
    "smallnorb": smallnorb_axes,
}
"""Factors of each published data set by name."""
