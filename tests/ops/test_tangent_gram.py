from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.errors import InputError
from vaebias.ops import tangent_gram
from vaebias.ops.tangent_gram import tangent_gram_reference

# Around the 256 pixels of a strip and the 64 of a run or tile.
PIXELS = [0, 1, 63, 64, 65, 255, 256, 257, 512, 1500]


def points(M, P, N, k, dtype=torch.float32, device="cpu", seed=0):
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(M, P, generator=g, dtype=dtype)
    neighbours = torch.randint(-1, M, (N, k, 2), generator=g)
    centres = torch.randint(0, M, (N,), generator=g)
    return images.to(device), neighbours.to(device), centres.to(device)


@pytest.mark.parametrize("P", PIXELS)
@pytest.mark.parametrize("k", [1, 3, 24])
@pytest.mark.parametrize("one_sided", [False, True])
def test_equals_its_reference(P, k, one_sided, dtype, device, close, same_gradients):
    images, neighbours, centres = points(9, P, 7, k, dtype, device)
    centres = centres if one_sided else None
    close(
        tangent_gram(images, neighbours, centres),
        tangent_gram_reference(images, neighbours, centres),
    )
    if P:
        same_gradients(
            lambda x: tangent_gram(x, neighbours, centres),
            lambda x: tangent_gram_reference(x, neighbours, centres),
            images,
        )


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 6), st.integers(0, 40), st.integers(0, 5), st.integers(0, 5), st.integers(0, 99)
)
def test_equals_its_reference_for_any_shape(M, P, N, k, seed):
    images, neighbours, centres = points(M, P, N, k, torch.float64, seed=seed)
    torch.testing.assert_close(
        tangent_gram(images, neighbours, centres),
        tangent_gram_reference(images, neighbours, centres),
    )


def test_bytes_multiply_exactly_in_their_own_units(device):
    images, neighbours, _ = points(8, 5000, 6, 4, device=device)
    neighbours = neighbours.clamp_min(0)
    bytes_ = (255 * images).to(torch.uint8)
    found = tangent_gram(bytes_, neighbours)
    assert torch.equal(found, tangent_gram(bytes_.double(), neighbours).float())


@pytest.mark.parametrize("P", PIXELS)
@pytest.mark.parametrize("k", [1, 4, 7])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_a_flat_background_changes_nothing(P, k, share, device):
    """Runs of pixels in which no image changes are passed over, wherever they are."""
    images, neighbours, centres = points(9, P, 12, k, device=device)
    g = torch.Generator().manual_seed(1)
    runs = torch.rand(P // 16 + 1, generator=g) < share
    changes = runs.repeat_interleave(16)[:P].to(device)
    bytes_ = torch.where(changes, (255 * images).to(torch.uint8), 7)
    found = tangent_gram(bytes_, neighbours, centres)
    expected = tangent_gram_reference(bytes_.double(), neighbours, centres)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("P", [63, 64, 200, 4096, 4100, 9000])
@pytest.mark.parametrize("uses", [5, 40], ids=["few uses", "many uses"])
def test_sprites_on_a_background_of_any_colour(P, uses, device):
    """Where images are used often, the runs in which they are flat are found first."""
    _, neighbours, centres = points(9, 1, uses, 3, device=device)
    g = torch.Generator().manual_seed(2)
    images = torch.full((9, P), 200, dtype=torch.uint8)
    for image in images[:8]:  # a single pixel, or more; the last image is flat
        first, width = (int(torch.randint(0, n, (1,), generator=g)) for n in (P, P // 4))
        image[first : first + width + 1] = 3
    images = images.to(device)
    found = tangent_gram(images, neighbours, centres)
    expected = tangent_gram_reference(images.double(), neighbours, centres)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=0)


def test_the_result_does_not_depend_on_the_number_of_threads():
    images, neighbours, centres = points(50, 300, 3000, 4)
    images = (255 * images).to(torch.uint8)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 3):
            torch.set_num_threads(n)
            results.append(tangent_gram(images, neighbours, centres))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_linear_images_have_the_gram_of_their_factors(device, close):
    """x(w) = A w on a grid: tangents are the columns of A, wherever one stands."""
    A = torch.randn(50, 2, dtype=torch.float64, device=device)
    w = torch.cartesian_prod(torch.arange(3), torch.arange(3)).to(A)
    corner, middle = [[3, -1], [1, -1]], [[7, 1], [5, 3]]
    neighbours = torch.tensor([corner, middle], device=device)
    gram = tangent_gram(w @ A.T, neighbours, torch.tensor([0, 4], device=device))
    close(gram, (A.T @ A).expand(2, 2, 2))


def test_a_factor_with_a_missing_neighbour_has_no_tangent_unless_the_centre_is_given(device):
    images, _, _ = points(4, 30, 1, 2, device=device)
    neighbours = torch.tensor([[[1, -1], [2, 3]]], device=device)
    gram = tangent_gram(images, neighbours)[0]
    assert gram[0].tolist() == [0, 0]
    assert gram[1, 1] > 0
    assert tangent_gram(images, neighbours, torch.tensor([0], device=device))[0, 0, 0] > 0


def test_an_index_past_the_images_is_refused_on_the_cpu_and_nan_on_cuda(device):
    images, _, _ = points(4, 30, 1, 2, device=device)
    neighbours = torch.tensor([[[4, 0], [2, 3]]], device=device)
    if device == "cpu":
        with pytest.raises(InputError, match=r"^neighbours: .*below the 4 images.*found 4"):
            tangent_gram(images, neighbours)
    else:
        gram = tangent_gram(images, neighbours)[0]
        assert gram.isnan().tolist() == [[True, True], [True, False]]


def test_nan_and_huge_pixels_reach_only_their_own_tangents(device):
    images, _, _ = points(4, 700, 1, 2, device=device)
    images[1, 600] = math.nan
    gram = tangent_gram(images, torch.tensor([[[1, 0], [2, 3]]], device=device))[0]
    assert gram.isnan().tolist() == [[True, True], [True, False]]
    # 1e18 squared, over 700 pixels, is still a float; the sum is taken in strips of doubles.
    images = torch.full((2, 700), 1e18, device=device)
    images[1] = -1e18
    gram = tangent_gram(images, torch.tensor([[[0, 1]]], device=device))
    torch.testing.assert_close(gram.flatten().cpu(), torch.tensor([700 * 1e36]))


def test_views_are_read_in_their_own_order(device, close):
    images, neighbours, _ = points(6, 80, 5, 3, device=device)
    images, neighbours = images.T.contiguous().T, neighbours.flip(0)[::2]
    close(tangent_gram(images, neighbours), tangent_gram_reference(images, neighbours))


def test_gradients_are_those_of_finite_differences_and_sum_over_uses():
    images, neighbours, centres = points(3, 4, 5, 2, torch.float64)
    images.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tangent_gram(x, neighbours, centres), images)


def test_operator_passes_opcheck_and_compiles(torch_device):
    images, neighbours, centres = points(4, 9, 3, 2, torch.float64, torch_device)
    images.requires_grad_()
    plus, minus = neighbours.clamp_min(0).unbind(-1)
    step = torch.full(plus.shape, 0.5, dtype=torch.float64, device=torch_device)
    torch.library.opcheck(torch.ops.vaebias.tangent_gram.default, (images, plus, minus, step))
    compiled = torch.compile(
        lambda x: tangent_gram(x, neighbours, centres), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(images), tangent_gram(images, neighbours, centres))


def test_errors_name_the_argument():
    images, neighbours, centres = points(4, 9, 3, 2)
    cases = {
        "images": lambda: tangent_gram(images[0], neighbours),
        "neighbours": lambda: tangent_gram(images, neighbours[..., :1]),
        "neighbours: expected torch.int64": lambda: tangent_gram(images, neighbours.int()),
        "centres": lambda: tangent_gram(images, neighbours, centres[:2]),
        "neighbours: expected shape": lambda: tangent_gram(images, torch.zeros(1, 65, 2).long()),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()
