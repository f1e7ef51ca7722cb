"""The canonical modified data sets; importing this module registers them in ``DATASETS``.

A further set is one file, NAME.safetensors, and one line in ``sets.txt``.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vaebias.data.catalogue import DATASETS
from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError, UnknownNameError
from vaebias.perturb.perturbation import PerturbedGrid
from vaebias.perturb.storage import Stored, load
from vaebias.pixels import as_bytes

__all__ = [
    "CANONICAL",
    "CanonicalSet",
    "PixelCheck",
    "canonical",
    "check_pixels",
    "pixel_digest",
]

CHECKED = 256
"""Number of images that enter the checksum of pixels."""

_FOLDER = Path(str(resources.files("vaebias.perturb.canonical")))
_NAME = re.compile(r"(?P<data>\w+)-(?P<kind>original|modified|noise)-(?P<version>v\d+)(-[a-z])?")


@dataclass(frozen=True)
class CanonicalSet:
    """A data set with a shipped perturbation; calling it loads the grid.

    Attributes
    ----------
    name
        Such as ``"blobs-modified-v1-a"``.
    file
        SHA-256 of the perturbation's file.
    pixels
        SHA-256 of pixels, see `pixel_digest`; of rendered images where files may be read instead.
    shipped_as
        Name of the file, without its suffix.
    applied
        Whether the perturbation is applied; if not, images are only rescaled, like the others.
    """

    name: str
    file: str
    pixels: str
    shipped_as: str
    applied: bool = True

    @property
    def data(self) -> str:
        """Name of the data set that is modified."""
        return self.name.split("-")[0]

    @property
    def path(self) -> Path:
        """File of the perturbation."""
        return _FOLDER / f"{self.shipped_as}.safetensors"

    @cached_property
    def stored(self) -> Stored:
        """The perturbation.

        Raises
        ------
        InputError
            The file is missing or damaged.
        """
        if not self.path.is_file():
            raise InputError(str(self.path), f"the perturbation of {self.name}", "no such file")
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.file:
            raise InputError(str(self.path), f"SHA-256 {self.file}", found)
        return load(self.path)

    @property
    def base(self) -> Callable[..., FactorGrid]:
        """Function that loads the data set that is modified."""
        return DATASETS[self.data]

    @property
    def rendered_options(self) -> dict[str, str]:
        """Options with which images are rendered where files would be read instead."""
        return {"source": "rendered"} if "source" in self.__signature__.parameters else {}

    def rendered(self) -> PerturbedGrid:
        """Return the grid with rendered images, from which the checksum of pixels is."""
        return self(**self.rendered_options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The options are those of the data set."""
        return inspect.signature(self.base)

    def __call__(self, **options: Any) -> PerturbedGrid:
        """Load the grid; options are those of the data set.

        Raises
        ------
        InputError
            Options that change factors or sizes, for which the perturbation was not made; or a
            damaged file.
        """
        stored = self.stored
        base = self.base(**options)
        grid = stored.on(base)
        if not self.applied:
            grid = PerturbedGrid(base, None, grid.epsilon, range=grid.range)
        grid.name = self.name
        grid.provenance["canonical"] = {"name": self.name, "sha256": self.file}
        return grid


@dataclass(frozen=True)
class PixelCheck:
    """Checksum of a set's pixels, as shipped and as found here."""

    name: str
    expected: str
    found: str

    @property
    def passed(self) -> bool:
        """Whether they are equal."""
        return self.expected == self.found


def pixel_digest(grid: FactorGrid) -> str:
    """Return the SHA-256 of 256 evenly spaced images (all of a smaller grid), as bytes.

    Pixels are rounded to bytes, since the last bit of a float differs between machines.
    """
    index = np.linspace(0, len(grid) - 1, min(CHECKED, len(grid))).astype(np.int64)
    return hashlib.sha256(np.ascontiguousarray(as_bytes(grid.images(index))).tobytes()).hexdigest()


def check_pixels(name: str) -> PixelCheck:
    """Compute the checksum of a canonical set's pixels on this machine.

    Raises
    ------
    UnknownNameError
        There is no such set.
    """
    one = canonical(name)
    return PixelCheck(name, one.pixels, pixel_digest(one.rendered()))


def canonical(name: str) -> CanonicalSet:
    """Return the canonical set of this name.

    Raises
    ------
    UnknownNameError
        There is no such set; the message lists those that are.
    """
    if name not in CANONICAL:
        raise UnknownNameError("canonical data set", name, CANONICAL)
    return CANONICAL[name]


def _read() -> dict[str, CanonicalSet]:
    """Return the sets in ``sets.txt``, and draw a of each under the name without a letter."""
    found: dict[str, CanonicalSet] = {}
    for line in (_FOLDER / "sets.txt").read_text(encoding="utf-8").splitlines():
        name, file, pixels = line.split()
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise InputError("sets.txt", "DATA-KIND-vN or DATA-KIND-vN-x", repr(name))
        # the original control has no perturbation of its own: draw a's says how it is rescaled
        original = parts["kind"] == "original"
        shipped_as = f"{parts['data']}-modified-{parts['version']}-a" if original else name
        one = CanonicalSet(name, file, pixels, shipped_as, not original)
        found[name] = one
        if name.endswith("-a"):
            found[name.removesuffix("-a")] = one
    return found


CANONICAL: Mapping[str, CanonicalSet] = MappingProxyType(_read())
"""Canonical sets by name. ``blobs-modified-v1`` is another name of ``blobs-modified-v1-a``."""

for _name, _one in CANONICAL.items():
    DATASETS.register(_name)(_one)
