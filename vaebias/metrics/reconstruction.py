"""Error of images reconstructed from their codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.metric import METRICS, Result
from vaebias.ops import bernoulli_nll

__all__ = ["Reconstruction", "reconstruction", "reconstruction_errors"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Reconstruction(Result):
    """Error of the images decoded from the posterior means; ``score`` is the mean square.

    Attributes
    ----------
    nats
        Mean over images of the Bernoulli negative log-likelihood, summed over pixels, for
        decoders of logits; None for others, whose likelihood depends on a scale.
    """

    metric: ClassVar[str] = "reconstruction"
    nats: float | None


@METRICS.register("reconstruction", needs=("squared_error",), takes=("nats",), factors=False)
def reconstruction(
    codes: ArrayLike | Tensor | None = None,
    factors: ArrayLike | Tensor | None = None,
    *,
    squared_error: ArrayLike,  # [N]
    nats: ArrayLike | None = None,  # [N]
) -> Reconstruction:
    """Mean over images of their `reconstruction_errors`.

    Parameters
    ----------
    codes, factors
        Ignored; present for API consistency.
    squared_error
        Mean square over the pixels of each image, pixels in [0, 1].
    nats
        Bernoulli negative log-likelihood of each image.

    Raises
    ------
    InputError
        There are no images.
    """
    errors = np.asarray(squared_error, np.float64)
    if errors.ndim != 1 or not len(errors):
        raise InputError("squared_error", "shape [N], N >= 1", list(errors.shape))
    return Reconstruction(
        score=float(errors.mean()),
        settings={"samples": len(errors)},
        nats=None if nats is None else float(np.asarray(nats, np.float64).mean()),
    )


def reconstruction_errors(
    decoded: Tensor,  # [B, C, H, W]
    images: Tensor,  # [B, C, H, W]
    output: Literal["logits", "image"],
) -> dict[str, NDArray[np.float64]]:  # each [B]
    """Return the errors of each image: ``squared_error`` and, for logits, ``nats``.

    Raises
    ------
    InputError
        Shapes differ.
    """
    if decoded.shape != images.shape:
        raise InputError("decoder", f"images {list(images.shape)}", list(decoded.shape))
    prediction = decoded.sigmoid() if output == "logits" else decoded
    square = (prediction - images).square().flatten(1).mean(1)
    found = {"squared_error": square.double().cpu().numpy()}
    if output == "logits":
        found["nats"] = bernoulli_nll(decoded, images).double().cpu().numpy()
    return {name: np.asarray(values) for name, values in found.items()}
