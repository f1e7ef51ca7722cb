from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.data.derived import DerivedGrid, color, noisy, scream, texture
from vaebias.errors import InputError


@pytest.fixture
def sprites() -> FactorGrid:
    return load("dsprites").restrict(shape=0, scale=[0, 5], orientation=[0], posX=[4, 9], posY=3)


STYLES = (color, noisy, scream)


@pytest.mark.parametrize("style", STYLES)
def test_image_depends_on_its_index_and_seed_alone(
    sprites: FactorGrid, style: Callable[..., DerivedGrid]
) -> None:
    grid = style(sprites, seed=3)
    together = grid.images([0, 1, 2, 3])
    assert together.dtype == np.float32
    assert together.shape == (4, 3, 64, 64)
    assert together.min() >= 0
    assert together.max() <= 1
    np.testing.assert_array_equal(grid.images([3, 0]), together[[3, 0]])
    np.testing.assert_array_equal(style(sprites, seed=3, cache_bytes=0).images([2]), together[2:3])
    assert (style(sprites, seed=4).images([0]) != together[:1]).any()
    assert grid.names == sprites.names
    assert grid.provenance["seed"] == 3
    assert grid.provenance["base"] == sprites.provenance


def test_colour_of_a_sprite_is_one_of_the_upper_half(sprites: FactorGrid) -> None:
    images = color(sprites).images(range(4))
    mask = sprites.images(range(4))[:, 0] > 0
    for image, inside in zip(images, mask, strict=True):
        assert (image[:, ~inside] == 0).all()
        tints = image[:, inside]
        assert (tints == tints[:, :1]).all()
        assert ((tints >= 0.5) & (tints <= 1)).all()
        assert len(set(tints[:, 0].tolist())) == 3


def test_noise_is_behind_white_sprites_and_uniform(sprites: FactorGrid) -> None:
    images = noisy(sprites).images(range(4))
    mask = np.repeat(sprites.images(range(4)) > 0, 3, axis=1)
    assert (images[mask] == 1).all()
    behind = images[~mask]
    counts = np.histogram(behind, bins=20, range=(0, 1))[0]
    expected = len(behind) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # 19 degrees, 99.99 % point


def test_sprite_on_a_picture_is_its_negative() -> None:
    axes = [Factor("pixels", np.arange(2))]
    black_and_white = np.zeros((2, 1, 16, 16), np.uint8)
    black_and_white[1] = 255
    grid = scream(ArrayGrid("plain", axes, black_and_white, "real"))
    seen, negative = grid.images([0, 1])
    assert seen.std() > 0.01
    # each has its own crop and shade; that of image 1 is drawn again on black
    black = scream(ArrayGrid("plain", axes, np.zeros_like(black_and_white), "real"))
    np.testing.assert_allclose(negative, 1 - black.images([1])[0], atol=1e-6)


def test_picture_is_read_and_cropped(sprites: FactorGrid, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (700, 300), (255, 0, 51)).save(tmp_path / "p.png")
    images = scream(sprites, picture=tmp_path / "p.png").images([0, 1])
    corner = images[:, :, 0, 0]  # no sprite there: half the picture, half a shade
    low = np.array([0.5, 0.0, 0.1])
    assert (corner >= low - 1e-6).all()
    assert (corner <= low + 0.5 + 1e-6).all()


def test_texture_has_the_spectrum_of_natural_images() -> None:
    picture = texture((128, 256)).astype(float)
    assert picture.shape == (3, 128, 256)
    assert (picture.min((1, 2)) == 0).all()
    assert (picture.max((1, 2)) == 1).all()
    power = np.abs(np.fft.rfft2(picture)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(256))
    band = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(power.mean(0)[band]), 1)[0]
    assert -2.2 < slope < -1.8


@pytest.mark.parametrize("name", ["color_dsprites", "noisy_dsprites", "scream_dsprites"])
def test_restyled_sets_are_registered_by_name(name: str) -> None:
    grid = load(name)
    assert grid.name == name
    assert grid.image_shape == (3, 64, 64)
    assert len(grid) == 737_280


def test_what_cannot_be_styled_is_refused(sprites: FactorGrid, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected images of one channel, found 3"):
        noisy(color(sprites))
    with pytest.raises(InputError, match="seed: expected"):
        color(sprites, seed=-1)
    with pytest.raises(
        InputError, match=r"picture .*absent\.png: expected a file, found no such file"
    ):
        scream(sprites, picture=tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"picture .*text\.png: expected an image file"):
        scream(sprites, picture=tmp_path / "text.png")
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:9999])
    with pytest.raises(InputError, match=r"picture .*cut\.png: expected an image file"):
        scream(sprites, picture=tmp_path / "cut.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="picture: expected at least 64 by 64"):
        scream(sprites, picture=tmp_path / "small.png")
