"""Components without labels, on points whose directions are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebias.errors import InputError
from vaebias.structure import global_components, neighbour_components, posterior_components
from vaebias.structure.label_free import nearest


class TestNeighbours:
    """Label-free components on points of a plane, a line, and of copies."""

    @staticmethod
    def sheet(rng: np.random.Generator, n: int = 400) -> np.ndarray:
        """[n, 30] points of a plane in which pixel 3 varies more than pixel 7."""
        points = np.full((n, 30), 0.5, np.float32)
        points[:, 3] += rng.uniform(-0.4, 0.4, n)
        points[:, 7] += rng.uniform(-0.1, 0.1, n)
        return points

    def test_they_span_the_plane_that_the_data_lies_in(self) -> None:
        points = self.sheet(np.random.default_rng(0))
        found = neighbour_components(points, np.arange(50), neighbours=10, components=3)
        assert found.components.shape == (50, 3, 30)
        in_plane = found.components[:, :2, [3, 7]].square().sum(-1)
        torch.testing.assert_close(in_plane, torch.ones(50, 2))
        assert not found.components[:, 2].any()
        torch.testing.assert_close(found.variances.sum(1), found.total)

    def test_all_images_as_neighbours_are_the_global_pca(self) -> None:
        points = self.sheet(np.random.default_rng(1), 60)
        found = neighbour_components(points, np.array([4]), neighbours=59, components=2)
        variances = np.linalg.eigvalsh(np.cov(points[:, [3, 7]].T))[::-1].astype(np.float32)
        torch.testing.assert_close(found.variances[0], torch.from_numpy(variances.copy()))
        assert found.components[0, 0, 3].abs() > 0.99

    def test_bytes_and_images_and_small_memory_change_nothing(self) -> None:
        pool = np.random.default_rng(2).integers(0, 256, (70, 1, 5, 6), dtype=np.uint8)
        index = np.array([3, 60, 3])
        whole = neighbour_components(pool, index, neighbours=5)
        parts = neighbour_components(
            torch.from_numpy(pool).flatten(1).float() / 255, index, neighbours=5, memory=1
        )
        torch.testing.assert_close(whole.variances, parts.variances)
        torch.testing.assert_close(whole.components.abs(), parts.components.abs())

    @pytest.mark.parametrize("memory", [1, 2**28])
    def test_the_nearest_are_those_of_a_full_search(self, memory: int) -> None:
        pool = np.random.default_rng(3).random((90, 12), np.float32)
        index = np.arange(0, 90, 7)
        found = nearest(pool, index, 6, memory)
        distances = np.linalg.norm(pool[index, None] - pool[None], axis=-1)
        np.testing.assert_array_equal(found, np.argsort(distances, 1)[:, :6])

    def test_distances_of_images_of_few_pixels_are_bounded_in_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pairs: list[int] = []
        multiply = torch.addmm

        def counted(base: torch.Tensor, *both: torch.Tensor, alpha: int) -> torch.Tensor:
            found = multiply(base, *both, alpha=alpha)
            pairs.append(found.numel())
            return found

        monkeypatch.setattr(torch, "addmm", counted)
        pool = np.random.default_rng(3).random((900, 2), np.float32)
        nearest(pool, np.arange(300), 6, memory=24 * 2000)
        assert sum(pairs) == 300 * 900
        assert max(pairs) <= 2000

    def test_copies_have_no_variance(self) -> None:
        pool = np.full((9, 4), 7, np.uint8)
        seen: list[tuple[int, int]] = []
        found = neighbour_components(
            pool, np.arange(9), neighbours=3, progress=lambda *at: seen.append(at)
        )
        assert not found.components.any()
        assert not found.total.any()
        assert seen == [(9, 9)]

    @pytest.mark.parametrize(
        ("index", "options", "message"),
        [
            ([9], {}, r"index: expected 0\.\.8"),
            ([0], {"neighbours": 9}, r"neighbours: expected 1\.\.8, the other images"),
            ([0], {"neighbours": 2, "components": 3}, r"components: expected 1\.\.2"),
        ],
    )
    def test_bad_input_is_named(self, index: list, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            neighbour_components(np.zeros((9, 4), np.uint8), np.array(index), **options)


class TestPosterior:
    """Decoded draws of a linear decoder: their covariance is J diag(sigma²) Jᵀ."""

    directions = torch.eye(3, 20) * torch.tensor([[1.0], [2.0], [3.0]])
    mu = torch.zeros(2, 3)
    logvar = torch.tensor([[0.0, -6.0, -6.0], [-4.0, -4.0, -4.0]])

    def test_components_are_directions_by_their_posterior_spread(self) -> None:
        found = posterior_components(
            lambda z: z @ self.directions, self.mu, self.logvar, draws=300, output="image"
        )
        first = found.components[:, 0].abs().argmax(1)
        assert first.tolist() == [0, 2]  # the loosest latent; then the strongest direction
        expected = (self.logvar.exp() * torch.tensor([1.0, 4, 9])).sort(1, descending=True).values
        torch.testing.assert_close(found.variances, expected, rtol=0.3, atol=0)
        torch.testing.assert_close(found.variances.sum(1), found.total)

    def test_chunks_do_not_change_draws_and_seeds_do(self) -> None:
        def decoder(z: torch.Tensor) -> torch.Tensor:
            return (z @ self.directions).unflatten(1, (1, 4, 5))

        first = posterior_components(decoder, self.mu, self.logvar, draws=9)
        parts = posterior_components(decoder, self.mu, self.logvar, draws=9, memory=1)
        other = posterior_components(decoder, self.mu, self.logvar, draws=9, seed=1)
        torch.testing.assert_close(first.total, parts.total)
        assert not torch.allclose(first.total, other.total)

    @pytest.mark.parametrize(
        ("logvar", "options", "message"),
        [
            (torch.zeros(2, 2), {}, "mu, logvar: expected"),
            (torch.zeros(2, 3), {"components": 4}, r"components: expected 1\.\.3"),
            (torch.zeros(2, 3), {"draws": 3}, "draws: expected more than the components"),
        ],
    )
    def test_bad_input_is_named(self, logvar: torch.Tensor, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            posterior_components(lambda z: z, self.mu, logvar, **options)


@pytest.mark.parametrize("memory", [1, 2**28])
def test_global_components_are_those_of_the_covariance(memory: int) -> None:
    rng = np.random.default_rng(0)
    pool = (rng.normal(size=(300, 12)) * np.linspace(0.1, 2, 12)).astype(np.float32)
    pool[:, :10] *= 1e-3
    components, variances, total = global_components(pool, 2, memory=memory)
    values, vectors = np.linalg.eigh(np.cov(pool.T))
    np.testing.assert_allclose(variances[0], values[:-3:-1], rtol=1e-3)
    np.testing.assert_allclose(
        np.abs((components[0].numpy() @ vectors)[:, :-3:-1]), np.eye(2), atol=0.02
    )
    assert float(total) == pytest.approx(values.sum(), rel=1e-3)
    with pytest.raises(InputError, match=r"components: expected 1\.\.12 of 300"):
        global_components(pool, 13)


@pytest.mark.parametrize("offset", [0, 100])
def test_global_components_by_lanczos_are_those_of_a_full_svd(offset: int) -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, 200)) * np.array([9, 7, 5, 4, 3, 2])[:, None]
    pool = rng.normal(size=(400, 6)) @ directions + rng.normal(size=(400, 200)) + 128 + offset
    pool = pool.clip(0, 255).astype(np.uint8)
    kept = pool.copy()
    found = global_components(pool, 4)
    wide = pool / 255 - (pool / 255).mean(0)
    _, singular, right = np.linalg.svd(wide, full_matrices=False)
    np.testing.assert_allclose(found.variances[0], singular[:4] ** 2 / 399, rtol=1e-5)
    cosines = np.abs(found.components[0].double().numpy() @ right[:4].T)
    np.testing.assert_allclose(cosines, np.eye(4), atol=1e-5)
    assert float(found.total) == pytest.approx((wide**2).sum() / 399)
    same = global_components(torch.from_numpy(pool).float() / 255, 4)
    torch.testing.assert_close(same.components, found.components)
    np.testing.assert_array_equal(pool, kept)


def test_images_that_are_all_the_same_have_no_variance() -> None:
    found = global_components(np.full((300, 100), 7, np.uint8), 2)
    assert not found.variances.any()
    assert not found.total.any()
