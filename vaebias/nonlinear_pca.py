"""A beta-VAE as a scikit-learn estimator: nonlinear principal component analysis.

The functions that it applies to a trained decoder are in ``vaebias.analysis`` and work with any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from vaebias import models, training
from vaebias.analysis.nonlinear_pca import latent_variances, principal_curve
from vaebias.data.array_grid import ArrayGrid
from vaebias.data.factor import Factor
from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.checkpoints import Model

__all__ = ["NonlinearPCA"]

Floats = NDArray[np.floating[Any]]


class NonlinearPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Principal components that bend: the latents of a beta-VAE, ordered by explained variance.

    A beta-VAE turns its latents to the local principal directions of the data (Rolinek et
    al. 2019); a linear one finds the principal components themselves. It leaves components
    passive whose variance is below a threshold, so that ``n_components`` is an upper bound.

    Parameters
    ----------
    n_components
        Number of latents.
    threshold
        Share of the total variance that a direction must have to be coded: beta times the
        variance of the Gaussian likelihood, which is the condition of the linear beta-VAE.
        The smaller it is, the more the curves may bend.
    hidden
        Widths of the encoder's layers; the decoder has them in reverse.
    steps, batch_size, learning_rate
        Learning rate of Adam, with a one-cycle schedule.
    random_state
        Seed of weights, batches and noise: an int, a ``RandomState``, or None.

    Attributes
    ----------
    explained_variance_, explained_variance_ratio_
        [n_components] variance that each component is responsible for (Sobol's total index,
        see `vaebias.analysis.latent_variances`), falling, and as a share of the data's.
    reconstruction_r2_
        Share of the data's variance that all components explain together.
    codes_
        [n_samples, n_components] of the data it was fitted to.
    model_
        The trained ``vaebias.models.Objective``, on centred and scaled rows; None for an
        estimator made by `from_model`.
    n_features_in_, n_iter_
        Number of features; steps taken.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019. Kramer, AIChE Journal 1991 (nonlinear PCA by an
    autoencoder).

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(200, 3)) * [3, 1, 0.1]
    >>> pca = NonlinearPCA(2, hidden=(32,), steps=100, random_state=0).fit(rows)
    >>> pca.transform(rows).shape
    (200, 2)
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        threshold: float = 0.01,
        hidden: Sequence[int] = (128, 128),
        steps: int = 3000,
        batch_size: int = 128,
        learning_rate: float = 5e-3,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.threshold = threshold
        self.hidden = hidden
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> NonlinearPCA:  # X [N, P]
        """Train on the rows of X, then order the latents; y is not looked at."""
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        if not (isinstance(self.n_components, (int, np.integer)) and self.n_components >= 1):
            raise InputError("n_components", "an integer of 1 or more", self.n_components)
        if not self.threshold > 0:
            raise InputError("threshold", "a positive share of the variance", self.threshold)
        seed = int(check_random_state(self.random_state).randint(2**31))
        centre = rows.mean(0)
        # one scale for all features, so that their directions stay what they are
        spread = float(np.sqrt(((rows - centre) ** 2).sum(1).mean())) or 1.0
        objective = models.build(
            "beta_vae",
            (1, 1, rows.shape[1]),
            int(self.n_components),
            {"name": "mlp", "hidden": list(self.hidden)},
            seed=seed,
            beta=1.0,
            warmup=self.steps // 6,
            likelihood="gaussian",
            scale=self.threshold**0.5,
        )
        images = ((rows - centre) / spread).astype(np.float32)[:, None, None]
        grid = ArrayGrid(
            "rows", [Factor("row", np.arange(len(rows)))], images, "real", kind="values"
        )
        training.fit(
            objective,
            grid,
            self.steps,
            self.batch_size,
            self.learning_rate,
            seed,
            "one-cycle",
        )
        # float64 from here on: a row's code does not depend on which rows are beside it
        self.model_: models.Objective | None = objective.double().eval()
        self._centre, self._spread = centre, spread
        self.n_iter_ = self.steps
        self._order(rows)
        return self

    @classmethod
    def from_model(cls, model: Model, X: ArrayLike) -> NonlinearPCA:  # X [N, P] or [N, C, H, W]
        """Make a fitted estimator of a trained checkpoint (``vaebias.checkpoints.load``).

        Parameters
        ----------
        model
            Any with a decoder; its rows are flattened images in units 0..1.
        X
            Data by which its latents are ordered.

        Raises
        ------
        InputError
            Where the model has no decoder.
        """
        if model.decoder is None:
            raise InputError("model", "one with a decoder", model.name)
        estimator = cls(model.latents)
        rows = np.asarray(X, np.float64).reshape(len(np.asarray(X)), -1)
        estimator.model_ = None
        estimator._checkpoint = model
        estimator._centre, estimator._spread = np.zeros(rows.shape[1]), 1.0
        estimator.n_iter_ = 0
        estimator._order(validate_data(estimator, rows, dtype=np.float64))
        return estimator

    def transform(self, X: ArrayLike) -> Floats:  # [N, P] -> [N, n_components]
        """Encoder means, the component that explains most first."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        codes = self._encode(rows)[:, self._ranks].numpy()
        return np.asarray(codes, rows.dtype)

    def inverse_transform(self, X: ArrayLike) -> Floats:  # [N, n_components] -> [N, P]
        """Decode codes: the rows that they stand for."""
        check_is_fitted(self)
        codes = torch.as_tensor(np.asarray(X, np.float64))
        if codes.ndim != 2 or codes.shape[1] != len(self._ranks):
            raise InputError("X", f"codes [N, {len(self._ranks)}]", list(codes.shape))
        return np.asarray(self._rows(self._decode(self._latents(codes))))

    def principal_curve(
        self, component: int, points: int = 50, start: ArrayLike | None = None
    ) -> Floats:  # [points, P]
        """Trace a component from its 2nd to its 98th percentile.

        Parameters
        ----------
        component
            Its rank, 0 for the one that explains most.
        points
            How many points of the curve.
        start
            [n_components] codes at which the others stay; by default the data's most central.

        Raises
        ------
        InputError
            Where there is no such component.
        """
        check_is_fitted(self)
        codes = self._latents(torch.as_tensor(self.codes_))
        if not 0 <= component < len(self._ranks):
            raise InputError("component", f"0..{len(self._ranks) - 1}", component)
        place = None
        if start is not None:
            place = self._latents(torch.as_tensor(np.asarray(start, np.float64))[None])[0]
        latent = int(self._ranks[component])
        return self._rows(
            principal_curve(self._decode, codes, latent, points=points, start=place).points
        )

    @property
    def _n_features_out(self) -> int:
        return len(self._ranks)

    def _order(self, rows: Floats) -> None:
        codes = self._encode(rows)
        variances = latent_variances(self._decode, codes).numpy() * self._spread**2
        self._ranks = np.argsort(-variances, kind="stable")
        total = float(rows.var(0).sum())
        self.explained_variance_ = variances[self._ranks]
        self.explained_variance_ratio_ = self.explained_variance_ / (total or 1.0)
        self.codes_ = codes[:, self._ranks].numpy()
        error = ((self._rows(self._decode(codes)) - rows) ** 2).sum(1).mean()
        self.reconstruction_r2_ = float(1 - error / (total or 1.0))

    def _latents(self, codes: Tensor) -> Tensor:
        """Codes by rank as the model's own latents."""
        latents = torch.empty_like(codes)
        latents[:, self._ranks] = codes
        return latents

    def _rows(self, images: Tensor) -> Floats:
        return np.asarray(images.numpy() * self._spread + self._centre)

    @torch.no_grad()
    def _encode(self, rows: Floats) -> Tensor:
        scaled = torch.as_tensor((rows - self._centre) / self._spread)
        if self.model_ is not None:
            return self.model_.encode(scaled[:, None, None])[0]
        images = scaled.float().unflatten(1, self._checkpoint.image_shape)
        codes: Tensor = self._checkpoint.encoder(images)[0].double()
        return codes

    @torch.no_grad()
    def _decode(self, z: Tensor) -> Tensor:
        if self.model_ is not None:
            return self.model_.decode(z).flatten(1)
        decoder = self._checkpoint.decoder
        assert decoder is not None
        images: Tensor = decoder(z.float()).flatten(1).double()
        return images.sigmoid() if self._checkpoint.output == "logits" else images
