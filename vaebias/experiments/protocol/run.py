"""One training run of a study, and the hash of its configuration that names its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from vaebias.experiments.protocol.specs import DataSpec, ModelSpec, PerturbationSpec, VariantSpec

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = ["Run", "SeedGroup", "digest", "seed_groups"]


@dataclass(frozen=True)
class Run:
    """One training run: what its result depends on, and nothing else."""

    data: DataSpec
    perturbation: PerturbationSpec
    variant: VariantSpec
    model: ModelSpec
    seed: int
    metrics: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Return what the result depends on, as plain values; labels are left out."""
        config = {
            "data": self.data.config(),
            "perturbation": self.perturbation.config(),
            "variant": self.variant.config(),
            "model": self.model.config(),
            "seed": self.seed,
        }
        return config | ({"metrics": list(self.metrics)} if self.metrics else {})

    def load(self) -> FactorGrid:
        """Return the data set, with the variant's correlations."""
        return self.variant.sampled(self.data.load())

    @property
    def key(self) -> str:
        """Name of the run's folder: the first 16 hex digits of the SHA-256 of its configuration."""
        return digest(self.config())

    @property
    def label(self) -> str:
        """The run in words: ``beta-VAE on modified, seed 0``."""
        return f"{self.model.label} on {self.variant.name}, seed {self.seed}"


SeedGroup: TypeAlias = tuple[Run, ...]
"""Runs that differ only in their seeds, and so can be trained together."""


def seed_groups(runs: Sequence[Run], size: int) -> list[SeedGroup]:
    """Group runs that differ only in their seeds, up to ``size`` per group, in order."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(replace(run, seed=0).key, []).append(run)
    groups = (
        tuple(same[start : start + size])
        for same in alike.values()
        for start in range(0, len(same), size)
    )
    position = {run.key: number for number, run in enumerate(runs)}
    return sorted(groups, key=lambda group: position[group[0].key])


def digest(config: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of a configuration in canonical JSON."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
