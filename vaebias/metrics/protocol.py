"""Named panels: which metrics, with which settings, on how many samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.errors import InputError, UnknownNameError
from vaebias.metrics.metric import METRICS

__all__ = ["PROTOCOLS", "Entry", "Protocol", "entries"]


@dataclass(frozen=True)
class Entry:
    """A metric and the settings it is called with."""

    metric: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Protocol:
    """A panel of metrics by label, and the samples they are computed on."""

    train: int
    test: int
    panel: Mapping[str, Entry]


def _panel(estimator: str) -> dict[str, Entry]:
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


PROTOCOLS: Mapping[str, Protocol] = {
    "locatello2019": Protocol(10_000, 5_000, _panel("gbt")),
    "fast": Protocol(10_000, 5_000, _panel("histgbt")),
}
"""``locatello2019``: the settings of the study of that name, and newer metrics on the same
samples. ``fast``: the same, but for DCI by histogram trees, whose scores do not compare."""


def entries(protocol: Protocol, metrics: Sequence[str] | None) -> dict[str, Entry]:
    """Choose from a panel by label or metric; a metric it lacks comes with its defaults.

    Raises
    ------
    UnknownNameError
        Neither a label nor a metric; the message lists what there is.
    InputError
        For an empty choice.
    """
    if metrics is None:
        return dict(protocol.panel)
    chosen: dict[str, Entry] = {}
    for name in metrics:
        found = {
            label: entry for label, entry in protocol.panel.items() if name in (label, entry.metric)
        }
        if not found and name not in METRICS:
            raise UnknownNameError("metric", name, {*METRICS.names(), *protocol.panel})
        chosen |= found or {name: Entry(name, {})}
    if not chosen:
        raise InputError("metrics", "at least one name", "none")
    return chosen
