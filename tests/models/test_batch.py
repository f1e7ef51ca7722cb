"""The mean image over batches."""

from __future__ import annotations

import pytest
import torch

from vaebias.models.batch import mean_image

SHAPE = (1, 64, 64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_mean_of_long_batches_is_that_in_doubles(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (150, *SHAPE), generator=generator, dtype=torch.uint8)
    expected = images.double().mean(0) / 255
    if dtype != torch.uint8:
        images = images.to(dtype) / 255
        expected = images.double().mean(0)
    found = mean_image([images[:140], images[140:]], SHAPE)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-15)


def test_no_images_have_mean_zero() -> None:
    assert torch.equal(mean_image([], SHAPE), torch.zeros(SHAPE, dtype=torch.float64))
    assert torch.equal(mean_image([torch.zeros(0, *SHAPE)], SHAPE), torch.zeros(SHAPE).double())
