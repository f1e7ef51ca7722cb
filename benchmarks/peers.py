"""A training step of a beta-VAE in vaebias, in a plain loop, and in the trainers of two peers.

pip install --target PEERS pythae==0.1.2 disent==0.8.0 --no-deps
pip install --target PEERS cloudpickle tqdm requests lightning pytorch-lightning torchmetrics \
    lightning-utilities --no-deps
python benchmarks/peers.py --packages PEERS --out benchmarks/results/peers.md    four minutes

All train the same networks, built by `vaebias.models.build`, on the same random images, with a
Bernoulli likelihood, Adam and one thread: vaebias by `training.fit`, pythae by its `BaseTrainer`,
disent by its `DisentDataset` and the Trainer of Lightning. Each runs in a process of its own and
takes blocks of steps; the first block is discarded. Times are processor time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bench_pipeline import REFERENCES, Eager, plain_sample
from run import cpu_name, today

from vaebias import data, models, ops, training
from vaebias.files import write_text

BATCH, LATENTS, RATE, BETA = 64, 10, 1e-4, 4.0
BLOCK, BLOCKS = 50, 4
SHAPE = (1, 64, 64)
NETWORKS = {
    "dense 512": {"name": "mlp", "hidden": [512]},
    "`burgess`": {"name": "burgess"},
}

Seconds = list[float]


def images() -> np.ndarray:
    """As many images of random bytes as a block of steps takes, ``[N, 1, 64, 64]``."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCH * BLOCK, *SHAPE), dtype=np.uint8)


def build(network: str) -> models.Objective:
    return models.build("beta_vae", SHAPE, LATENTS, NETWORKS[network], seed=0, beta=BETA)


def vaebias(network: str, precision: str = "32-true") -> Seconds:
    """By ``fit``, with its log of losses and latents once a block."""
    axes = [data.Factor("a", np.arange(BATCH)), data.Factor("b", np.arange(BLOCK))]
    grid = data.ArrayGrid("noise", axes, images(), "rendered")
    stamps = [time.process_time()]
    training.fit(
        build(network), grid, BLOCK * BLOCKS, BATCH, RATE, log_every=BLOCK,
        log=lambda *_: stamps.append(time.process_time()),
        fabric=training.launch("cpu", precision),
    )  # fmt: skip
    return list(np.diff(stamps))


def plain(network: str) -> Seconds:
    """By the plain loop of bench_pipeline.py."""
    with mock.patch.multiple(ops, **REFERENCES, sample_and_kl=plain_sample):
        run = Eager("beta_vae", NETWORKS[network], SHAPE[1], BATCH)
        return [_timed(lambda: [run.step() for _ in range(BLOCK)]) for _ in range(BLOCKS)]


def pythae(network: str) -> Seconds:
    """By the epochs of its ``BaseTrainer``."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = build(network).encoder

        def forward(self, x):
            mu, logvar = self.network(x).chunk(2, 1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = build(network).decoder

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    settings = {"input_dim": SHAPE, "latent_dim": LATENTS, "reconstruction_loss": "bce"}
    model = BetaVAE(BetaVAEConfig(beta=BETA, **settings), Encoder(), Decoder())
    floats = torch.from_numpy(images()).float() / 255
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=RATE, no_cuda=True
        )
        trainer = BaseTrainer(model, BaseDataset(floats, torch.zeros(len(floats))), None, config)
        trainer.prepare_training()
        return [_timed(lambda: trainer.train_step(1)) for _ in range(BLOCKS)]


def disent(network: str) -> Seconds:
    """By the epochs of Lightning's ``Trainer``."""
    import lightning

    _replace_torchvision()
    from disent.dataset import DisentDataset
    from disent.dataset.data import ArrayGroundTruthData
    from disent.frameworks.vae import BetaVae
    from disent.model import AutoEncoder, DisentDecoder, DisentEncoder

    class Encoder(DisentEncoder):
        def __init__(self):
            super().__init__(SHAPE, LATENTS, 2)
            self.network = build(network).encoder

        def encode(self, x):
            return self.network(x)

    class Decoder(DisentDecoder):
        def __init__(self):
            super().__init__(SHAPE, LATENTS)
            self.network = build(network).decoder

        def decode(self, z):
            return self.network(z)

    def transform(image):  # torchvision's to_tensor
        return torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255

    class Stamps(lightning.Callback):
        def __init__(self):
            self.seconds = [time.process_time()]

        def on_train_epoch_end(self, *_):
            self.seconds.append(time.process_time())

    settings = {"recon_loss": "bce", "loss_reduction": "mean_sum", "optimizer": "adam"}
    module = BetaVae(
        AutoEncoder(Encoder(), Decoder()),
        BetaVae.cfg(beta=BETA, optimizer_kwargs={"lr": RATE}, **settings),
    )
    array = ArrayGroundTruthData(images().transpose(0, 2, 3, 1), ("a", "b"), (BATCH, BLOCK))
    batches = torch.utils.data.DataLoader(
        DisentDataset(array, transform=transform), BATCH, shuffle=True
    )
    stamps = Stamps()
    trainer = lightning.Trainer(
        max_epochs=BLOCKS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[stamps],
    )  # fmt: skip
    trainer.fit(module, batches)
    return list(np.diff(stamps.seconds))


def _replace_torchvision() -> None:
    """Let disent be imported without torchvision, which only its data sets' transforms call."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name in ("", ".datasets", ".models", ".transforms", ".transforms.functional"):
        sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
    sys.modules["torchvision.datasets"].ImageFolder = object
    sys.modules["torchvision.models"].vgg19_bn = None
    sys.modules["torchvision.transforms"].functional = sys.modules[
        "torchvision.transforms.functional"
    ]


def _timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


CONTENDERS: dict[str, Callable[[str], Seconds]] = {
    "vaebias": vaebias,
    "vaebias, bf16-mixed": lambda network: vaebias(network, "bf16-mixed"),
    "plain loop": plain,
    "pythae": pythae,
    "disent": disent,
}


def measure(contender: str, network: str, packages: str) -> tuple[Seconds, str]:
    """Return seconds per step of each block, from a new process; or why there are none."""
    command = [sys.executable, __file__, "--one", contender, network]
    environment = os.environ | {"PYTHONPATH": packages, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return [], said[-1] if said else f"exit status {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def version(contender: str, packages: str) -> str:
    """Return the name of a contender with its version."""
    found = importlib.metadata.distributions(path=[packages], name=contender)
    return next((f"{contender} {one.version}" for one in found), contender)


def compare(network: str, packages: str) -> list[str]:
    """Return the rows of a network, one for each trainer."""
    rows, ours = [], 0.0
    for contender in CONTENDERS:
        seconds, reason = measure(contender, network, packages)
        name = version(contender, packages)
        if seconds:
            mean = float(np.mean(seconds))
            ours = ours or mean
            times = " ".join(f"{1e3 * one:.1f}" for one in seconds)
            rows.append(f"| {network} | {name} | {times} | {mean / ours:.2f} |")
        else:
            rows.append(f"| {network} | {name} | not run: {reason} | |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", default="", help="folder with pythae and disent")
    parser.add_argument("--out", type=Path, help="file for the table, in Markdown")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    machine = cpu_name()
    torch.set_num_threads(1)
    if arguments.one:
        contender, network = arguments.one
        seconds = CONTENDERS[contender](network)[1:]
        print(json.dumps([one / BLOCK for one in seconds]))
        return
    rows = [
        "# A training step, and that of peers",
        "",
        "By `benchmarks/peers.py`: milliseconds of processor time per step of a beta-VAE, for",
        f"{BLOCKS - 1} blocks of {BLOCK} steps, random images of 64x64, batches of {BATCH}, one",
        f"thread of {machine}, torch {torch.__version__}, {today()}.",
        "",
        "| network | trainer | ms a step | times ours |",
        "|---|---|---|---|",
    ]
    for network in NETWORKS:
        rows += compare(network, arguments.packages)
    if arguments.out is not None:
        write_text(arguments.out, "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
