"""Metrics of vaebias with the interface of torchmetrics: update, compute, reset."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics import METRICS, Score

try:
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ImportError as error:
    raise ImportError(
        "vaebias.integrations.torchmetrics needs torchmetrics: pip install vaebias[lightning]"
    ) from error

__all__ = ["DisentanglementMetric"]


class DisentanglementMetric(Metric):
    """Collect codes and factors batch by batch, and score them with any metric of vaebias.

    Parameters
    ----------
    metric
        Name of a metric of codes and factors, such as ``"mig"``, ``"dci"`` or ``"mcc"``.
    options
        Further arguments of the metric, such as ``bins=20`` or ``names=["x", "y"]``.

    Examples
    --------
    >>> import torch
    >>> score = DisentanglementMetric("mig")
    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    >>> for batch in factors.split(8):
    ...     score.update(batch.float(), batch)
    >>> float(score.compute())
    1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    codes: list[Tensor]
    factors: list[Tensor]

    def __init__(self, metric: str = "mig", **options: Any) -> None:
        super().__init__()
        signature = METRICS.signature(metric)
        if signature.needs:
            raise InputError("metric", "a metric of codes and factors alone", repr(metric))
        self.metric = metric
        self.options = options
        self.add_state("codes", default=[], dist_reduce_fx="cat")
        self.add_state("factors", default=[], dist_reduce_fx="cat")

    def update(self, codes: Tensor, factors: Tensor) -> None:
        """Add encoder means [B, d] and factors [B, k] of a batch."""
        if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
            found = f"{list(codes.shape)} and {list(factors.shape)}"
            raise InputError("codes, factors", "shapes [B, d] and [B, k]", found)
        self.codes.append(codes.detach())
        self.factors.append(factors.detach())

    def result(self) -> Score:
        """Return the complete result of what was collected: matrices, scores of factors."""
        if not self.codes:
            raise InputError("codes", "at least one call of update", "none")
        codes, factors = dim_zero_cat(self.codes), dim_zero_cat(self.factors)
        return METRICS[self.metric](codes, factors, **self.options)

    def compute(self) -> Tensor:
        """Return the score as a tensor []."""
        return torch.tensor(self.result().score, dtype=torch.float64)
