from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import ortho_group

from vaebias.errors import InputError
from vaebias.ops import gram_alignment
from vaebias.ops.gram_alignment import gram_alignment_reference

# Around the strip of 256 pixels, the 16 of a chunk, the warp of 32 latents, and blocks of 4 to 8.
SHAPES = [(1, 1, 1), (3, 5, 2), (4, 63, 3), (2, 256, 10), (3, 257, 31), (2, 300, 33), (1, 200, 64)]
SHAPES += [(2, 513, d) for d in (4, 5, 6, 8, 12, 14)]
SHAPES += [(2, 17, 7), (2, 16, 9), (3, 65, 16), (2, 144, 17)]


def jacobians(B, P, d, dtype=torch.float32, device="cpu", seed=0):
    g = torch.Generator().manual_seed(seed)
    # Unequal column norms keep singular values apart, so that directions are well defined.
    scales = torch.logspace(0, 1, d, dtype=dtype)
    return (torch.randn(B, P, d, generator=g, dtype=dtype) * scales).to(device)


def rotation(degrees, dtype=torch.float64):
    t = math.radians(degrees)
    return torch.tensor([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]], dtype=dtype)


@pytest.mark.parametrize(("B", "P", "d"), SHAPES)
@pytest.mark.parametrize("columns_first", [False, True])
def test_equals_its_reference(B, P, d, columns_first, dtype, device, close):
    jacobian = jacobians(B, P, d, dtype, device)
    jacobian = jacobian.mT.contiguous() if columns_first else jacobian
    axis = 1 if columns_first else 2
    found = gram_alignment(jacobian, latent_axis=axis)
    expected = gram_alignment_reference(jacobian, latent_axis=axis)
    for name in ("gram", "singular_values", "distance", "ima_contrast", "v"):
        close(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.permutation, expected.permutation)


def test_passive_latents_are_left_out(dtype, device, close):
    jacobian = jacobians(5, 70, 6, dtype, device)
    active = torch.rand(5, 6, generator=torch.Generator().manual_seed(3)).to(device) < 0.6
    active[0] = False
    found = gram_alignment(jacobian, active)
    expected = gram_alignment_reference(jacobian, active)
    for name in ("gram", "singular_values", "distance", "ima_contrast", "v"):
        close(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.permutation, expected.permutation)
    alone = gram_alignment(jacobian[1:2, :, active[1]])
    close(found.distance[1:2], alone.distance)
    assert found.distance[0] == 0
    assert (found.permutation[0] == -1).all()
    assert torch.equal(found.permutation == -1, ~active)


def test_orthogonal_columns_have_distance_and_contrast_zero(dtype, device):
    q = torch.linalg.qr(torch.randn(40, 5, dtype=torch.float64))[0]
    jacobian = (q * torch.tensor([5.0, -4.0, 3.0, 2.0, 1.0]))[None, :, [3, 0, 4, 2, 1]]
    result = gram_alignment(jacobian.to(device, dtype))
    assert result.distance.item() < (1e-6 if dtype == torch.float32 else 1e-13)
    assert result.ima_contrast.item() < (1e-6 if dtype == torch.float32 else 1e-13)
    assert result.permutation.tolist() == [[3, 0, 4, 2, 1]]
    assert result.singular_values[0].tolist() == pytest.approx([5, 4, 3, 2, 1], rel=1e-6)


@pytest.mark.parametrize("degrees", [0, 1e-4, 10, 45, 60, 90, 170])
def test_two_latents_turned_by_an_angle_have_the_closed_form(degrees, device):
    q = torch.linalg.qr(torch.randn(30, 2, dtype=torch.float64))[0]
    jacobian = (q * torch.tensor([2.0, 1.0])) @ rotation(degrees).T
    found = gram_alignment(jacobian[None].to(device)).distance.item()
    off_axis = math.radians(min(degrees % 90, 90 - degrees % 90))
    assert found == pytest.approx(math.sqrt(8) * math.sin(off_axis / 2), rel=1e-6, abs=1e-12)


def test_random_rotations_have_the_distance_of_chance():
    """The figures of the literature for d = 2, 5, 6, of Monte Carlo over random rotations."""
    rng = np.random.default_rng(0)
    for d, chance in ((2, 0.55), (5, 1.63), (6, 1.91)):
        v = torch.from_numpy(ortho_group.rvs(d, size=2000, random_state=rng))
        jacobian = torch.arange(d, 0, -1)[:, None] * v.mT
        assert gram_alignment(jacobian, latent_axis=2).distance.mean() == pytest.approx(
            chance, abs=0.02
        )


@pytest.mark.parametrize("d", [2, 5, 12, 40])
def test_the_matching_is_the_best_there_is(d, device):
    result = gram_alignment(jacobians(20, 100, d, torch.float64, device, seed=d), latent_axis=2)
    for v, permutation in zip(result.v.cpu(), result.permutation.cpu(), strict=True):
        rows, columns = linear_sum_assignment(-v.abs().numpy())
        best = v.abs()[rows, columns].sum()
        assert v[torch.arange(d), permutation].sum().item() == pytest.approx(best.item(), abs=1e-12)
        assert sorted(permutation.tolist()) == list(range(d))


def test_singular_values_keep_their_relative_accuracy_over_ten_orders(device):
    q = torch.linalg.qr(torch.randn(60, 4, dtype=torch.float64))[0]
    values = torch.tensor([1e5, 1.0, 1e-3, 1e-5], dtype=torch.float64)
    found = gram_alignment((q * values)[None].to(device)).singular_values[0].cpu()
    torch.testing.assert_close(found, values, rtol=1e-9, atol=0)


def test_equal_singular_values_still_give_an_orthogonal_v(device):
    q = torch.linalg.qr(torch.randn(50, 6, dtype=torch.float64))[0] @ ortho_of(6)
    for jacobian in (q, q * (1 + 1e-13 * torch.arange(6))):
        result = gram_alignment(jacobian[None].to(device))
        gap = result.v[0].mT @ result.v[0] - torch.eye(6, device=device)
        assert gap.abs().max() < 1e-12
        torch.testing.assert_close(
            result.singular_values.cpu(), torch.ones(1, 6, dtype=torch.float64)
        )


def ortho_of(d):
    return torch.from_numpy(ortho_group.rvs(d, random_state=1))


def test_degenerate_jacobians_end_and_say_so(dtype, device):
    zero = torch.zeros(1, 20, 4, dtype=dtype, device=device)
    result = gram_alignment(zero)
    assert result.singular_values.abs().max() == 0
    assert result.ima_contrast.isinf().all()
    assert sorted(result.permutation[0].tolist()) == [0, 1, 2, 3]

    twice = jacobians(1, 20, 1, dtype, device).expand(1, 20, 3)
    result = gram_alignment(twice)
    assert result.singular_values[0, 1] <= 1e-6 * result.singular_values[0, 0]
    assert result.ima_contrast.item() > 10

    empty = gram_alignment(torch.zeros(0, 20, 4, dtype=dtype, device=device))
    assert [x.shape[0] for x in empty] == [0] * 6


@pytest.mark.parametrize("latent_axis", [1, 2])
def test_views_are_read_in_their_own_order(latent_axis, device):
    wide = torch.stack([jacobians(3, 70, 5, seed=seed) for seed in (0, 1)], 3).to(device)
    view = wide[..., 0] if latent_axis == 2 else wide[..., 0].mT
    assert not view.is_contiguous()
    found = gram_alignment(view, latent_axis=latent_axis)
    for x, y in zip(found, gram_alignment(view.contiguous(), latent_axis=latent_axis), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_jacobian_is_nan_and_its_neighbours_are_not(value, device):
    jacobian = jacobians(3, 40, 5, device=device)
    jacobian[1, 7, 2] = value
    result = gram_alignment(jacobian)
    for x in (
        result.distance,
        result.ima_contrast,
        result.singular_values[:, 0],
        result.v[:, 0, 0],
    ):
        assert x.isnan().tolist() == [False, True, False]
    assert (result.permutation[1] == -1).all()


def test_huge_entries_do_not_overflow_in_between(device):
    jacobian = jacobians(2, 50, 4, device=device)
    found, expected = gram_alignment(jacobian * 1e17), gram_alignment(jacobian)
    torch.testing.assert_close(found.distance, expected.distance)
    torch.testing.assert_close(found.singular_values, expected.singular_values * 1e17)


@pytest.mark.parametrize("size", [1e-150, 1e-100, 1e100, 1e150])
def test_scaling_a_jacobian_scales_its_singular_values_alone(size, device):
    jacobian = jacobians(2, 50, 6, torch.float64, device)
    found, expected = gram_alignment(jacobian * size), gram_alignment(jacobian)
    torch.testing.assert_close(found.singular_values / size, expected.singular_values)
    torch.testing.assert_close(found.v, expected.v)
    torch.testing.assert_close(found.ima_contrast, expected.ima_contrast)


def test_the_layout_is_read_off_a_clearly_shorter_axis():
    jacobian = jacobians(2, 30, 4)
    for x, y in zip(gram_alignment(jacobian), gram_alignment(jacobian.mT), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize(("P", "d"), [(4, 4), (3, 5), (7, 2)], ids=["square", "wide", "tall"])
def test_a_layout_that_is_not_clear_is_asked_for(P, d, close):
    jacobian = jacobians(2, P, d)
    for layout in (jacobian, jacobian.mT):
        with pytest.raises(InputError, match=r"^latent_axis: expected 1 or 2"):
            gram_alignment(layout)
    close(gram_alignment(jacobian, latent_axis=2).gram, jacobian.mT @ jacobian)
    close(gram_alignment(jacobian.mT, latent_axis=1).gram, jacobian.mT @ jacobian)


def test_more_latents_than_the_kernel_holds_fall_back_on_the_reference(close):
    jacobian = jacobians(2, 100, 70, torch.float64)
    found, expected = (
        f(jacobian, latent_axis=2) for f in (gram_alignment, gram_alignment_reference)
    )
    close(found.distance, expected.distance)


def test_gradients_are_those_of_finite_differences():
    jacobian = jacobians(2, 9, 3, torch.float64).requires_grad_()
    active = torch.tensor([[True, True, True], [True, False, True]])

    def numbers(jacobian):
        result = gram_alignment(jacobian, active, latent_axis=2)
        return result.gram, result.singular_values, result.ima_contrast

    assert torch.autograd.gradcheck(numbers, jacobian)
    assert not gram_alignment(jacobian, latent_axis=2).distance.requires_grad
    assert torch.autograd.gradcheck(
        lambda J: gram_alignment(J, latent_axis=1).ima_contrast,
        jacobian.detach().mT.contiguous().requires_grad_(),
    )


def test_operator_passes_opcheck_and_compiles(torch_device):
    jacobian = jacobians(2, 9, 3, torch.float64, torch_device).requires_grad_()
    torch.library.opcheck(torch.ops.vaebias.gram_alignment.default, (jacobian, None, False))

    def contrast(jacobian):
        return gram_alignment(jacobian, latent_axis=2).ima_contrast.sum()

    compiled = torch.compile(contrast, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(f(jacobian), jacobian)[0] for f in (compiled, contrast))
    torch.testing.assert_close(found, expected)


def test_errors_name_the_argument():
    jacobian = jacobians(3, 9, 2)
    cases = {
        "jacobian": lambda: gram_alignment(jacobian[0]),
        "jacobian: expected torch.float32": lambda: gram_alignment(jacobian.long()),
        "active": lambda: gram_alignment(jacobian, torch.ones(2)),
        "active: expected shape": lambda: gram_alignment(jacobian, torch.ones(4).bool()),
        "latent_axis": lambda: gram_alignment(jacobian, latent_axis=0),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()
