"""A training step: each objective against a plain eager loop, and where the time of one goes.

In the groups "parts of a step", ``network`` is the networks' own forward and backward pass, so
that its share of ours is all but what the rest costs; ``data``, ``loss`` and ``optimiser`` are the
rest, each on its own.

glibc keeps the settings that the first training in a process makes, which spares later plain loops
most of their page faults: peers.py has a process for each.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from vaebias import ops
from vaebias.data import ArrayGrid, Factor
from vaebias.memory import keep_freed_memory
from vaebias.models import MODELS, Step, build
from vaebias.ops.elbo import elbo_reference
from vaebias.ops.laplace_kl import laplace_kl_reference
from vaebias.ops.nll import bernoulli_nll_reference
from vaebias.ops.sample_and_kl import sample_and_kl_reference
from vaebias.ops.total_correlation import total_correlation_reference
from vaebias.training import TrainingConfig
from vaebias.training.batches import Images, batch_sampler
from vaebias.training.convolutions import in_channels_last
from vaebias.training.optimisers import Optimisers
from vaebias.training.processes import single_process
from vaebias.training.step import LossModule, TrainStep

REFERENCES = {
    "bernoulli_nll": bernoulli_nll_reference,
    "elbo": elbo_reference,
    "laplace_kl": laplace_kl_reference,
    "total_correlation": total_correlation_reference,
}
NETWORKS = {
    "burgess 64x64, batch 64": ("burgess", 64, 64),
    "conv 64x64, batch 64": ("conv", 64, 64),
    "mlp 24x24, batch 128": ("mlp", 24, 128),
}
OTHERS = {
    **{name: of for name, of in NETWORKS.items() if not name.startswith("burgess")},
    "conv_patch 64x64, batch 64": ("conv_patch", 64, 64),
    "conv_small 24x24, batch 64": ("conv_small", 24, 64),
    "dense 512 64x64, batch 64": ({"name": "mlp", "hidden": [512]}, 64, 64),
}
OPTIONS = {"weak_gan": {"ranked": 2}}
STEPS = 10**6


def grid_of(side):
    """2,048 images of random bytes."""
    axes = [Factor(name, np.arange(size)) for name, size in (("a", 32), ("b", 64))]
    images = np.random.default_rng(0).integers(0, 256, (2048, 1, side, side), dtype=np.uint8)
    return ArrayGrid("noise", axes, images, "blobs")


def plain_sample(mu, logvar, *seed_and_step, **_):
    """Noise of torch's own generator: the reference's Philox is there to be read, not fast."""
    return sample_and_kl_reference(mu, logvar, noise=torch.randn_like(mu))


class Ours:
    """A step as ``fit`` takes it; a context that undoes what ``fit`` undoes at its end."""

    def __init__(self, name, network, side, batch_size, precision="32-true"):
        self.objective = build(name, (1, side, side), 10, network, seed=0, **OPTIONS.get(name, {}))
        self.grid, self.batch_size = grid_of(side), batch_size
        self.contexts = ExitStack()
        fabric = single_process(torch.device("cpu"), precision)
        self.images = Images(self.grid, fabric.device)
        self.images.load()
        self.objective.prepare(self.images.batches(np.arange(2048)), 2048)
        config = TrainingConfig(STEPS, batch_size)
        self.draw = batch_sampler(self.objective, self.grid, config)
        module = fabric.setup_module(LossModule(self.objective))
        self.optimisers = Optimisers(self.objective, config, None, fabric)
        self.train_step = TrainStep(fabric, module, self.optimisers, self.images, self.draw, config)
        self.numbers = itertools.count()

    def __enter__(self):
        self.contexts.enter_context(keep_freed_memory())
        self.contexts.enter_context(in_channels_last(self.objective))
        return self

    def __exit__(self, *_):
        self.contexts.close()

    def step(self):
        return self.train_step(next(self.numbers), 0)["loss"]

    def data(self):
        points = self.draw(self.batch_size, np.random.default_rng([0, next(self.numbers)]))
        frames = [self.images[index] for index in points]
        return frames[0] if len(frames) == 1 else tuple(frames)


class Eager(Ours):
    """The same by a plain loop: the definitions in torch, float images, Adam as it comes."""

    def __enter__(self):
        return self

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.floats = torch.from_numpy(self.grid.images(np.arange(2048))).float() / 255
        adversary = self.objective.adversary()
        against = [] if adversary is None else list(adversary.network.parameters())
        known = set(map(id, against))
        models = [p for p in self.objective.parameters() if id(p) not in known]
        self.adams = [torch.optim.Adam(p, lr=1e-4) for p in (models, against) if p]
        self.parameters = [models, against]

    def step(self):
        number = next(self.numbers)
        points = self.draw(self.batch_size, np.random.default_rng([0, number]))
        frames = tuple(self.floats[torch.from_numpy(index)] for index in points)
        loss = self.objective.loss(
            frames[0] if len(frames) == 1 else frames, Step(number, STEPS, 0)
        )
        for adam in self.adams:
            adam.zero_grad()
        torch.autograd.backward(loss.total, inputs=self.parameters[0])
        if loss.adversary is not None:
            torch.autograd.backward(loss.adversary, inputs=self.parameters[1])
        for adam in self.adams:
            adam.step()
        return loss.total.detach()


@pytest.mark.parametrize("contender", ["vaebias", "eager"])
@pytest.mark.parametrize("name", MODELS.names())
def bench_objective(compete, monkeypatch, name, contender):
    network = "burgess 64x64, batch 64"
    _compete(compete, monkeypatch, name, network, NETWORKS[network], contender)


@pytest.mark.parametrize("contender", ["vaebias", "vaebias bf16-mixed", "eager"])
@pytest.mark.parametrize("network", OTHERS)
def bench_networks(compete, monkeypatch, network, contender):
    _compete(compete, monkeypatch, "beta_vae", network, OTHERS[network], contender)


def _compete(compete, monkeypatch, name, network, sizes, contender):
    if contender == "eager":
        for op, reference in REFERENCES.items():
            monkeypatch.setattr(ops, op, reference)
        monkeypatch.setattr(ops, "sample_and_kl", plain_sample)
        run = Eager(name, *sizes)
    else:
        run = Ours(name, *sizes, precision="bf16-mixed" if "bf16" in contender else "32-true")
    with run:
        compete(f"step of {name}, {network}", contender, run.step)


@pytest.mark.parametrize("part", ["vaebias", "network", "data", "loss", "optimiser"])
@pytest.mark.parametrize("network", NETWORKS)
def bench_parts(compete, network, part):
    with Ours("beta_vae", *NETWORKS[network]) as run:
        _compete_parts(compete, run, network, part)


def _compete_parts(compete, run, network, part):
    objective, images = run.objective, run.data()
    floats = images.float() / 255
    mu, logvar = (t.detach().requires_grad_() for t in objective.encode(images))
    z = mu.detach().requires_grad_()
    logits = objective.decode(z).detach().requires_grad_()
    encoded = objective.encoder(floats).detach()

    def networks():
        # the images need no gradient, the latents do: as in a step
        heads, decoded = objective.encoder(floats), objective.decoder(z)
        torch.autograd.backward((heads, decoded), (encoded, logits.detach()))

    def loss():
        drawn, _ = ops.sample_and_kl(mu, logvar, 0, next(run.numbers))
        total = ops.elbo(logits, images, mu, logvar, 4.0).loss
        torch.autograd.backward((total, drawn), (torch.ones(()), z.detach()))

    parts = {
        "vaebias": run.step, "network": networks, "data": run.data, "loss": loss,
        "optimiser": run.optimisers.move,
    }  # fmt: skip
    run.step()  # gradients and moments for the optimiser
    compete(f"parts of a step, {network}", part, parts[part])
