from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.errors import InputError
from vaebias.ops import direction_cosines
from vaebias.ops.direction_cosines import direction_cosines_reference

# (B, P, d, k) around the strip of 256 pixels and blocks of 4 columns on the CPU, and the 16 pixels
# and groups of 8 columns on CUDA, of which a block takes two.
SHAPES = [
    *((1, 1, 1, 1), (3, 63, 2, 5), (2, 64, 4, 4), (2, 65, 33, 3), (4, 255, 3, 7)),
    *((2, 15, 8, 9), (3, 16, 9, 8), (2, 17, 16, 17), (2, 144, 10, 5)),
    *((2, 256, 8, 33), (3, 257, 31, 32), (1, 513, 40, 41), (2, 9, 3, 0), (2, 9, 0, 3)),
]


def directions(B, P, d, k, dtype=torch.float64, device="cpu", seed=0):
    g = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(B, d, P, generator=g, dtype=dtype)
    components = torch.randn(B, k, P, generator=g, dtype=dtype) + 0.5
    return jacobian.to(device), components.to(device)


@pytest.mark.parametrize(("B", "P", "d", "k"), SHAPES)
@pytest.mark.parametrize("latent_axis", [1, 2])
def test_equals_its_reference(B, P, d, k, latent_axis, dtype, device, close, same_gradients):
    jacobian, components = directions(B, P, d, k, dtype, device)
    jacobian = jacobian if latent_axis == 1 else jacobian.mT.contiguous()
    found = direction_cosines(jacobian, components, latent_axis=latent_axis)
    assert found.shape == (B, d, k)
    close(found, direction_cosines_reference(jacobian, components, latent_axis=latent_axis))
    same_gradients(
        lambda *x: direction_cosines(*x, latent_axis=latent_axis),
        lambda *x: direction_cosines_reference(*x, latent_axis=latent_axis),
        jacobian,
        components,
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 4), st.integers(0, 300), st.integers(0, 9), st.integers(0, 9))
def test_equals_its_reference_for_any_shape(B, P, d, k):
    x = directions(B, P, d, k)
    found = direction_cosines(*x, latent_axis=1)
    torch.testing.assert_close(found, direction_cosines_reference(*x, latent_axis=1))


def test_a_decoder_that_copies_the_components_has_cosines_of_one(dtype, device, close):
    components = torch.linalg.qr(torch.randn(40, 5, dtype=torch.float64))[0].T
    lengths = torch.tensor([3.0, -1e-3, 1e4, 1.0, -7.0])[:, None]
    order = [2, 0, 4, 3, 1]
    jacobian = (lengths * components)[order]
    found = direction_cosines(jacobian[None].to(device, dtype), components[None].to(device, dtype))
    expected = torch.zeros(5, 5, dtype=dtype, device=device)
    expected[range(5), order] = lengths[order, 0].sign().to(expected)
    close(found[0], expected)


@pytest.mark.parametrize("degrees", [0, 1e-3, 30, 90, 120, 180])
def test_two_directions_have_the_cosine_of_their_angle(degrees, device):
    angle = math.radians(degrees)
    jacobian = torch.tensor([[[2.0, 0.0, 0.0]]], dtype=torch.float64, device=device)
    component = torch.tensor([[[math.cos(angle), math.sin(angle), 0.0]]], dtype=torch.float64)
    found = direction_cosines(jacobian, component.to(device) * 1e-5)
    assert found.item() == pytest.approx(math.cos(angle), abs=1e-15)


def test_equal_directions_never_exceed_one(dtype, device):
    x, _ = directions(50, 37, 1, 1, dtype, device)
    assert (direction_cosines(x, 3 * x) <= 1).all()
    assert (direction_cosines(x, -3 * x) >= -1).all()


def test_nothing_has_no_direction(dtype, device):
    jacobian, components = directions(3, 70, 4, 3, dtype, device)
    jacobian[1, 2] = 0
    components[2, 0] = 0
    jacobian.requires_grad_()
    components.requires_grad_()
    cosines = direction_cosines(jacobian, components)
    zero = torch.zeros(3, 4, 3, dtype=torch.bool, device=device)
    zero[1, 2] = zero[2, :, 0] = True
    assert torch.equal(cosines == 0, zero)
    g_jacobian, g_components = torch.autograd.grad(cosines.sum(), (jacobian, components))
    assert (g_jacobian[1, 2] == 0).all()
    assert (g_components[2, 0] == 0).all()
    assert g_jacobian.isfinite().all()
    assert g_components.isfinite().all()


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e-300, 1e300, 5e-324, 1e-45])
@pytest.mark.parametrize("latent_axis", [1, 2])
def test_no_length_is_too_small_or_too_large(size, latent_axis, dtype, device, close):
    """Squares of these leave the range of the numbers themselves; cosines do not depend on it."""
    if torch.tensor(size, dtype=dtype) in (0, math.inf):
        pytest.skip("not a number of this dtype")
    signs = torch.randint(-1, 2, (2, 4, 300), generator=torch.Generator().manual_seed(0))
    jacobian, components = signs[:, :2].to(device, dtype), signs[:, 2:].to(device, dtype)
    expected = direction_cosines(jacobian, components)
    long = jacobian.clone()
    long[:, 1] *= size
    long = long if latent_axis == 1 else long.mT
    close(direction_cosines(long, components, latent_axis=latent_axis), expected)
    close(direction_cosines(jacobian, components * size), expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_direction_is_nan_and_its_neighbours_are_not(value, dtype, device):
    jacobian, components = directions(3, 300, 4, 3, dtype, device)
    jacobian[1, 2, 7] = components[0, 1, 299] = value
    broken = torch.zeros(3, 4, 3, dtype=torch.bool, device=device)
    broken[1, 2] = broken[0, :, 1] = True
    assert torch.equal(direction_cosines(jacobian, components).isnan(), broken)


def test_the_layout_is_read_off_the_components(close):
    wide, components = directions(2, 30, 4, 3)
    close(direction_cosines(wide.mT, components), direction_cosines(wide, components))
    many, components = directions(2, 4, 30, 3)  # more latents than pixels
    close(direction_cosines(many.mT, components), direction_cosines(many, components))
    square, components = directions(2, 4, 4, 3)
    with pytest.raises(InputError, match=r"^latent_axis: expected 1 or 2"):
        direction_cosines(square, components)


def test_gradients_are_those_of_finite_differences():
    jacobian, components = (x.requires_grad_() for x in directions(2, 9, 3, 2))
    assert torch.autograd.gradcheck(direction_cosines, (jacobian, components))
    assert torch.autograd.gradcheck(lambda J: direction_cosines(J.mT, components), jacobian)


def test_views_are_read_in_place_and_half_precision_counts_in_float32(device, close):
    jacobian, components = directions(4, 60, 6, 8, torch.float32, device)
    views = jacobian[::2, ::3], components[::2, :, :].flip(1)
    assert not views[0].is_contiguous()
    close(direction_cosines(*views), direction_cosines(*(x.contiguous() for x in views)))
    half = [x.bfloat16().requires_grad_() for x in (jacobian, components)]
    cosines = direction_cosines(*half)
    assert cosines.dtype == torch.float32
    close(cosines, direction_cosines(*(x.detach().float() for x in half)))
    assert torch.autograd.grad(cosines.sum(), half)[0].dtype == torch.bfloat16


def test_the_result_does_not_depend_on_the_number_of_threads():
    inputs = directions(9, 3000, 10, 5, torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(direction_cosines(*inputs))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_operator_passes_opcheck_and_compiles(torch_device):
    inputs = [x.requires_grad_() for x in directions(2, 9, 3, 2, device=torch_device)]
    for columns_first in (True, False):
        jacobian = inputs[0].detach() if columns_first else inputs[0].detach().mT
        arguments = (jacobian.requires_grad_(), inputs[1], columns_first)
        torch.library.opcheck(torch.ops.vaebias.direction_cosines.default, arguments)

    def total(jacobian, components):
        return direction_cosines(jacobian, components).square().sum()

    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(f(*inputs), inputs) for f in (compiled, total))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


def test_vmap_and_jacrev_give_what_a_loop_gives():
    jacobian, components = (x.reshape(3, 2, -1, 9) for x in directions(6, 9, 3, 2))
    for function in (direction_cosines, torch.func.jacrev(direction_cosines)):
        looped = torch.stack([function(*x) for x in zip(jacobian, components, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(jacobian, components), looped)


def test_errors_name_the_argument():
    jacobian, components = directions(3, 9, 2, 4)
    cases = {
        "jacobian": lambda: direction_cosines(jacobian[0], components),
        "jacobian: expected torch.float32": lambda: direction_cosines(jacobian.long(), components),
        "components": lambda: direction_cosines(jacobian, components[0]),
        "components: expected a torch.Tensor": lambda: direction_cosines(jacobian, None),
        r"components: expected shape \[3, k, 2 or 9\]": lambda: direction_cosines(
            jacobian, components[:, :, 1:]
        ),
        "components: expected the dtype": lambda: direction_cosines(jacobian, components.float()),
        "latent_axis": lambda: direction_cosines(jacobian, components, latent_axis=0),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()
