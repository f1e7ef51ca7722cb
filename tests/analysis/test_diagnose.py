"""Diagnoses of decoders whose answer is known."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from vaebias.analysis import Diagnosis, diagnose, dto_chance
from vaebias.errors import InputError, RunFailedError


def orthogonal(rows: int, columns: int, seed: int = 0) -> Tensor:
    """[rows, columns] orthonormal rows."""
    noise = torch.randn(columns, rows, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(noise.double()).Q.float().T


def linear(matrix: Tensor) -> Any:
    return lambda z: z @ matrix


def printed(diagnosis: Diagnosis) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(diagnosis.table())
    return console.file.getvalue()  # type: ignore[attr-defined]


STRENGTHS = torch.tensor([4.0, 2.0, 1.0])
Z = torch.randn(20, 3, generator=torch.Generator().manual_seed(5))


def test_orthogonal_directions_are_aligned() -> None:
    found = diagnose(linear(STRENGTHS[:, None] * orthogonal(3, 64)), Z, output="image")
    assert found.dto[0] == pytest.approx(0, abs=2e-3)
    assert np.nanmax(np.abs(found.ima_contrast)) < 1e-4
    np.testing.assert_allclose(found.singular_values.mean(0), [4, 2, 1], rtol=1e-4)
    np.testing.assert_allclose(found.relative_gaps.mean(0), [0.5, 0.5], rtol=1e-4)
    assert found.chance == dto_chance(3)
    assert found.data is None
    assert "lie along the decoder's local principal directions" in found.summary()


def test_random_rotations_are_at_chance() -> None:
    distances = [
        diagnose(linear(orthogonal(3, 3, i) * STRENGTHS @ orthogonal(3, 16)), Z[:1], output="image")
        for i in range(300)
    ]
    found = np.array([each.dto[0] for each in distances])
    chance = dto_chance(3)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - chance.mean) < 4 * (error + chance.standard_error)


def test_a_rotation_of_the_plane_is_its_closed_form() -> None:
    angle = math.radians(20)
    v = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = v @ torch.diag(STRENGTHS[:2]) @ orthogonal(2, 16)  # Jᵀ = V S Uᵀ
    found = diagnose(linear(matrix), Z[:, :2], output="image")
    assert found.dto[0] == pytest.approx(math.sqrt(4 - 4 * math.cos(angle)), abs=1e-3)


def test_parallel_directions_have_no_finite_contrast() -> None:
    row = orthogonal(1, 16)
    found = diagnose(linear(torch.cat([row, 2 * row])), Z[:, :2], output="image")
    assert any("linearly dependent at 20 of 20" in note for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_decoder_that_ignores_its_latents_has_no_distance() -> None:
    found = diagnose(lambda z: torch.zeros(len(z), 1, 4, 4), Z)
    assert math.isnan(found.dto[0])
    assert any("answers to no active latent at 20 of 20" in note for note in found.notes)
    assert found.summary().startswith("The axes cannot be judged")
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["dto"]["mean"] is None
    assert "undefined" in printed(found)


def test_a_dead_latent_that_counts_as_active_is_named() -> None:
    matrix = STRENGTHS[:, None] * orthogonal(3, 16)
    matrix[1] = 0
    found = diagnose(linear(matrix), Z, output="image")
    assert any("not moving the image: z2." in note for note in found.notes)


def test_nearly_equal_singular_values_are_flagged() -> None:
    found = diagnose(
        linear(torch.tensor([[4.0], [1.0], [0.99]]) * orthogonal(3, 16)), Z, output="image"
    )
    assert [note for note in found.notes if "values 2 and 3 are within 5 %" in note]
    assert not [note for note in found.notes if "values 1 and 2 are within" in note]
    assert "(see the notes)" in found.summary()


def test_only_active_latents_count() -> None:
    matrix = torch.cat([STRENGTHS[:2, None] * orthogonal(2, 16), torch.full((1, 16), 9.0)])

    def encoder(x: Tensor) -> tuple[Tensor, Tensor]:
        mu = x.flatten(1)[:, :3] * torch.tensor([1.0, 1.0, 0.0])
        return mu, torch.tensor([-4.0, -4.0, 0.0]).expand(len(x), 3)

    images = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    found = diagnose(linear(matrix), encoder=encoder, images=images, output="image")
    assert found.rule == "zietlow2021"
    assert found.active.tolist() == [True, True, False]
    assert found.singular_values.shape == (30, 2)
    assert found.dto[0] == pytest.approx(0, abs=2e-3)
    assert found.chance == dto_chance(2)
    assert found.activity is not None
    assert found.activity.regime == ("active", "active", "passive")
    given = diagnose(linear(matrix), found_z := torch.zeros(4, 3), active=[True, True, False])
    assert given.rule == "given"
    assert given.points == len(found_z)


def test_all_passive_is_said_so() -> None:
    def encoder(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(x), 2), torch.zeros(len(x), 2)

    found = diagnose(nn.Linear(2, 16), encoder=encoder, images=torch.rand(9, 1, 4, 4))
    assert found.chance is None
    assert math.isnan(found.dto[0])
    assert found.singular_values.shape == (9, 0)
    assert any("No latent is active" in note for note in found.notes)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["active"]["count"] == 0
    assert record["dto"] == {"mean": None, "sd": None, "chance": None, "quantiles": [None] * 5}
    assert "undefined" in printed(found)


def test_one_active_latent_is_always_aligned() -> None:
    found = diagnose(linear(orthogonal(1, 9)), Z[:, :1], output="image")
    assert found.dto[0] == 0
    assert "a single axis is always aligned" in found.summary()


class TestAgainstData:
    """Decoders beside a grid in which x and y move known pixels (fixture ``plane``)."""

    @staticmethod
    def encoder(x: Tensor) -> tuple[Tensor, Tensor]:
        """X and y read from their pixels, in that order."""
        flat = x.flatten(1)
        mu = torch.stack([(flat[:, 0] - 0.7) / 0.1, (flat[:, 1] - 0.53) / 0.02], 1)
        return mu, torch.full_like(mu, -4)

    def test_factors_as_latents_match_components_and_factors(self, plane: Any) -> None:
        decoder = linear(torch.from_numpy(plane.directions))
        found = diagnose(decoder, encoder=self.encoder, data=plane, output="image", samples=50)
        assert found.points == 50
        assert found.data is not None
        np.testing.assert_allclose(found.data.components.matched, 1, atol=1e-5)
        np.testing.assert_allclose(found.data.tangents.matched, 1, atol=1e-5)
        assert (found.data.tangents.partner == [1, 2]).all()  # never the shape
        assert (found.data.components.partner == [0, 1]).all()
        cosines = np.abs(found.data.tangents.cosines).mean(0)
        np.testing.assert_allclose(cosines, [[0, 1, 0], [0, 0, 1]], atol=1e-5)
        assert "|cos| 1.00 with the data's local principal components" in found.summary()
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert record["data"]["factors"] == ["shape", "x", "y"]
        assert record["data"]["source"] == "rendered"
        assert "|cos| with factors" in printed(found)

    def test_a_rotation_by_45_degrees_matches_neither(self, plane: Any) -> None:
        directions = plane.directions / np.linalg.norm(plane.directions, axis=1)[:, None]
        half = math.sqrt(0.5)
        matrix = torch.tensor([[half, half], [half, -half]]) @ torch.from_numpy(directions)
        index = np.arange(10)
        found = diagnose(linear(matrix), torch.zeros(10, 2), data=plane, index=index)
        assert found.data is not None
        np.testing.assert_allclose(found.data.tangents.matched, half, atol=1e-5)

    def test_chance_of_a_cosine_is_that_of_random_axes(self, plane: Any) -> None:
        directions = plane.directions / np.linalg.norm(plane.directions, axis=1)[:, None]
        decoder = linear(torch.from_numpy(directions))
        found = diagnose(decoder, encoder=self.encoder, data=plane, output="image", samples=200)
        assert found.data is not None
        # of two orthonormal axes: the mean of max(cos, sin) over all angles, 4 sin(pi/4) / pi
        for each in (found.data.components, found.data.tangents):
            assert each.chance.mean() == pytest.approx(4 * math.sqrt(0.5) / math.pi, abs=0.01)
            assert (each.matched > 0.999).all()
        assert "of random axes" in printed(found)

    def test_chance_does_not_depend_on_the_size_of_chunks(self, plane: Any) -> None:
        decoder = linear(torch.from_numpy(plane.directions))
        options: dict[str, Any] = {"encoder": self.encoder, "data": plane, "samples": 20}
        found = [diagnose(decoder, **options, memory=memory) for memory in (1, 2**30)]
        assert all(one.data is not None for one in found)
        first, second = (one.data.tangents.chance for one in found if one.data is not None)
        np.testing.assert_allclose(first, second, atol=1e-6)

    def test_given_images_or_index_set_the_points(self, plane: Any) -> None:
        decoder = linear(torch.from_numpy(plane.directions))
        index = np.array([3, 17, 25])
        by_index = diagnose(decoder, encoder=self.encoder, data=plane, index=index)
        by_images = diagnose(
            decoder, encoder=self.encoder, images=plane.images(index), data=plane, index=index
        )
        assert by_index.index is not None
        assert by_images.index is not None
        np.testing.assert_array_equal(by_index.index, index)
        np.testing.assert_array_equal(by_images.index, index)
        np.testing.assert_array_equal(by_index.distance, by_images.distance)
        np.testing.assert_array_equal(by_index.singular_values, by_images.singular_values)

    def test_chunks_and_seed_do_what_they_say(self, plane: Any) -> None:
        decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6))
        seen: list[tuple[int, int]] = []
        options: dict[str, Any] = {"encoder": self.encoder, "data": plane, "samples": 9}
        first = diagnose(decoder, **options, memory=1, progress=lambda *at: seen.append(at))
        again = diagnose(decoder, **options)
        other = diagnose(decoder, **options, seed=1)
        np.testing.assert_allclose(first.distance, again.distance, atol=1e-4)
        assert not np.array_equal(first.singular_values, other.singular_values)
        assert seen == [(i + 1, 9) for i in range(9)]

    def test_another_image_size_is_named(self, plane: Any) -> None:
        with pytest.raises(InputError, match=r"data: expected images of .*\(16\), found 6"):
            diagnose(nn.Linear(2, 16), encoder=self.encoder, data=plane)

    def test_logits_beside_pixels_are_noted(self, plane: Any) -> None:
        decoder = linear(torch.from_numpy(plane.directions))
        found = diagnose(decoder, encoder=self.encoder, data=plane, space="logits")
        assert any("directions of logits with directions of pixels" in n for n in found.notes)


def test_a_module_with_its_own_encoder_is_left_in_its_mode() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3))
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Dropout())
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    found = diagnose(decoder, encoder=encoder, images=images)
    assert found.activity is not None  # a deterministic encoder may return mu alone
    assert encoder.training
    assert decoder.training
    assert not found.activity.kl[~np.isnan(found.activity.kl)].size


def test_a_derivative_that_is_not_finite_is_a_failure() -> None:
    with pytest.raises(RunFailedError, match="not finite near point 0"):
        diagnose(lambda z: z.sqrt().repeat(1, 4), torch.zeros(3, 2), output="image")


def images_of(n: int) -> Tensor:
    return torch.rand(n, 1, 4, 4)


@pytest.mark.parametrize(
    ("z", "options", "message"),
    [
        (None, {}, "z: expected latents, or an encoder and images or data .*no encoder"),
        (None, {"encoder": nn.Flatten()}, "z: expected latents, .* found an encoder alone"),
        (None, {"images": images_of(2)}, "z: expected latents, .* found no encoder"),
        (torch.zeros(2), {}, r"z: expected a tensor of latents \[n, d\]"),
        ([[0.0]], {}, "z: expected a tensor of latents .* found list"),
        (torch.zeros(0, 3), {}, "z: expected a tensor of latents"),
        (torch.zeros(4, 5), {}, "z: expected latents that the decoder takes"),
        (torch.zeros(4, 3), {"active": "mine"}, "active: expected a mask or one of zietlow2021"),
        (torch.zeros(4, 3), {"active": [True]}, "active: expected 3 booleans"),
        (torch.zeros(4, 3), {"active": [1, 0, 1]}, "active: expected 3 booleans"),
        (torch.zeros(4, 3), {"samples": 0}, "samples: expected at least 1"),
        (torch.zeros(4, 3), {"index": [0]}, "data: expected the grid"),
        (
            torch.zeros(4, 3),
            {"encoder": nn.Flatten(), "images": images_of(4)},
            r"z: expected \[n, 16\], the encoder's latents",
        ),
        (
            None,
            {"encoder": nn.Flatten(), "images": torch.rand(4)},
            r"images: expected images \[n, C, H, W\] or other numbers",
        ),
        (
            None,
            {"encoder": lambda x: x.mean((1, 2, 3)), "images": images_of(4)},
            r"encoder: expected codes \[4, \.\.\.\] of 4 images",
        ),
    ],
)
def test_bad_input_is_named(z: Any, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        diagnose(nn.Linear(3, 16), z, **options)


def test_points_and_their_index_must_match(plane: Any) -> None:
    with pytest.raises(InputError, match="index: expected the index in the data"):
        diagnose(nn.Linear(3, 6), torch.zeros(4, 3), data=plane)
    with pytest.raises(InputError, match="index: expected one for each of the 4 points, found 2"):
        diagnose(nn.Linear(3, 6), torch.zeros(4, 3), data=plane, index=[0, 1])
    with pytest.raises(InputError, match="index: expected at least one point"):
        diagnose(nn.Linear(3, 6), encoder=nn.Flatten(), data=plane, index=np.zeros(0, int))


class TestWithoutLabels:
    """A decoder of a plane beside images of that plane: the spans agree, whatever the axes."""

    @staticmethod
    def parts(turn: float = 0.0) -> dict[str, Any]:
        """Decoder, encoder and images; ``turn`` is that of the latents against the axes."""
        c, s = math.cos(turn), math.sin(turn)
        axes = orthogonal(2, 16) * torch.tensor([[0.1], [0.05]])
        matrix = torch.tensor([[c, s], [-s, c]]) @ axes
        z = torch.randn(400, 2, generator=torch.Generator().manual_seed(2))
        back = torch.linalg.pinv(matrix)

        def encoder(x: Tensor) -> tuple[Tensor, Tensor]:
            mu = (x.flatten(1) - 0.5) @ back
            return mu, torch.full_like(mu, -5)

        images = (0.5 + z @ matrix).unflatten(1, (1, 4, 4))
        return {
            "decoder": lambda z: 0.5 + z @ matrix,
            "encoder": encoder,
            "images": images,
            "output": "image",
        }

    def test_each_reference_is_there_with_its_angles(self) -> None:
        found = diagnose(**self.parts(), index=np.arange(30), neighbours=100, draws=200)
        assert found.points == 30
        assert list(found.label_free) == ["neighbours", "global", "posterior"]
        for each in found.label_free.values():
            np.testing.assert_allclose(each.angles, 0, atol=1e-3)
            assert np.median(each.matched) > 0.95
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        angles = record["label_free"]["global"]["principal_angles"]
        assert [len(each["quantiles"]) for each in angles] == [5, 5]
        assert "|cos| with neighbours PCs" in printed(found)

    def test_turned_axes_keep_the_span_and_lose_the_cosines(self) -> None:
        found = diagnose(**self.parts(math.pi / 4), index=np.arange(30), neighbours=100)
        assert list(found.label_free) == ["neighbours", "global"]
        for each in found.label_free.values():
            np.testing.assert_allclose(each.angles, 0, atol=1e-3)
            assert np.median(each.matched) < 0.9

    def test_data_serve_as_the_pool(self, plane: Any) -> None:
        decoder = linear(torch.from_numpy(plane.directions))
        options: dict[str, Any] = {"data": plane, "index": np.arange(10), "neighbours": 8}
        found = diagnose(decoder, torch.zeros(10, 2), output="image", **options)
        np.testing.assert_allclose(found.label_free["neighbours"].angles, 0, atol=1e-3)

    def test_variances_are_held_against_the_expected(self) -> None:
        parts = self.parts()
        found = diagnose(**parts, index=np.arange(5), beta=2.0, scale=0.1)
        assert found.prediction is not None
        expected = 1 / (1 + np.array([0.1, 0.05]) ** 2 / 0.01 / 2)
        np.testing.assert_allclose(found.prediction.expected, np.tile(expected, (5, 1)), rtol=1e-4)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))["prediction"]
        assert record["likelihood"] == "gaussian"
        ratio = record["log10_ratio"][0]["mean"]
        assert ratio == pytest.approx(math.log10(math.exp(-5) / expected[0]), abs=1e-3)
        assert "σ² over its expected value" in printed(found)

    def test_axes_have_a_price_beside_that_of_random_ones(self) -> None:
        z = torch.zeros(3, 2)
        for degrees, price in ((0, 0.0), (45, None), (90, 0.0)):
            angle = math.radians(degrees)
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)],
                                 [math.sin(angle), math.cos(angle)]])  # fmt: skip
            decoder = linear(turn @ torch.tensor([[3.0, 0, 0], [0, 1.0, 0]]))
            found = diagnose(decoder, z, output="image", beta=2.0, scale=0.5).price
            # columns of squares 9 and 1, in units of the scale 36 and 4, turned into 20 and 20
            most = 2 * math.log1p(20 / 2) - math.log1p(36 / 2) - math.log1p(4 / 2)
            np.testing.assert_allclose(found.nats, most if price is None else price, atol=1e-5)
            # random angles: the mean over a quarter turn
            angles = np.linspace(0, np.pi / 2, 1001)
            first = 36 * np.cos(angles) ** 2 + 4 * np.sin(angles) ** 2
            both = np.log1p(first / 2) + np.log1p((40 - first) / 2)
            chance = both.mean() - math.log1p(36 / 2) - math.log1p(4 / 2)
            np.testing.assert_allclose(found.chance, chance, rtol=0.2)

    @pytest.mark.parametrize("space", ["image", "logits"])
    def test_expected_variances_of_logits_do_not_depend_on_the_space(self, space: Any) -> None:
        parts = self.parts() | {"output": "logits", "space": space}
        found = diagnose(**parts, index=np.arange(5), beta=2.0)
        p = torch.sigmoid(torch.tensor(0.5))
        curvature = p * (1 - p) * torch.tensor([0.1, 0.05]) ** 2
        assert found.prediction is not None
        near = (1 / (1 + curvature / 2)).expand(5, 2)
        np.testing.assert_allclose(found.prediction.expected, near, rtol=0.01)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"neighbours": 3}, "neighbours: expected images or data to look for them in"),
            ({"draws": 9}, "encoder: expected one with variances"),
            ({"beta": -1.0}, "beta: expected a finite number above 0"),
        ],
    )
    def test_what_is_missing_is_named(self, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            diagnose(nn.Linear(3, 16), Z, **options)
