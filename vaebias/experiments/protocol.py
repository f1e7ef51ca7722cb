"""A study written down: data variants x models x seeds, and how each run is trained.

A protocol is a TOML file; `Protocol` is the same as frozen dataclasses. Every run that follows
from it has a configuration of plain values, whose hash names its folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vaebias.errors import InputError, UnknownNameError, reading
from vaebias.experiments.config import from_table, read_toml

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from vaebias.data import FactorGrid

__all__ = [
    "Bundle",
    "DataSpec",
    "ModelSpec",
    "PerturbationSpec",
    "Protocol",
    "Run",
    "VariantSpec",
    "bundled",
    "bundles",
    "load_protocol",
]

_BUNDLED = "vaebias.experiments.protocols"


@dataclass(frozen=True)
class DataSpec:
    """The data set: a name or path for ``vaebias.data.load``, and its options.

    Attributes
    ----------
    levels
        Of a part of the set: per factor one level, which fixes it, or a list of those kept, as
        for `vaebias.data.FactorGrid.restrict`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    levels: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> FactorGrid:
        """Return the grid, as `vaebias.data.load`."""
        from vaebias import data  # tables of studies are read without torch

        return data.load(self.name, **self.options).restrict(**self.levels)

    def config(self) -> dict[str, Any]:
        """Return it as plain values; without levels as before there were any."""
        config = asdict(self)
        if not config["levels"]:
            del config["levels"]
        return config


@dataclass(frozen=True)
class PerturbationSpec:
    """What all variants share, the original too.

    Attributes
    ----------
    epsilon
        Largest change of a pixel, in units of the image range [0, 1].
    epsilons
        To run the study at each of these instead, every variant anew. A Gaussian ``scale`` then
        holds at ``epsilon``, and follows where images are rescaled more or less than there, so
        that the squared error weighs the same on the original images.
    range
        How images come back into [0, 1]: ``"rescale"`` or ``"clip"``.
    pairs
        Pairs of factors to entangle; evaluated in every variant.
    """

    epsilon: float
    range: str = "rescale"
    pairs: tuple[tuple[str, str], ...] = ()
    epsilons: tuple[float, ...] = ()

    def at(self, epsilon: float) -> PerturbationSpec:
        """Return the same at one ``epsilon``."""
        return replace(self, epsilon=epsilon, epsilons=())


@dataclass(frozen=True)
class VariantSpec:
    """One version of the data.

    Attributes
    ----------
    name
        How tables call it.
    method
        ``"none"`` (the original), or a name in ``vaebias.perturb.PERTURBATIONS``.
    options
        Further arguments of the method, as ``seed`` and ``steps``.
    """

    name: str
    method: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSpec:
    """One model and its training.

    Attributes
    ----------
    name
        How tables call it.
    objective
        A name in ``vaebias.models.MODELS``.
    latents
        Number of latents.
    steps, batch_size, learning_rate, schedule
        Training budget; ``batch_size`` counts pairs where the objective takes pairs.
    network
        A name in ``vaebias.models.NETWORKS``, or a table with ``name`` and options.
    rate
        Rate of the discrete Laplace steps between the frames of a pair (paired models only).
    options
        Fields of the objective's configuration, as ``beta``.
    strength
        The option that weighs the regularisation, where ``strengths`` are given.
    strengths
        Multipliers of that option, one run each: a line search.
    """

    name: str
    objective: str
    latents: int
    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    network: str | Mapping[str, Any] = "mlp"
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    strength: str | None = None
    strengths: tuple[float, ...] = ()

    def line(self) -> tuple[ModelSpec, ...]:
        """Return the model at each of its strengths; itself, where it has none."""
        if self.strength is None:
            return (self,)
        value = self.options[self.strength]
        return tuple(
            replace(self, options={**self.options, self.strength: value * s}, strengths=(s,))
            for s in self.strengths
        )

    @property
    def label(self) -> str:
        """How tables call it, with its one strength: ``beta-VAE ×1.5``."""
        return f"{self.name} ×{self.strengths[0]:g}" if len(self.strengths) == 1 else self.name


@dataclass(frozen=True)
class Protocol:
    """A study: every variant x every model x every seed is one run.

    Attributes
    ----------
    metrics
        Names in ``vaebias.metrics.METRICS`` to be measured beside MIG, at their defaults.
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
            _distinct(kind, names)
        _distinct("seeds", list(self.seeds))
        for epsilon in (self.perturbation.epsilon, *self.perturbation.epsilons):
            if not 0 < epsilon <= 1:
                raise InputError("perturbation.epsilon", "in (0, 1]", epsilon)
        for model in self.models:
            if model.steps < 1:
                raise InputError(f"models.{model.name}.steps", "at least 1", model.steps)
            _check_line(model)

    def with_steps(self, steps: int) -> Protocol:
        """Return the same study with every model trained for ``steps`` steps."""
        return replace(self, models=tuple(replace(model, steps=steps) for model in self.models))

    def with_seeds(self, seeds: tuple[int, ...]) -> Protocol:
        """Return the same study over ``seeds``."""
        return replace(self, seeds=seeds)

    def with_models(self, names: tuple[str, ...]) -> Protocol:
        """Return the same study of some of its models."""
        known = {model.name: model for model in self.models}
        for name in names:
            if name not in known:
                raise UnknownNameError("model of the protocol", name, known)
        return replace(self, models=tuple(known[name] for name in names))

    def versions(self) -> tuple[tuple[PerturbationSpec, VariantSpec], ...]:
        """Return every variant at every epsilon; of several, names say which."""
        spec = self.perturbation
        if not spec.epsilons:
            return tuple((spec, variant) for variant in self.variants)
        return tuple(
            (spec.at(epsilon), replace(variant, name=f"{variant.name}, ε {epsilon:g}"))
            for epsilon in spec.epsilons
            for variant in self.variants
        )

    def runs(self) -> tuple[Run, ...]:
        """Return every run, seeds outermost, so that an early stop leaves whole tables."""
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
        """Return the name of the file of one of `versions`' perturbations, as `Run.key`."""
        version, how = asdict(variant), asdict(spec)
        del version["name"], how["epsilons"]
        return _digest({"data": self.data.config(), "perturbation": how, "variant": version})


@dataclass(frozen=True)
class Run:
    """One training run: what it depends on, and nothing else."""

    data: DataSpec
    perturbation: PerturbationSpec
    variant: VariantSpec
    model: ModelSpec
    seed: int
    metrics: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Return what the result depends on, as plain values; labels are left out."""
        variant, model, spec = asdict(self.variant), asdict(self.model), asdict(self.perturbation)
        # options say what a strength came to; keys without it are those of version 0.1.0
        del variant["name"], model["name"], model["strength"], model["strengths"], spec["epsilons"]
        config = {
            "data": self.data.config(),
            "perturbation": spec,
            "variant": variant,
            "model": model,
            "seed": self.seed,
        }
        return config | ({"metrics": list(self.metrics)} if self.metrics else {})

    @property
    def key(self) -> str:
        """Name of the run's folder: the first 16 hex digits of the SHA-256 of its configuration."""
        return _digest(self.config())

    @property
    def label(self) -> str:
        """The run in words: ``beta-VAE on modified, seed 0``."""
        return f"{self.model.label} on {self.variant.name}, seed {self.seed}"


Bundle: TypeAlias = tuple[Run, ...]
"""Runs that differ in their seeds alone."""


def bundles(runs: Sequence[Run], size: int) -> list[Bundle]:
    """Put together runs that differ in their seeds alone, up to ``size`` of them, in order."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(replace(run, seed=0).key, []).append(run)
    found = (
        tuple(group[start : start + size])
        for group in alike.values()
        for start in range(0, len(group), size)
    )
    place = {run.key: number for number, run in enumerate(runs)}
    return sorted(found, key=lambda bundle: place[bundle[0].key])


def bundled() -> tuple[str, ...]:
    """Return the names of the protocols that come with vaebias."""
    return tuple(sorted(_bundled()))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Read a protocol: one that comes with vaebias by its name, or any TOML file by its path.

    Raises
    ------
    UnknownNameError
        Neither a known name nor a file.
    InputError
        Not TOML, an unknown or absent key, or a value of the wrong type; the message names
        the file and the key.

    Notes
    -----
    A table ``[defaults]`` in the file is what models have in common: each model's own keys
    stand before it.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        with reading(path, "a TOML file"):
            text = path.read_text(encoding="utf-8")
        where = str(path)
    else:
        known = _bundled()
        if str(name_or_path) not in known:
            raise UnknownNameError("protocol", str(name_or_path), known)
        text, where = known[str(name_or_path)].read_text(encoding="utf-8"), f"{name_or_path}.toml"
    return from_table(Protocol, _with_defaults(read_toml(text, where)), where)


def _with_defaults(table: dict[str, Any]) -> dict[str, Any]:
    """Give each model what the table ``[defaults]`` says and it does not say itself."""
    defaults, models = table.pop("defaults", None), table.get("models")
    if isinstance(defaults, Mapping) and isinstance(models, list):
        table["models"] = [
            {**defaults, **model} if isinstance(model, Mapping) else model for model in models
        ]
    elif defaults is not None:
        table["defaults"] = defaults  # refused with the other mistakes
    return table


def _bundled() -> dict[str, Traversable]:
    return {
        Path(entry.name).stem: entry
        for entry in resources.files(_BUNDLED).iterdir()
        if entry.name.endswith(".toml")
    }


def _check_line(model: ModelSpec) -> None:
    where = f"models.{model.name}.strengths"
    if (model.strength is None) == bool(model.strengths):
        raise InputError(where, "given together with strength", list(model.strengths))
    if model.strength is None:
        return
    value = model.options.get(model.strength)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(where, f"a number in options.{model.strength}", repr(value))
    _distinct(where, list(model.strengths))
    for strength in model.strengths:
        if not strength > 0:
            raise InputError(where, "numbers above 0", strength)


def _digest(config: Mapping[str, Any]) -> str:
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _distinct(kind: str, names: list[Any]) -> None:
    if not names:
        raise InputError(kind, "at least one", "none")
    for name in names:
        if names.count(name) > 1:
            raise InputError(kind, "each only once", f"{name!r} {names.count(name)} times")
