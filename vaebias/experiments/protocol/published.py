"""Published scores of a paper, to compare a study with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from vaebias.experiments.protocol.config import from_table, read_toml
from vaebias.experiments.protocol.protocol import Protocol
from vaebias.experiments.protocol.run import Run
from vaebias.experiments.protocol.specs import DataSpec

__all__ = ["Published", "published", "role"]

_FILE = "zietlow2021.toml"


@dataclass(frozen=True)
class _Variants:
    original: tuple[float, float]
    modified: tuple[float, float]
    noise: tuple[float, float]


@dataclass(frozen=True)
class _Data:
    epsilon: float
    latents: int
    values: Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class Published:
    """Mean and sd of one metric in a paper, by data set, objective and variant."""

    source: str
    metric: str
    seeds: int
    steps: int
    side: int
    data: Mapping[str, Mapping[str, object]]

    def value(self, run: Run) -> tuple[float, float] | None:
        """Return the paper's (mean, sd) for a run with its data set, epsilon and objective."""
        block = self._block(run.data)
        if block is None or block.epsilon != run.perturbation.epsilon:
            return None
        variants = block.values.get(run.model.objective)
        if variants is None or run.model.strengths not in ((), (1.0,)):
            return None
        found = from_table(_Variants, variants, _FILE)
        pair: tuple[float, float] = getattr(found, role(run))
        return pair

    def differences(self, protocol: Protocol, side: int) -> tuple[str, ...]:
        """Return the settings in which a study departs from the paper, in words."""
        block = self._block(protocol.data)
        if block is None:
            return ()
        steps = sorted({model.steps for model in protocol.models})
        latents = sorted({model.latents for model in protocol.models})
        methods = sorted({v.method for v in protocol.variants} - {"none", "noise"})
        departures = [f"the modification is {' and '.join(methods)}, not the authors' own"]
        if steps != [self.steps]:
            departures.append(f"{' or '.join(f'{n:,}' for n in steps)} steps, not {self.steps:,}")
        if side != self.side:
            departures.append(f"images of {side} pixels a side, not {self.side}")
        if latents != [block.latents]:
            departures.append(f"{' or '.join(map(str, latents))} latents, not {block.latents}")
        if len(protocol.seeds) != self.seeds:
            departures.append(f"{len(protocol.seeds)} seeds, not {self.seeds}")
        return tuple(departures)

    def _block(self, data: DataSpec) -> _Data | None:
        if data.levels or data.name not in self.data:
            return None
        return from_table(_Data, self.data[data.name], _FILE, data.name)


def published() -> Published:
    """Return the table of Zietlow et al. 2021."""
    text = (
        resources.files("vaebias.experiments.protocol").joinpath(_FILE).read_text(encoding="utf-8")
    )
    return from_table(Published, read_toml(text, _FILE), _FILE)


def role(run: Run) -> str:
    """Return the role of the run's data in the comparison: original, modified or noise."""
    method = run.variant.method
    if method == "shipped":  # a canonical set
        method = str(run.variant.options.get("kind", "modified"))
    return {"none": "original", "noise": "noise"}.get(method, "modified")
