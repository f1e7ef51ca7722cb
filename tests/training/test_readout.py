from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vaebias import checkpoints
from vaebias.analysis import diagnose
from vaebias.data import FactorGrid, load
from vaebias.errors import InputError
from vaebias.models import Objective, build
from vaebias.training import encode_grid, fit, fit_readout

TINY = {"name": "mlp", "hidden": [32]}


@pytest.fixture(scope="module")
def grid() -> FactorGrid:
    return load("blobs", levels=(6, 6, 2), width=8)


@pytest.fixture
def trained(grid: FactorGrid) -> Objective:
    objective = build("pcl", grid.image_shape, 3, TINY, seed=0, readout="gaussian")
    fit(objective, grid, 60, 32, 1e-2, 0, "one-cycle", pair_rate=3)
    return objective


def test_decoder_has_no_part_in_the_contrast(grid: FactorGrid, trained: Objective) -> None:
    plain = build("pcl", grid.image_shape, 3, TINY, seed=0)
    fit(plain, grid, 60, 32, 1e-2, 0, "one-cycle", pair_rate=3)
    state = trained.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in plain.state_dict().items())
    untrained = build("pcl", grid.image_shape, 3, TINY, seed=0, readout="gaussian").state_dict()
    decoder = [name for name in state if name.startswith("decoder.")]
    assert decoder
    assert all(torch.equal(state[name], untrained[name]) for name in decoder)


def test_readout_decodes_the_codes_and_leaves_them(grid: FactorGrid, trained: Objective) -> None:
    codes, _ = encode_grid(trained, grid)
    history = fit_readout(trained, grid, 400, 32, 1e-2)
    assert torch.equal(encode_grid(trained, grid)[0], codes)
    assert history.values["loss"][-1] < history.values["loss"][0]
    images = torch.from_numpy(grid.images(range(len(grid))))
    with torch.no_grad():
        error = (trained.decode(codes) - images).square().mean()
    assert error < images.var(0).mean() / 4
    assert not trained.training
    assert not any(p.requires_grad for p in trained.decoder.parameters())  # type: ignore[union-attr]


def test_readout_is_saved_with_the_model_and_can_be_diagnosed(
    grid: FactorGrid, trained: Objective, tmp_path: Path
) -> None:
    fit_readout(trained, grid, 20, 32)
    checkpoints.save(tmp_path / "pcl.safetensors", trained, {})
    model = checkpoints.load(tmp_path / "pcl.safetensors")
    codes, _ = encode_grid(trained, grid)
    assert model.decoder is not None
    assert torch.equal(model.decoder(codes), trained.decode(codes))
    assert model.output == "image"
    assert "DtO" in diagnose(model.decoder, codes[:20], output=model.output).summary()


def test_readout_of_logits_is_scored_as_bernoulli(grid: FactorGrid) -> None:
    objective = build("pcl", grid.image_shape, 3, TINY, seed=0, readout="bernoulli")
    assert objective.output == "logits"
    history = fit_readout(objective, grid, 100, 32, 1e-2, log_every=50)
    assert history.values["loss"][-1] < history.values["loss"][0]


@pytest.mark.parametrize("name", ["pcl", "beta_vae"])
def test_objective_without_a_readout_is_refused(grid: FactorGrid, name: str) -> None:
    with pytest.raises(InputError, match="expected pcl with readout=bernoulli or gaussian"):
        fit_readout(build(name, grid.image_shape, 3, TINY), grid, 1)


def test_unknown_readout_is_refused(grid: FactorGrid) -> None:
    with pytest.raises(InputError, match="readout: expected none, bernoulli or gaussian"):
        build("pcl", grid.image_shape, 3, TINY, readout="laplace")
