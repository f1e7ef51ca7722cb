"""The parts of a protocol: data set, perturbation, variants, models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = [
    "ContrastSpec",
    "DataSpec",
    "ModelSpec",
    "PerturbationSpec",
    "VariantSpec",
    "check_distinct",
]


@dataclass(frozen=True)
class DataSpec:
    """The data set: a name or path for ``vaebias.data.load``, and its options.

    Attributes
    ----------
    name
        Name or path.
    options
        Keyword arguments of ``vaebias.data.load``.
    levels
        Restricts the grid: for each named factor one level, which fixes it, or a list of the
        levels to keep, as for `vaebias.data.FactorGrid.restrict`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    levels: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> FactorGrid:
        """Return the grid, as `vaebias.data.load`."""
        from vaebias import data  # tables of studies are read without torch

        return data.load(self.name, **self.options).restrict(**self.levels)

    def config(self) -> dict[str, Any]:
        """Return plain values; empty levels are omitted, so that run keys of 0.1.0 stay valid."""
        config = asdict(self)
        if not config["levels"]:
            del config["levels"]
        return config


@dataclass(frozen=True)
class PerturbationSpec:
    """What all variants have in common, including the original.

    Attributes
    ----------
    epsilon
        Largest change of a pixel, in units of the image range [0, 1].
    epsilons
        If given, the study is run at each of these instead, with all its variants. A Gaussian
        ``scale`` is then the one at ``epsilon``, and is adapted to the rescaling of the images,
        so that the squared error weighs the same on the original images.
    range
        How images are brought back into [0, 1]: ``"rescale"`` or ``"clip"``.
    pairs
        Pairs of factors to entangle; evaluated in every variant.
    stored_as_bytes
        If True, the images of each variant are rounded to bytes and drawn once, into a file that
        all runs share (`vaebias.data.materialise`).
    """

    epsilon: float
    range: str = "rescale"
    pairs: tuple[tuple[str, str], ...] = ()
    epsilons: tuple[float, ...] = ()
    stored_as_bytes: bool = False

    def config(self) -> dict[str, Any]:
        """Return plain values; ``epsilons`` and a false ``stored_as_bytes`` are omitted."""
        config = asdict(self)
        del config["epsilons"]
        if not self.stored_as_bytes:  # so that run keys of 0.1.0 stay valid
            del config["stored_as_bytes"]
        return config

    def at(self, epsilon: float) -> PerturbationSpec:
        """Return the same at one ``epsilon``."""
        return replace(self, epsilon=epsilon, epsilons=())


@dataclass(frozen=True)
class VariantSpec:
    """One version of the data.

    Attributes
    ----------
    name
        Label in tables.
    method
        ``"none"`` (the original), or a name in ``vaebias.perturb.PERTURBATIONS``.
    options
        Further arguments of the method, such as ``seed`` and ``steps``.
    draws
        Seeds of the perturbation. If there are several, all models are trained on each of these
        draws, and comparisons treat the draw as a random effect.
    nested
        If True, the study's seeds are divided among the draws, instead of every seed being trained
        on every draw: as many runs as without draws. Seed s has draw s modulo their number, with
        whichever other seeds it is run.
    correlate
        Pairs of factors that are correlated in the training samples, with their sigma, such as
        ``{"x+y": 0.2}``; see `vaebias.data.correlate`. The perturbation is that of the
        independent factors, and scores are computed on independent factors.
    drawn_from
        Name of the variant of which this is one draw; set by `Protocol.versions`.
    share
        Place of a nested draw, and the number of draws; set likewise.
    """

    name: str
    method: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: tuple[int, ...] = ()
    nested: bool = False
    correlate: Mapping[str, float] = field(default_factory=dict)
    drawn_from: str | None = None
    share: tuple[int, int] | None = None

    @property
    def row(self) -> str:
        """Label of the variant in tables, in which its draws have one row."""
        return self.name if self.drawn_from is None else self.drawn_from

    def versions(self) -> tuple[VariantSpec, ...]:
        """Return the variant at each of its draws, or only itself if it has none."""
        return tuple(
            replace(
                self,
                name=f"{self.name}, draw {seed}",
                options={**self.options, "seed": seed},
                draws=(),
                nested=False,
                drawn_from=self.name,
                share=(place, len(self.draws)) if self.nested else None,
            )
            for place, seed in enumerate(self.draws)
        ) or (self,)

    def seeds(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of the study's seeds that are trained on this draw."""
        if self.share is None:
            return seeds
        place, number = self.share
        return tuple(seed for seed in seeds if seed % number == place)

    def config(self) -> dict[str, Any]:
        """Return what a result depends on, as plain values; labels are left out."""
        correlate = {"correlate": dict(self.correlate)} if self.correlate else {}
        return self.perturbation() | correlate

    def perturbation(self) -> dict[str, Any]:
        """Return what the perturbation depends on, as plain values."""
        return {"method": self.method, "options": dict(self.options)}

    def sampled(self, grid: FactorGrid) -> FactorGrid:
        """Return the grid with the variant's correlations, or the grid itself."""
        from vaebias.data.correlated import correlate_pairs

        return correlate_pairs(grid, self.correlate)

    def check(self) -> None:
        """Raise InputError if the draws are not possible."""
        if not self.draws:
            if self.nested:
                raise InputError(f"variants.{self.name}.nested", "given together with draws", True)
            return
        where = f"variants.{self.name}.draws"
        check_distinct(where, list(self.draws))
        if self.method == "none":
            raise InputError(where, "none for the method 'none'", list(self.draws))
        if "seed" in self.options:
            raise InputError(where, "draws or options.seed, not both", list(self.draws))


@dataclass(frozen=True)
class ContrastSpec:
    """A primary contrast: one that the study is made for, named before it is run.

    Attributes
    ----------
    model
        Label of the model in tables, such as ``beta-VAE`` or ``beta-VAE ×1.5``.
    before, after
        Labels of the two versions of the data.
    score
        Name of the score.
    """

    model: str
    before: str
    after: str
    score: str = "mig"


@dataclass(frozen=True)
class ModelSpec:
    """One model and its training.

    Attributes
    ----------
    name
        Label in tables.
    objective
        A name in ``vaebias.models.MODELS``.
    latents
        Number of latents.
    steps, batch_size, learning_rate, schedule
        Training budget; ``batch_size`` counts pairs if the objective takes pairs.
    network
        A name in ``vaebias.models.NETWORKS``, or a table with ``name`` and options.
    pair_rate
        Rate of the discrete Laplace steps between the two frames of a pair (objectives with
        pairs in time only). Until version 0.1.0 it was called ``rate``, which is still read.
    options
        Fields of the objective's configuration, such as ``beta``.
    strength
        Name of the option that weighs the regularisation; given together with ``strengths``.
    strengths
        Multipliers of that option, one run for each: a line search.
    """

    name: str
    objective: str
    latents: int
    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    network: str | Mapping[str, Any] = "mlp"
    pair_rate: float | None = field(default=None, metadata={"formerly": "rate"})
    options: Mapping[str, Any] = field(default_factory=dict)
    strength: str | None = None
    strengths: tuple[float, ...] = ()

    def line(self) -> tuple[ModelSpec, ...]:
        """Return the model at each of its strengths, or only itself if it has none."""
        if self.strength is None:
            return (self,)
        value = self.options[self.strength]
        return tuple(
            replace(self, options={**self.options, self.strength: value * s}, strengths=(s,))
            for s in self.strengths
        )

    def config(self) -> dict[str, Any]:
        """Return what a result depends on, under the names of 0.1.0, so that its keys stay valid.

        The label is left out, and the strength: the options already hold the product.
        """
        config = asdict(self)
        del config["name"], config["strength"], config["strengths"]
        config["rate"] = config.pop("pair_rate")
        return config

    @property
    def label(self) -> str:
        """Label in tables, with the strength if it has one: ``beta-VAE ×1.5``."""
        return f"{self.name} ×{self.strengths[0]:g}" if len(self.strengths) == 1 else self.name

    def check(self) -> None:
        """Raise InputError if steps or strengths are not possible."""
        if self.steps < 1:
            raise InputError(f"models.{self.name}.steps", "at least 1", self.steps)
        where = f"models.{self.name}.strengths"
        if (self.strength is None) == bool(self.strengths):
            raise InputError(where, "given together with strength", list(self.strengths))
        if self.strength is None:
            return
        value = self.options.get(self.strength)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(where, f"a number in options.{self.strength}", repr(value))
        check_distinct(where, list(self.strengths))
        for strength in self.strengths:
            if not strength > 0:
                raise InputError(where, "numbers above 0", strength)


def check_distinct(kind: str, names: list[Any]) -> None:
    """Raise InputError if there are no names, or one is given twice."""
    if not names:
        raise InputError(kind, "at least one", "none")
    for name in names:
        if names.count(name) > 1:
            raise InputError(kind, "each only once", f"{name!r}, given {names.count(name)} times")
