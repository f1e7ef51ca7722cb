"""Names for data sets, models, metrics, perturbations and formats."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from vaebias.errors import UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")
Item = TypeVar("Item")


class Registry(Generic[T]):
    """Objects of one kind by name, each registered where it is defined.

    The modules of ``packages`` are imported at the first look-up, so a new file with one
    ``@register("name")`` line is found without any other change.

    Parameters
    ----------
    kind
        What error messages call the objects, as in ``unknown data set 'x'``.
    *packages
        Names of the packages whose modules register them.
    """

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind = kind
        self._packages = packages
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[Item], Item]:
        """Return a decorator that stores an object under ``name``.

        The decorator returns the object with its own type, so that a registered function keeps
        its signature for type checkers and editors.

        Raises
        ------
        ValueError
            The name is taken.
        """

        def add(item: Item) -> Item:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            # Python's types cannot say "Item is a T": the look-up is where T is promised
            self._items[name] = item  # type: ignore[assignment]
            return item

        return add

    def __getitem__(self, name: str) -> T:
        """Return the object called ``name``; UnknownNameError lists the known names."""
        self._discover()
        try:
            return self._items[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def names(self) -> list[str]:
        """Return all known names, sorted."""
        self._discover()
        return sorted(self._items)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # before the imports: a module may look up while it is imported
        try:
            for name in self._packages:
                package = importlib.import_module(name)
                for module in pkgutil.iter_modules(package.__path__):
                    importlib.import_module(f"{name}.{module.name}")
        except BaseException:
            self._discovered = False  # later look-ups fail alike; names would be missing
            raise
