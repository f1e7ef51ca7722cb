"""Default perturbation of each data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vaebias.perturb.pairs import Pairs

__all__ = ["DEFAULTS", "Default"]


@dataclass(frozen=True)
class Default:
    """Pairs, strength, and each method's options, with which the criterion is reached.

    An epsilon among a method's options is its own.
    """

    pairs: Pairs
    epsilon: float
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, method: str) -> dict[str, Any]:
        """Return all arguments of a method but the grid, of which it may ignore some."""
        own = self.options.get(method, {})
        return {"pairs": self.pairs, "epsilon": self.epsilon, **own}


DEFAULTS: Mapping[str, Default] = MappingProxyType(
    {
        "blobs": Default(
            (("x", "y"),),
            0.2,
            # the model of vaebias demo: 20 (1 + 2 epsilon)² times the squared error
            {"priced": {"likelihood": "gaussian", "scale": 0.11293848786315641}},
        ),
        # both epsilons as in the paper; edges that move by a pixel a level ask for fine patterns
        "dsprites": Default(
            (("posX", "posY"),),
            0.1,
            {
                # a VAE's posterior is two to four of its levels wide
                "gram": {"frequency": 30.0, "strides": (1, 2, 3), "margin": 0.3, "steps": 600},
                "learned": {"frequency": 50.0, "noise": 0.7, "share": 0.92, "steps": 300},
                "pattern": {"turn": 6.0},
                # a smooth psi outweighs the edges of whole images from about this epsilon on; at .1
                # the mosaic does (docs/perturbation.md)
                "priced": {
                    "epsilon": 0.3,
                    "beta": 8.0,
                    "gain": 4.0,
                    "frequency": 1.5,
                    "strides": (1, 2, 3),
                    "steps": 200,
                },
            },
        ),
        "shapes3d": Default(
            (("scale", "orientation"),),
            0.175,
            {
                "gram": {"frequency": 10.0, "steps": 400},
                "learned": {
                    "frequency": 15.0,
                    "noise": 0.7,
                    "margin": 0.2,
                    "patch": 5,
                    "share": 0.92,
                    "steps": 400,
                },
                "pattern": {"turn": 1.5},
                # a smaller change than the paper's is enough
                "priced": {
                    "epsilon": 0.15,
                    "beta": 32.0,
                    "gain": 16.0,
                    "frequency": 5.0,
                    "strides": (1, 2),
                    "steps": 300,
                    "variance_ratio": 1.25,
                },
            },
        ),
    }
)
"""Defaults by the name of the data set; measured in docs/perturbation.md."""
