"""A study written down: data variants x models x seeds, and how each run is trained.

A protocol is a TOML file; `Protocol` is the same as frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol.run import Run, digest
from vaebias.experiments.protocol.specs import (
    ContrastSpec,
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
    contrasts
        The primary contrasts. The p values of all others are adjusted for their number.
    """

    name: str
    description: str
    seeds: tuple[int, ...]
    data: DataSpec
    perturbation: PerturbationSpec
    variants: tuple[VariantSpec, ...]
    models: tuple[ModelSpec, ...]
    metrics: tuple[str, ...] = ()
    contrasts: tuple[ContrastSpec, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("variants", "models"):
            names = [spec.name for spec in getattr(self, kind)]
            check_distinct(kind, names)
        check_distinct("seeds", list(self.seeds))
        if min(self.seeds) < 0:
            raise InputError("seeds", "numbers not below 0", min(self.seeds))
        for epsilon in (self.perturbation.epsilon, *self.perturbation.epsilons):
            if not 0 < epsilon <= 1:
                raise InputError("perturbation.epsilon", "in (0, 1]", epsilon)
        for variant in self.variants:
            variant.check()
        for model in self.models:
            model.check()
        self._check_contrasts()

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
        models = tuple(known[name] for name in names)
        labels = {one.label for model in models for one in model.line()}
        contrasts = tuple(contrast for contrast in self.contrasts if contrast.model in labels)
        return replace(self, models=models, contrasts=contrasts)

    def versions(self) -> tuple[tuple[PerturbationSpec, VariantSpec], ...]:
        """Return every variant at every epsilon and draw; with several, the names say which."""
        spec = self.perturbation
        if not spec.epsilons:
            return tuple((spec, one) for variant in self.variants for one in variant.versions())
        return tuple(
            (spec.at(epsilon), one)
            for epsilon in spec.epsilons
            for variant in self.variants
            for one in replace(variant, name=f"{variant.name}, ε {epsilon:g}").versions()
        )

    def runs(self) -> tuple[Run, ...]:
        """Return every run, seeds outermost, so that a stopped sweep has complete tables."""
        return tuple(
            Run(self.data, spec, variant, self._rescaled(model, spec), seed, self.metrics)
            for seed in self.seeds
            for spec, variant in self.versions()
            for entry in self.models
            for model in entry.line()
            if seed in variant.seeds(self.seeds)
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
        how = replace(spec, stored_as_bytes=False).config()
        made = variant.perturbation()
        return digest({"data": self.data.config(), "perturbation": how, "variant": made})

    def _check_contrasts(self) -> None:
        known = {
            "model": {one.label for model in self.models for one in model.line()},
            "before": {variant.row for _, variant in self.versions()},
        }
        known["after"] = known["before"]
        if self.contrasts:
            check_distinct("contrasts", list(self.contrasts))
        for place, contrast in enumerate(self.contrasts):
            for field, names in known.items():
                found = getattr(contrast, field)
                if found not in names:
                    where = f"contrasts[{place}].{field}"
                    raise InputError(where, f"one of {', '.join(sorted(names))}", repr(found))
            if contrast.before == contrast.after:
                where = f"contrasts[{place}].after"
                raise InputError(where, "another version of the data", repr(contrast.after))
