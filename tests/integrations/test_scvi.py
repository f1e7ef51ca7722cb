"""The recipe of docs/your-own.md for counts, with the real scvi-tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebias.analysis import Diagnosis, diagnose

scvi = pytest.importorskip("scvi", reason="scvi-tools is not installed")

CELLS, GENES, DISPERSION = 600, 40, 5.0


def _counts() -> Tensor:
    """Return counts whose logarithms have three programmes, each of its own genes."""
    rng = np.random.default_rng(0)
    loadings = np.zeros((3, GENES))
    for programme, strength in enumerate((1.0, 0.7, 0.5)):
        loadings[programme, 12 * programme : 12 * (programme + 1)] = strength
    rate = np.exp(rng.normal(size=(CELLS, 3)) @ loadings + 1)
    counts = rng.negative_binomial(DISPERSION, DISPERSION / (DISPERSION + rate))
    return torch.from_numpy(counts.astype(np.float32))


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Tensor]:
    import anndata

    scvi.settings.seed = 0
    table = anndata.AnnData(_counts().numpy())
    scvi.model.SCVI.setup_anndata(table)
    model = scvi.model.SCVI(table, n_hidden=32, n_latent=4, gene_likelihood="nb")
    model.train(
        max_epochs=60,
        accelerator="cpu",
        enable_progress_bar=False,
        plan_kwargs={"n_epochs_kl_warmup": 10},  # after which the KL counts in full: beta is 1
    )
    return model.module, _counts()


def _diagnose(module: Any, counts: Tensor, **likelihood: Any) -> Diagnosis:
    depth = counts.sum(1).log().mean()  # every cell is decoded at the mean sequencing depth

    def batch(rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), 1, dtype=torch.long)

    def encode(x: Tensor) -> torch.distributions.Distribution:
        found: torch.distributions.Distribution = module.inference(x, batch_index=batch(x))["qz"]
        return found

    def decode(z: Tensor) -> Tensor:
        mean: Tensor = module.generative(z, depth.expand(len(z), 1), batch(z))["px"].mean
        return mean

    return diagnose(
        decode,
        encoder=encode,
        images=counts,
        index=range(128),
        neighbours=20,
        output="image",
        beta=1.0,
        **likelihood,
    )


@pytest.mark.filterwarnings("ignore")
def test_a_vae_of_counts_is_diagnosed_with_the_curvature_of_its_likelihood(
    trained: tuple[Any, Tensor],
) -> None:
    module, counts = trained
    found = _diagnose(
        module, counts, likelihood="negative_binomial", dispersion=module.px_r.detach().exp()
    )
    assert found.differentiation == "forward"
    assert found.pixels == GENES
    assert found.price is not None
    assert found.prediction is not None
    ratio = np.exp(np.log(found.prediction.ratio).mean())
    wrong = _diagnose(module, counts, likelihood="gaussian").prediction
    assert wrong is not None
    assert abs(np.log(ratio)) < np.log(1.5)  # the encoder's variances are those of this likelihood
    assert abs(np.log(wrong.ratio).mean()) > np.log(2)
