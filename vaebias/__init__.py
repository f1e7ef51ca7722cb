"""Is this disentanglement earned, or a gift of the data's variance structure?

Subpackages are imported when first used, so that ``import vaebias`` stays cheap:
``ops`` (the kernels), ``data``, ``perturb``, ``models``, ``metrics``, ``analysis``,
``checkpoints``, ``training``, ``experiments``, ``report``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaebias import (
        analysis,
        checkpoints,
        data,
        experiments,
        metrics,
        models,
        ops,
        perturb,
        report,
        training,
    )

__all__ = [
    "__version__",
    "analysis",
    "checkpoints",
    "data",
    "experiments",
    "metrics",
    "models",
    "ops",
    "perturb",
    "report",
    "training",
]

__version__ = version("vaebias")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"vaebias.{name}")
    raise AttributeError(f"module 'vaebias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
