"""Tangent Grams over dSprites-sized images, beside the memcpy of the bytes that must be read."""

from __future__ import annotations

import pytest
import torch

from vaebias.data import load
from vaebias.ops import tangent_gram
from vaebias.ops.tangent_gram import tangent_gram_reference


@pytest.fixture(scope="module")
def dsprites():
    """All positions of 40 orientations and 6 scales of one shape: 245,760 images, 1 GB."""
    grid = load("dsprites").restrict(shape=0)
    index = torch.arange(len(grid)).numpy()
    images = torch.from_numpy(grid.images(index)).flatten(1)
    neighbours = torch.from_numpy(grid.neighbours(index))
    return images, neighbours, torch.from_numpy(index)


@pytest.mark.parametrize("contender", ["vaebias", "memcpy of the images once"])
def bench_whole_shape(compete, dsprites, contender):
    images, neighbours, index = dsprites
    copy = torch.empty_like(images)

    def ours():
        return tangent_gram(images, neighbours, index)

    def memcpy():
        return copy.copy_(images)

    moved = images.numel()
    function = ours if contender == "vaebias" else memcpy
    compete("tangent_gram, a third of dSprites (uint8)", contender, function, moved=moved)


@pytest.mark.parametrize("contender", ["vaebias", "eager", "torch.compile"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def bench_sample(compete, dsprites, contender, dtype):
    images, neighbours, index = (x[:2000] for x in dsprites)
    neighbours = neighbours.where(neighbours < 2000, -1)
    images = images.float() / 255 if dtype == "float32" else images

    functions = {
        "vaebias": tangent_gram,
        "eager": tangent_gram_reference,
        "torch.compile": torch.compile(tangent_gram_reference),
    }

    def step():
        return functions[contender](images, neighbours, index)

    expected = (tangent_gram_reference(images, neighbours, index),)
    # Both neighbours of every factor of every image.
    moved = neighbours.numel() * images.shape[1] * images.element_size()
    group = f"tangent_gram 2000 x {neighbours.shape[1]} factors x 4096, {dtype}"
    compete(group, contender, step, expected, moved=moved)
