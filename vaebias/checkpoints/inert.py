"""Read files of torch.save that hold more than tensors, without running code."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import torch

from vaebias.errors import InputError, reading

__all__ = ["Inert", "read_torch"]


class Inert:
    """Stands for an object of a class that is not loaded: its name and its pickled state.

    Attributes
    ----------
    path
        Name of the class in the file, such as ``disent.model._base.AutoEncoder``.
    state
        Attributes of the object if they were pickled as a dict; else empty.
    """

    path: ClassVar[str] = ""
    state: dict[str, Any]

    def __new__(cls, *_: object, **__: object) -> Inert:
        found = object.__new__(cls)
        found.state = {}
        return found

    def __init__(self, *_: object, **__: object) -> None:
        """Ignore what the class would have been called with."""

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class _InertGetattr:
    """Stands for ``getattr``, by which pickle names nested classes."""

    def __new__(cls, *_: object) -> Any:
        return Inert


def read_torch(path: Path) -> Any:
    """Read a file of ``torch.save``; objects of unknown classes become `Inert`.

    The reader is torch's own with ``weights_only=True``. Every class or function that it would
    refuse is replaced by an inert stub of that name, so that nothing in the file is imported or
    called. Subclasses of dict become an OrderedDict of their items.

    Raises
    ------
    InputError
        The file is damaged, or holds what cannot be read without running its code; the message
        names the classes.
    """
    expected = "a state dict of plain tensors"
    with reading(path, expected):
        try:
            unknown = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        except ValueError:  # the format before torch 1.6, which cannot be scanned
            unknown = []
        refused = ""
        for items in (False, True):
            stubs = [(_stub(name, items=items), name) for name in unknown]
            # nested classes are built by their stub: it has to be among the known ones
            with torch.serialization.safe_globals([*stubs, (Inert, "vaebias.Inert")]):
                try:
                    return torch.load(path, map_location="cpu", weights_only=True)
                except pickle.UnpicklingError as error:
                    refused = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    named = re.search(r"GLOBAL (\S+)", refused)
    classes = ", ".join(unknown) or (named.group(1) if named else "other objects")
    raise InputError(str(path), expected, f"{classes} among them, which is code")


def _stub(path: str, *, items: bool) -> Any:
    if path.endswith(("builtins.getattr", "__builtin__.getattr")):
        return _InertGetattr
    if not items:
        return type(path.rpartition(".")[2], (Inert,), {"path": path})

    def new(*_: object) -> OrderedDict[Any, Any]:
        return OrderedDict()

    return type(path.rpartition(".")[2], (), {"__new__": new})
