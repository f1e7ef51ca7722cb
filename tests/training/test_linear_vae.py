"""A linear VAE of Gaussian data has a closed form: Rolinek et al. 2019, Lucas et al. 2019."""

from __future__ import annotations

import math

import numpy as np
import torch

from vaebias.data import ArrayGrid, Factor
from vaebias.models import build
from vaebias.training import encode_grid, fit

LINEAR = {"name": "mlp", "hidden": []}


def test_linear_vae_finds_principal_components_and_switches_off_those_below_half_beta() -> None:
    """With a weight of 1 on the squared error, l the variance of a principal component.

    Its latent is active iff l > beta/2, has posterior variance min(1, beta/(2 l)) and a decoder
    column of squared length l - beta/2 along the component. The noise of batches moves weights
    about the optimum: batches are large, and the learning rate ends near 0.
    """
    rng = np.random.default_rng(0)
    beta, variances = 1.0, np.array([4.0, 2.0, 1.0, 0.25, 0.12, 0.06])
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    draws = rng.normal(size=(1024, 6))
    white = np.linalg.svd(draws - draws.mean(0), full_matrices=False)[0] * math.sqrt(1024)
    pixels = (white * np.sqrt(variances)) @ axes.T
    levels = [Factor("number", np.arange(1024))]
    grid = ArrayGrid(
        "gaussian",
        levels,
        pixels.reshape(-1, 1, 1, 6).astype(np.float32),
        "rendered",
        kind="values",
    )
    objective = build(
        "beta_vae", (1, 1, 6), 5, LINEAR,
        seed=0, likelihood="gaussian", scale=math.sqrt(0.5), beta=beta,
    )  # fmt: skip
    fit(objective, grid, 1000, 4096, 0.05, 0, "one-cycle", log_every=1000)

    mu, logvar = encode_grid(objective, grid)
    assert logvar is not None
    variance, order = logvar.exp().mean(0).sort()
    np.testing.assert_allclose(variance, np.minimum(1, beta / 2 / variances[:5]), rtol=0.01)
    weight = next(objective.decoder.parameters()).detach()[:, order]  # type: ignore[union-attr]
    active = variances[:5] > beta / 2
    assert ((mu[:, order].std(0) > 0.1).numpy() == active).all()
    squared = (weight.numpy() ** 2).sum(0)
    np.testing.assert_allclose(squared[active], variances[:3] - beta / 2, rtol=0.01)
    assert (squared[~active] < 1e-3).all()
    along = torch.nn.functional.normalize(weight[:, active], dim=0).numpy()
    np.testing.assert_allclose(abs(axes[:, :3].T @ along), np.eye(3), atol=0.02)
