from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebias.errors import InputError
from vaebias.models import Step, build
from vaebias.models.pcl import PCL

SHAPE = (1, 4, 4)


@pytest.fixture
def pcl() -> PCL:
    return cast(PCL, build("pcl", SHAPE, 3, {"name": "mlp", "hidden": [16]}, seed=0))


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_logit_at_the_start_is_the_formula_with_its_starting_values(pcl: PCL) -> None:
    h, h_next = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[1.5, -2.0, 1.0]])
    expected = -(0.5 + 0.0 + 2.0) + 0.1 * (1 + 4 + 9)
    assert pcl.logit(h, h_next).item() == pytest.approx(expected)


def test_weight_of_the_squares_counts_by_its_size_alone(pcl: PCL) -> None:
    h, h_next = torch.randn(2, 5, 3)
    before = pcl.logit(h, h_next)
    with torch.no_grad():
        pcl.a.neg_()
    torch.testing.assert_close(pcl.logit(h, h_next), before)


def test_loss_is_the_logistic_loss_of_true_and_shuffled_pairs(pcl: PCL) -> None:
    now, later = _images(6).chunk(2)
    h, _ = pcl.encode(now)
    h_next, _ = pcl.encode(later)
    logits = torch.cat([pcl.logit(h, h_next), pcl.logit(h, h_next[[2, 0, 1]])])
    labels = torch.tensor([1.0] * 3 + [0.0] * 3)
    total, parts, _ = pcl.loss((now, later), Step(0, 1, 0))
    torch.testing.assert_close(total, F.binary_cross_entropy_with_logits(logits, labels))
    assert parts["accuracy"].item() == pytest.approx(((logits > 0) == labels.bool()).float().mean())


def test_mean_image_is_taken_off(pcl: PCL) -> None:
    images = _images(10)
    pcl.prepare([images[:7], images[7:]], len(images))
    torch.testing.assert_close(pcl.mean, images.mean(0))
    codes, _ = pcl.encode(images.mean(0, keepdim=True))
    torch.testing.assert_close(codes, pcl.encoder(torch.zeros(1, *SHAPE)), rtol=1e-4, atol=1e-6)


def test_mean_of_bytes_is_exact_however_they_are_batched(pcl: PCL) -> None:
    images = (_images(50) * 255).to(torch.uint8)
    means = []
    for size in (1, 7, 50):
        pcl.prepare((images[start : start + size] for start in range(0, 50, size)), 50)
        means.append(pcl.mean.clone())
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])
    torch.testing.assert_close(means[0], (images / 255).mean(0))


def test_mean_image_is_part_of_the_state(pcl: PCL) -> None:
    pcl.prepare([_images(4)], 4)
    other = build("pcl", SHAPE, 3, {"name": "mlp", "hidden": [16]})
    other.load_state_dict(pcl.state_dict())
    torch.testing.assert_close(other.encode(_images(2))[0], pcl.encode(_images(2))[0])


def test_one_pair_cannot_be_shuffled(pcl: PCL) -> None:
    with pytest.raises(InputError, match="batch size: expected at least 2"):
        pcl.loss((_images(1), _images(1)), Step(0, 1, 0))


def test_pairs_are_expected(pcl: PCL) -> None:
    with pytest.raises(InputError, match="a pair of image batches, found Tensor"):
        pcl.loss(_images(2), Step(0, 1, 0))
