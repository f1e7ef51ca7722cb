"""A study written down: data variants x models x seeds, and how each run is trained.

A protocol is a TOML file; `Protocol` is the same as frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol.run import Run, digest
from vaebias.experiments.protocol.specs import (
    DataSpec,
    ModelSpec,
    PerturbationSpec,
    VariantSpec,
    check_distinct,
)

__all__ = ["Protocol"]


@dataclass(frozen=True)
class Protocol:
    """A study: every variant x every model x every seed is one run.

    Attributes
    ----------
    metrics
        Names in ``vaebias.metrics.METRICS`` to compute beside MIG, with their defaults.
    """

    name: str
    description: str
    seeds: tuple[int, ...]
    data: DataSpec
    perturbation: PerturbationSpec
    variants: tuple[VariantSpec, ...]
    models: tuple[ModelSpec, ...]
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("variants", "models"):
            names = [spec.name for spec in getattr(self, kind)]
            check_distinct(kind, names)
        check_distinct("seeds", list(self.seeds))
        for epsilon in (self.perturbation.epsilon, *self.perturbation.epsilons):
            if not 0 < epsilon <= 1:
                raise InputError("perturbation.epsilon", "in (0, 1]", epsilon)
        for model in self.models:
            model.check()

    def with_steps(self, steps: int) -> Protocol:
        """Return the same study with every model trained for ``steps`` steps."""
        return replace(self, models=tuple(replace(model, steps=steps) for model in self.models))

    def with_seeds(self, seeds: tuple[int, ...]) -> Protocol:
        """Return the same study over ``seeds``."""
        return replace(self, seeds=seeds)

    def with_models(self, names: tuple[str, ...]) -> Protocol:
        """Return the same study with only the named models."""
        known = {model.name: model for model in self.models}
        for name in names:
            if name not in known:
                raise UnknownNameError("model of the protocol", name, known)
        return replace(self, models=tuple(known[name] for name in names))

    def versions(self) -> tuple[tuple[PerturbationSpec, VariantSpec], ...]:
        """Return every variant at every epsilon; with several, the names say which."""
        spec = self.perturbation
        if not spec.epsilons:
            return tuple((spec, variant) for variant in self.variants)
        return tuple(
            (spec.at(epsilon), replace(variant, name=f"{variant.name}, ε {epsilon:g}"))
            for epsilon in spec.epsilons
            for variant in self.variants
        )

    def runs(self) -> tuple[Run, ...]:
        """Return every run, seeds outermost, so that a stopped sweep has complete tables."""
        return tuple(
            Run(self.data, spec, variant, self._rescaled(model, spec), seed, self.metrics)
            for seed in self.seeds
            for spec, variant in self.versions()
            for entry in self.models
            for model in entry.line()
        )

    def _rescaled(self, model: ModelSpec, spec: PerturbationSpec) -> ModelSpec:
        here, there = self.perturbation.epsilon, spec.epsilon
        if spec.range != "rescale" or here == there or "scale" not in model.options:
            return model
        scale = model.options["scale"] * (1 + 2 * here) / (1 + 2 * there)
        return replace(model, options={**model.options, "scale": scale})

    def to_json(self) -> dict[str, Any]:
        """Return the study as plain values."""
        return asdict(self)

    def version_key(self, spec: PerturbationSpec, variant: VariantSpec) -> str:
        """Return the file name of the perturbation of one of `versions`, as `Run.key`."""
        version, how = asdict(variant), asdict(spec)
        del version["name"], how["epsilons"]
        return digest({"data": self.data.config(), "perturbation": how, "variant": version})
