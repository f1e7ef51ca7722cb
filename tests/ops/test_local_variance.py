from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from vaebias.errors import InputError
from vaebias.ops import local_variance
from vaebias.ops.local_variance import MODES, local_variance_reference

# Windows around powers of two, where doubling changes its steps, and wider than the image.
WINDOWS = [1, 3, 5, 7, 9, 15, 17]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", WINDOWS)
def test_equals_its_reference(mode, window, dtype, device, close, same_gradients):
    images = torch.rand(2, 3, 17, 21, dtype=dtype, device=device)
    found = local_variance(images, window, mode)
    close(found, local_variance_reference(images, window, mode))
    same_gradients(
        lambda x: local_variance(x, window, mode),
        lambda x: local_variance_reference(x, window, mode),
        images,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", [3, 9, 11, 31])
@pytest.mark.parametrize("W", [1, 7, 8, 9, 31, 65, 121])
def test_columns_fall_into_groups_and_strips_of_any_width(W, window, mode, device, close):
    # CUDA takes eight windows side by side, 120 in a strip and 64 in a band of rows.
    images = torch.rand(1, 1, 66 if W == 9 else 12, W, device=device)
    if mode == "valid":
        window = min(window, 11, W - 1 + W % 2)
    close(local_variance(images, window, mode), local_variance_reference(images, window, mode))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_values_need_no_aligned_address(dtype, device, close):
    shape = (2, 1, 6, 12)
    values = torch.randint(0, 256, (2 * 6 * 12 + 1,), device=device).to(dtype)
    found = local_variance(values[1:].view(shape), 5)
    close(found, local_variance_reference(values[1:].view(shape), 5))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 1, 5, 200), (1, 2, 130, 3), (0, 1, 4, 4), (1, 1, 0, 4)]
)
def test_odd_and_empty_shapes(shape, device, close):
    images = torch.rand(shape, device=device)
    found = local_variance(images, 3)
    assert found.shape == shape
    if images.numel():
        close(found, local_variance_reference(images, 3))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 12).map(lambda r: 2 * r + 1),
    st.sampled_from(["reflect", "nearest", "constant"]),
    st.integers(0, 99),
)
def test_agrees_with_scipy_ndimage_for_windows_of_any_size(H, W, window, mode, seed):
    image = np.random.default_rng(seed).random((H, W))
    mean = uniform_filter(image, window, mode=mode)
    expected = uniform_filter(image**2, window, mode=mode) - mean**2
    found = local_variance(torch.from_numpy(image)[None, None], window, mode)[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("window", [3, 9, 11, 13, 257, 259])
def test_bytes_are_summed_exactly(window, device):
    images = torch.randint(0, 256, (1, 1, 40, 33), dtype=torch.uint8, device=device)
    images[..., :20, :] = 255
    found = local_variance(images, window)
    assert found.dtype == torch.float32
    assert torch.equal(found, local_variance(images.double(), window).float())


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6, -1e6])
def test_flat_image_has_zero_variance_at_any_offset(offset, dtype, device):
    images = torch.full((1, 2, 30, 31), offset, dtype=dtype, device=device)
    assert torch.count_nonzero(local_variance(images, 7)) == 0


def test_a_common_offset_changes_nothing(device):
    images = torch.randint(0, 64, (1, 1, 20, 20), device=device).float()
    assert torch.equal(local_variance(images, 5), local_variance(images + 2.0**20, 5))


@pytest.mark.parametrize("size", [1e-15, 1e15, 1e30])
def test_tiny_and_huge_images_have_their_variance_or_infinity(size, dtype, device, close):
    images = torch.rand(1, 2, 9, 10, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    found = local_variance(images * size, 3)
    if dtype == torch.float32 and size == 1e30:  # whose square is none
        assert found.isposinf().all()
    else:
        close(found / size**2, local_variance_reference(images, 3))


def test_nan_reaches_only_the_windows_that_hold_it(device):
    images = torch.rand(1, 1, 20, 20, device=device)
    images[0, 0, 10, 4] = math.nan
    found = local_variance(images, 5).isnan()[0, 0].nonzero()
    assert found.min(0).values.tolist() == [8, 2]
    assert found.max(0).values.tolist() == [12, 6]
    assert len(found) == 25


def test_views_are_read_in_their_own_order(device, close):
    images = torch.rand(3, 9, 12, 2, device=device).permute(0, 3, 1, 2)[:, :, ::2]
    close(local_variance(images, 3), local_variance_reference(images, 3))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_finite_differences(mode):
    images = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_variance(x, 3, mode), images)


def test_operator_passes_opcheck_and_compiles(torch_device):
    images = torch.rand(1, 1, 6, 5, dtype=torch.float64, device=torch_device, requires_grad=True)
    torch.library.opcheck(torch.ops.vaebias.local_variance.default, (images, 3, "reflect"))
    compiled = torch.compile(
        lambda x: local_variance(x, 3).sum(), fullgraph=True, backend="aot_eager"
    )
    found, expected = (
        torch.autograd.grad(f(images), images)[0]
        for f in (compiled, lambda x: local_variance(x, 3).sum())
    )
    torch.testing.assert_close(found, expected)


def test_errors_name_the_argument():
    images = torch.rand(1, 1, 8, 8)
    cases = {
        "images": lambda: local_variance(images[0], 3),
        "images: expected torch.uint8": lambda: local_variance(images.long(), 3),
        "window": lambda: local_variance(images, 4),
        "window: expected at most": lambda: local_variance(images, 9, "valid"),
        "mode": lambda: local_variance(images, 3, "wrap"),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()
