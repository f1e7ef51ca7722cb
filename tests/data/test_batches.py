from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vaebias.data import ArrayGrid, DeviceImages, Factor, FactorGrid, GridDataset, export, load
from vaebias.errors import InputError

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def sprites() -> FactorGrid:
    return load("dsprites", size=9).restrict(shape=0, orientation=0, posX=[0, 9], posY=[1, 2, 3])


def grey() -> FactorGrid:
    pixels = np.arange(2 * 3 * 25, dtype=np.uint8).reshape(2, 3, 5, 5)
    return ArrayGrid("grey", [Factor("a", np.arange(2))], pixels, "real")


def soft() -> FactorGrid:
    return load("blobs", levels=(3, 2, 2), width=7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("make", "packed"), [(sprites, True), (grey, False), (soft, False)])
def test_device_images_equal_those_of_the_grid(make: object, packed: bool, device: str) -> None:
    grid = make()  # type: ignore[operator]
    kept = DeviceImages(grid, device)
    assert kept.packed is packed
    assert len(kept) == len(grid)
    index = np.random.default_rng(0).integers(len(grid), size=20)
    expected = torch.from_numpy(grid.images(index))
    for asked in (index, torch.from_numpy(index)):
        found = kept[asked]
        assert found.dtype == expected.dtype
        assert found.device.type == device
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_floats_in_16_bits_need_half_the_memory_and_stay_close(device: str) -> None:
    grid = soft()
    half, whole = DeviceImages(grid, device, half=True), DeviceImages(grid, device)
    assert 2 * half._kept.nbytes == whole._kept.nbytes
    index = torch.arange(len(grid))
    assert half[index].dtype == torch.float32
    assert (half[index] - whole[index]).abs().max() <= 2**-12
    assert DeviceImages(grey(), device, half=True)[index[:2]].dtype == torch.uint8


def test_packed_images_need_an_eighth_of_the_memory() -> None:
    packed, plain = DeviceImages(sprites()), DeviceImages(sprites(), packed=False)
    assert packed._kept.nbytes == len(packed) * 11  # 81 pixels
    assert plain._kept.nbytes == len(plain) * 81
    assert torch.equal(packed[torch.arange(36)], plain[torch.arange(36)])


def test_images_with_grey_levels_are_not_packed() -> None:
    for grid in (grey(), soft()):
        with pytest.raises(InputError, match="packed: expected pixels of 0 and 255 only"):
            DeviceImages(grid, packed=True)


def test_grids_larger_than_a_block_are_read_completely() -> None:
    grid = load("dsprites", size=4).restrict(shape=0, orientation=0, scale=[0, 5])
    calls: list[tuple[int, int]] = []
    kept = DeviceImages(grid, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1024, 2048), (2048, 2048)]
    every = np.arange(2048)
    assert torch.equal(kept[every], torch.from_numpy(grid.images(every)))


def test_epoch_has_every_image_once() -> None:
    kept = DeviceImages(sprites())
    in_order = [index for _, index in kept.epoch(8)]
    assert [len(index) for index in in_order] == [8, 8, 8, 8, 4]
    assert torch.equal(torch.cat(in_order), torch.arange(36))
    shuffled = list(kept.epoch(8, torch.Generator().manual_seed(0)))
    index = torch.cat([index for _, index in shuffled])
    assert not torch.equal(index, torch.arange(36))
    assert torch.equal(index.sort().values, torch.arange(36))
    assert torch.equal(torch.cat([images for images, _ in shuffled]), kept[index])


def test_empty_batches_are_refused() -> None:
    with pytest.raises(InputError, match="batch_size: expected at least 1, found 0"):
        next(DeviceImages(sprites()).epoch(0))


def test_data_loader_yields_images_and_levels() -> None:
    grid = sprites()
    images, levels = next(iter(DataLoader(GridDataset(grid), batch_size=7)))
    assert torch.equal(images, torch.from_numpy(grid.images(np.arange(7))))
    assert torch.equal(levels, torch.from_numpy(grid.factors(np.arange(7))))
    image, level = GridDataset(grid)[35]
    assert torch.equal(image, torch.from_numpy(grid.images([35])[0]))
    assert torch.equal(level, torch.tensor([5, 1, 2]))
    assert len(GridDataset(grid)) == 36
    with pytest.raises(InputError, match=r"index: expected one integer; .*Subset, found slice"):
        GridDataset(grid)[2:4]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_a_loader_may_be_other_processes(method: str, tmp_path: Path) -> None:
    export(sprites(), tmp_path / "s.h5")
    for grid in (load("blobs").restrict(size=[0]), load(tmp_path / "s.h5")):
        loader = DataLoader(
            GridDataset(grid), batch_size=100, num_workers=1, multiprocessing_context=method
        )
        images = torch.cat([batch[0] for batch in loader])
        assert torch.equal(images, torch.from_numpy(grid.images(np.arange(len(grid)))))


def test_a_loop_over_a_dataset_ends() -> None:
    dataset = GridDataset(sprites())
    assert sum(1 for _ in dataset) == 36
    assert torch.equal(dataset[-1][0], dataset[35][0])
    with pytest.raises(IndexError, match="index 36 is out of range for 36 images"):
        dataset[36]
