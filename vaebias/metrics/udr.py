"""Unsupervised disentanglement ranking: agreement of models, without factors (Duan 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.linear_model import Lasso
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.inputs import as_codes, standardise
from vaebias.metrics.metric import Result
from vaebias.metrics.tables import as_array

__all__ = ["Similarity", "Udr", "agreement", "udr"]

Similarity = Literal["lasso", "spearman"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Udr(Result):
    """Agreement of models with each other; ``score`` is the mean over models.

    Attributes
    ----------
    per_model
        [M] median agreement of each model with the others, for ranking.
    agreement
        [M, M] agreement when model i's codes predict model j's; 0 on the diagonal.
    informative
        Number of latents of each model that were used.
    """

    metric: ClassVar[str] = "udr"
    per_model: NDArray[np.float64]
    agreement: NDArray[np.float64]
    informative: tuple[int, ...]


def udr(
    codes: Sequence[ArrayLike | Tensor],  # M of [N, d_m]
    kl: Sequence[ArrayLike | Tensor] | None = None,  # M of [d_m]
    *,
    similarity: Similarity = "lasso",
    threshold: float = 0.01,
) -> Udr:
    """Rank models that differ in their seed by how well their latents match one to one.

    Parameters
    ----------
    codes
        Encoder means of M >= 2 models on the same N images, in the same order.
    kl
        Mean KL of each latent to its prior, nats; latents at or below ``threshold`` are
        excluded. Without it, constant latents are.
    similarity
        ``"lasso"``: absolute coefficients (penalty .1) of one model's standardised codes
        predicting another's; ``"spearman"``: absolute rank correlations.
    threshold
        See ``kl``.

    Raises
    ------
    InputError
        Fewer than two models, codes of different lengths, or KL of another shape.

    References
    ----------
    Duan et al., Unsupervised model selection for variational disentangled representation
    learning, ICLR 2020, as in disentanglement_lib.
    """
    if similarity not in get_args(Similarity):
        raise InputError("similarity", " or ".join(get_args(Similarity)), repr(similarity))
    if len(codes) < 2:
        raise InputError("codes", "codes of at least two models", len(codes))
    models = [as_codes(one, f"codes[{m}]") for m, one in enumerate(codes)]
    lengths = [len(one) for one in models]
    if len(set(lengths)) > 1:
        raise InputError("codes", "as many rows for every model", lengths)
    masks = [(one != one[0]).any(0) for one in models]
    if kl is not None:
        given = [as_codes(np.atleast_2d(as_array(one)), f"kl[{m}]")[0] for m, one in enumerate(kl)]
        shapes = [len(mask) for mask in masks]
        if [len(one) for one in given] != shapes:
            found = [len(one) for one in given]
            raise InputError("kl", f"a number for each latent, {shapes}", found)
        masks = [m & (one > threshold) for m, one in zip(masks, given, strict=True)]
    tables = [standardise(one, by=one)[:, mask] for one, mask in zip(models, masks, strict=True)]
    pairs = np.zeros((len(tables), len(tables)))
    for i, one in enumerate(tables):
        for j, other in enumerate(tables):
            if i != j and one.size and other.size:
                pairs[i, j] = agreement(_similarity(one, other, similarity))
    others = pairs[~np.eye(len(tables), dtype=bool)]
    per_model = np.array([np.median(np.delete(pairs[:, j], j)) for j in range(len(tables))])
    return Udr(
        score=float(others.mean()),
        settings={"similarity": similarity, "threshold": threshold, "samples": lengths[0]},
        per_model=per_model,
        agreement=pairs,
        informative=tuple(int(mask.sum()) for mask in masks),
    )


def agreement(
    table: NDArray[np.float64],  # [d, d'] similarities >= 0
) -> float:
    """Return max² / sum, averaged over columns and over rows; empty ones count as 0."""
    return float(np.mean([_strength(table), _strength(table.T)]))


def _strength(table: NDArray[np.float64]) -> float:
    total = table.sum(0)
    strength = np.divide(table.max(0) ** 2, total, out=np.zeros_like(total), where=total > 0)
    return float(strength.mean())


def _similarity(
    one: NDArray[np.float64],  # [N, d]
    other: NDArray[np.float64],  # [N, d']
    similarity: Similarity,
) -> NDArray[np.float64]:  # [d, d']
    if similarity == "lasso":
        coefficients = Lasso(alpha=0.1).fit(one, other).coef_
        return np.abs(np.reshape(coefficients, (other.shape[1], one.shape[1]))).T
    a, b = (rankdata(table, axis=0) for table in (one, other))
    a, b = standardise(a, by=a), standardise(b, by=b)
    return np.asarray(np.abs(a.T @ b / len(a)))
