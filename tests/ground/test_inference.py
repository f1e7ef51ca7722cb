from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaebias import models
from vaebias.data import load
from vaebias.errors import InputError
from vaebias.inference import check_repeatable, encode, evaluating


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(576)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.drop(self.norm(x.flatten(1)))[:, :3]
        return codes, codes - 1


def test_encoders_run_in_evaluation_mode_and_get_their_mode_back() -> None:
    encoder, grid = Encoder(), load("blobs")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    first, second = (
        encode(encoder, grid, np.arange(40)),
        encode(encoder.forward, grid, np.arange(40)),
    )
    assert (first[0] == second[0]).all()
    assert first[1] is not None
    assert np.allclose(first[1], first[0] - 1)
    assert encoder.training
    assert all((before[name] == value).all() for name, value in encoder.state_dict().items())


def test_batches_give_what_one_batch_gives() -> None:
    encoder, grid = Encoder(), load("blobs")
    seen: list[tuple[int, int]] = []
    parts = encode(
        encoder,
        grid,
        np.arange(10),
        batch=4,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert np.allclose(parts[0], encode(encoder, grid, np.arange(10))[0])
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_images_are_given_in_the_dtype_of_the_encoder() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(576, 3)).bfloat16()
    assert encode(encoder, load("blobs"), np.arange(4))[0].dtype == np.float32


def test_functions_that_answer_by_chance_are_refused() -> None:
    with pytest.raises(InputError, match=r"f: expected equal results .* dropout, or a sampled"):
        check_repeatable("f", nn.Dropout(), torch.ones(3, 8))
    with pytest.raises(InputError, match="encoder: expected equal results"):
        encode(lambda x: torch.randn(len(x), 3), load("blobs"), np.arange(4))


def test_functions_that_mix_the_rows_of_a_batch_are_refused() -> None:
    with pytest.raises(InputError, match=r"f: expected rows .* batch normalisation"):
        check_repeatable("f", lambda x: x - x.mean(0), torch.randn(3, 8))
    check_repeatable("f", lambda x: x.bfloat16() @ torch.eye(8).bfloat16(), torch.randn(3, 8))
    check_repeatable("f", lambda x: x, torch.randn(1, 8))


def test_codes_of_another_shape_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="encoder: expected codes"):
        encode(lambda x: x, load("blobs"), np.arange(4))


def test_modes_are_restored_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout())
    with pytest.raises(RuntimeError, match="within"):
        _fail_within(module)
    assert module[0].training


def _fail_within(module: nn.Module) -> None:
    with evaluating(module):
        assert not module[0].training
        raise RuntimeError("within")


def test_log_variances_of_our_own_models_may_all_be_positive() -> None:
    model = models.build("vae", (1, 24, 24), 3, {"name": "mlp", "hidden": [4]}, seed=0)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
        [*model.encoder.parameters()][-1].fill_(0.5)
    _, logvar = encode(model.encode, load("blobs"), np.arange(40))
    assert logvar is not None
    assert logvar.min() == 0.5
