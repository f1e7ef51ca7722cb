"""Named panels: which metrics, with which settings, on how many samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.errors import InputError, UnknownNameError
from vaebias.metrics.metric import METRICS, Signature

__all__ = ["PANELS", "Entry", "Panel", "choose"]


@dataclass(frozen=True)
class Entry:
    """A metric and the settings it is called with."""

    metric: str
    options: Mapping[str, Any]

    @property
    def signature(self) -> Signature:
        """What else the metric is called with."""
        return METRICS.signature(self.metric)


@dataclass(frozen=True)
class Panel:
    """Metrics by label, and the numbers of training and test samples they are computed on."""

    train: int
    test: int
    entries: Mapping[str, Entry]


def _entries(estimator: str) -> dict[str, Entry]:
    return {
        "beta_vae_score": Entry("beta_vae_score", {}),
        "factor_vae_score": Entry("factor_vae_score", {}),
        "mig": Entry("mig", {}),
        "mig.bins10": Entry("mig", {"bins": 10}),
        "mig.bins40": Entry("mig", {"bins": 40}),
        "sap": Entry("sap", {}),
        "sap.continuous": Entry("sap", {"continuous": True}),
        "dci": Entry("dci", {"estimator": estimator}),
        "modularity": Entry("modularity", {}),
        "explicitness": Entry("explicitness", {}),
        "irs": Entry("irs", {}),
        "infomec": Entry("infomec", {}),
        "mcc": Entry("mcc", {}),
        "mcc.pearson": Entry("mcc", {"correlation": "pearson"}),
        "gaussian_tc": Entry("gaussian_tc", {}),
        "effective_rank": Entry("effective_rank", {}),
        "latent_kl": Entry("latent_kl", {}),
        "over_pruning": Entry("over_pruning", {}),
        "reconstruction": Entry("reconstruction", {}),
    }


PANELS: Mapping[str, Panel] = {
    "locatello2019": Panel(10_000, 5_000, _entries("gbt")),
    "fast": Panel(10_000, 5_000, _entries("histgbt")),
}
"""``locatello2019``: the settings of Locatello et al. 2019, and newer metrics on the same samples.
``fast``: the same, but DCI by histogram trees, whose scores do not compare."""


def choose(panel: Panel, metrics: Sequence[str] | None) -> dict[str, Entry]:
    """Choose entries of a panel by label or metric; other metrics come with their defaults.

    Raises
    ------
    UnknownNameError
        A name is neither a label nor a metric; the message lists both.
    InputError
        The choice is empty, or it is ``udr``, which needs several models.
    """
    if metrics is None:
        return dict(panel.entries)
    chosen: dict[str, Entry] = {}
    for name in metrics:
        found = {
            label: entry for label, entry in panel.entries.items() if name in (label, entry.metric)
        }
        if name == "udr":
            expected = "metrics of one model"
            found_one = "udr, which compares several: use metrics.udr or `vaebias agree`"
            raise InputError("metrics", expected, found_one)
        if not found and name not in METRICS:
            raise UnknownNameError("metric", name, {*METRICS.names(), *panel.entries})
        chosen |= found or {name: Entry(name, {})}
    if not chosen:
        raise InputError("metrics", "at least one name", "none")
    return chosen
