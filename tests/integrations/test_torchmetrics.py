"""The accumulator scores batches as their whole table, with the interface of torchmetrics."""

from __future__ import annotations

import pytest
import torch

from vaebias.errors import InputError, UnknownNameError
from vaebias.metrics import METRICS, mcc

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from vaebias.integrations.torchmetrics import DisentanglementMetric  # noqa: E402

FACTORS = torch.randint(4, (120, 3), generator=torch.Generator().manual_seed(0))
CODES = FACTORS.flip(1) + 0.2 * torch.randn(120, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options"), [("mig", {"bins": 7}), ("mcc", {}), ("sap", {})])
def test_batches_score_as_the_whole_table(name: str, options: dict[str, int]) -> None:
    metric = DisentanglementMetric(name, **options)
    for codes, factors in zip(CODES.split(50), FACTORS.split(50), strict=True):
        metric.update(codes, factors)
    expected = METRICS[name](CODES, FACTORS, **options)
    assert float(metric.compute()) == expected.score
    assert metric.result().to_json() == expected.to_json()
    metric.reset()
    metric.update(CODES[:60], FACTORS[:60])
    assert float(metric.compute()) == METRICS[name](CODES[:60], FACTORS[:60], **options).score


def test_collections_take_it() -> None:
    both = torchmetrics.MetricCollection(
        {"mig": DisentanglementMetric("mig"), "mcc": DisentanglementMetric("mcc")},
        compute_groups=False,
    )
    both.update(CODES, FACTORS)
    assert float(both.compute()["mcc"]) == mcc(CODES, FACTORS).score


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'mgi'"):
        DisentanglementMetric("mgi")
    with pytest.raises(InputError, match="metric: expected a metric of codes and factors alone"):
        DisentanglementMetric("latent_kl")
    metric = DisentanglementMetric("mig")
    with pytest.raises(InputError, match="expected at least one call of update"):
        metric.result()
    with pytest.raises(InputError, match=r"expected shapes \[B, d\] and \[B, k\]"):
        metric.update(CODES, FACTORS[:5])
