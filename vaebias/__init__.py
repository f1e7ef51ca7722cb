"""Is this disentanglement earned, or a gift of the data's variance structure?

Subpackages are imported when first used, so that ``import vaebias`` stays cheap:
``ops`` (the kernels), ``data``, ``structure``, ``perturb``, ``models``, ``metrics``,
``analysis``, ``checkpoints``, ``training``, ``experiments``, ``report``; and so is
the estimator ``NonlinearPCA``.
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
        structure,
        training,
    )
    from vaebias.nonlinear_pca import NonlinearPCA

__all__ = [
    "NonlinearPCA",
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
    "structure",
    "training",
]

__version__ = version("vaebias")


def __getattr__(name: str) -> Any:
    if name == "NonlinearPCA":
        return importlib.import_module("vaebias.nonlinear_pca").NonlinearPCA
    if name in __all__:
        return importlib.import_module(f"vaebias.{name}")
    raise AttributeError(f"module 'vaebias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
