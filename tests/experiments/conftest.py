"""A study small enough for a test."""

from __future__ import annotations

import pytest

from vaebias.experiments.protocol import Protocol
from vaebias.experiments.protocol.config import from_table

TINY = {
    "name": "tiny",
    "description": "a few steps on a few blobs",
    "seeds": [0, 1],
    "data": {"name": "blobs", "options": {"levels": [4, 4, 2], "width": 8}},
    "perturbation": {"epsilon": 0.2, "pairs": [["x", "y"]]},
    "variants": [
        {"name": "original"},
        {"name": "noise", "method": "noise", "options": {"seed": 0}},
    ],
    "models": [
        {
            "name": "beta-VAE",
            "objective": "beta_vae",
            "latents": 2,
            "steps": 3,
            "batch_size": 8,
            "network": {"name": "mlp", "hidden": [8]},
            "options": {"likelihood": "gaussian", "beta": 2.0},
        },
    ],
}


@pytest.fixture(scope="session")
def tiny() -> Protocol:
    return from_table(Protocol, TINY, "tiny.toml")
