"""How time and memory grow: sizes doubled, a power fitted, and the power that theory expects.

pip install memray
python benchmarks/growth.py --out benchmarks/results/growth.md    under three minutes, one thread

A row is one piece of work and one of its sizes, the others as the table says. Time is the least of
several calls. Memory is the peak of what a call allocates, in Python and in C++, as counted by
memray: how far a process grows also depends on what earlier calls left free.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import memray
import numpy as np
import torch
from run import processor_model, today
from torch import Tensor

from vaebias import analysis, data, metrics, models, ops, perturb
from vaebias.files import write_text

LEAST_SECONDS, LEAST_CALLS = 0.1, 3

Work = Callable[[], Any]


class Row(NamedTuple):
    """Work as a function of one size."""

    name: str
    size: str
    values: Sequence[int]
    expected: str
    prepare: Callable[[int], Work]
    expected_memory: str = "1"


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def elbo(B: int = 256, P: int = 4096, d: int = 10) -> Work:
    logits, mu, logvar = (normal(B, n).requires_grad_() for n in (P, d, d))
    target = torch.zeros(B, P, dtype=torch.uint8)
    return lambda: ops.elbo(logits, target, mu, logvar, 4.0).loss.backward()


def total_correlation(B: int = 256, d: int = 10) -> Work:
    z, mu, logvar = (normal(B, d).requires_grad_() for _ in range(3))
    return lambda: ops.total_correlation(z, mu, logvar, 10**6)[0].sum().backward()


def laplace_kl(N: int) -> Work:
    mu, logvar, previous = (normal(N, 1).requires_grad_() for _ in range(3))
    return lambda: ops.laplace_kl(mu, logvar, previous, 6.0).sum().backward()


def local_variance(N: int = 64, window: int = 9) -> Work:
    images = normal(N, 1, 64, 64)
    return lambda: ops.local_variance(images, window)


def tangent_gram(N: int = 500, P: int = 4096, k: int = 4) -> Work:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1000, P), dtype=torch.uint8, generator=rng)
    neighbours = torch.randint(1000, (N, k, 2), generator=rng)
    return lambda: ops.tangent_gram(images, neighbours)


def gram_alignment(B: int = 64, P: int = 4096, d: int = 10) -> Work:
    jacobian = normal(B, d, P)
    return lambda: ops.gram_alignment(jacobian, latent_axis=1)


def direction_cosines(B: int = 64, P: int = 4096, k: int = 5) -> Work:
    jacobian, components = normal(B, 10, P), normal(B, k, P)
    return lambda: ops.direction_cosines(jacobian, components, latent_axis=1)


def structure(N: int) -> Work:
    grid = data.load("blobs", width=32)
    return lambda: perturb.structure(grid, N)


def diagnose(N: int = 16, d: int = 10) -> Work:
    objective = models.build("beta_vae", (1, 64, 64), d, "burgess", seed=0)
    decode = objective.requires_grad_(False).eval().decode
    z = normal(N, d)
    return lambda: analysis.diagnose(decode, z)


def score(name: str, N: int = 2000, d: int = 10) -> Work:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 8, (N, 3))
    codes = factors @ rng.normal(size=(3, d)) + rng.normal(size=(N, d))
    return lambda: getattr(metrics, name)(codes, factors)


def step(B: int) -> Work:
    objective = models.build("beta_vae", (1, 64, 64), 10, "burgess", seed=0)
    images = torch.zeros(B, 1, 64, 64)

    def forward_and_backward() -> None:
        mu, logvar = objective.encode(images)
        logits = objective.decode(mu)
        ops.elbo(logits.flatten(1), images.flatten(1), mu, logvar, 4.0).loss.backward()

    return forward_and_backward


ROWS = (
    Row("`elbo` and its gradient", "B", (64, 128, 256, 512), "1", lambda n: elbo(B=n)),
    Row("", "P", (4096, 8192, 16384, 32768), "1", lambda n: elbo(P=n)),
    Row("`total_correlation` and its gradient", "B", (256, 512, 1024), "2", total_correlation),
    Row("", "d", (8, 16, 32, 64), "1", lambda n: total_correlation(d=n)),
    Row("`laplace_kl` and its gradient", "N", (2**17, 2**18, 2**19, 2**20), "1", laplace_kl),
    Row("`local_variance`", "N", (64, 128, 256, 512), "1", lambda n: local_variance(N=n)),
    Row("", "window", (5, 9, 17, 31), "0", lambda n: local_variance(window=n), "0"),
    Row("`tangent_gram` of bytes", "N", (250, 500, 1000, 2000), "1", lambda n: tangent_gram(N=n)),
    Row("", "P", (2048, 4096, 8192, 16384), "1", lambda n: tangent_gram(P=n), "0"),
    Row("", "k", (4, 8, 16, 32), "1 to 2", lambda n: tangent_gram(k=n), "2"),
    Row("`gram_alignment`", "B", (32, 64, 128, 256), "1", lambda n: gram_alignment(B=n)),
    Row("", "P", (2048, 4096, 8192, 16384), "1", lambda n: gram_alignment(P=n), "0"),
    Row("", "d", (8, 16, 32, 64), "2 to 3", lambda n: gram_alignment(d=n), "2"),
    Row("`direction_cosines`", "B", (32, 64, 128, 256), "1", lambda n: direction_cosines(B=n)),
    Row("", "P", (2048, 4096, 8192, 16384), "1", lambda n: direction_cosines(P=n), "0"),
    Row("", "k", (8, 16, 32, 64), "1", lambda n: direction_cosines(k=n)),
    Row("`vaebias structure`, blobs 32×32", "N", (500, 1000, 2000, 4000), "1", structure, "0"),
    Row(
        "`vaebias align`, burgess 64×64",
        "N",
        (8, 16, 32, 64),
        "1",
        lambda n: diagnose(N=n),
        "0 to 1",
    ),
    Row("", "d", (4, 8, 16, 32), "1", lambda n: diagnose(d=n), "0 to 1"),
    Row(
        "`vaebias evaluate`: MIG",
        "N",
        (10**4, 2 * 10**4, 4 * 10**4),
        "1",
        lambda n: score("mig", n),
    ),
    Row("", "d", (10, 20, 40), "1", lambda n: score("mig", d=n)),
    Row("`vaebias evaluate`: SAP", "N", (500, 1000, 2000), "1", lambda n: score("sap", n)),
    Row("", "d", (5, 10, 20), "1", lambda n: score("sap", d=n)),
    Row("`vaebias train`: a step, burgess 64×64", "B", (16, 32, 64, 128), "1", step),
)


def seconds(work: Work) -> float:
    """Return the least time of a call."""
    work()
    taken: list[float] = []
    while len(taken) < LEAST_CALLS or sum(taken) < LEAST_SECONDS:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def allocated(work: Work) -> int:
    """Return the peak of the bytes that a call allocates."""
    work()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        with memray.Tracker(record):
            work()
        with memray.FileReader(record) as reader:
            return reader.metadata.peak_memory


def exponent(sizes: Sequence[int], amounts: Sequence[float]) -> float:
    """Fit log amount = exponent log size + constant."""
    return float(np.polyfit(np.log(sizes), np.log(amounts), 1)[0])


def measure(row: Row) -> str:
    """One line of the table."""
    taken, memory = [], []
    for value in row.values:
        work = row.prepare(value)
        memory.append(allocated(work))
        taken.append(seconds(work))
    sizes = " ".join(f"{value:,}" for value in row.values)
    times = " ".join(f"{1e3 * one:.3g}" for one in taken)
    power = f"{exponent(row.values, taken):.2f}"
    peaks = " ".join(f"{one / 2**20:.3g}" for one in memory)
    space = f"{exponent(row.values, memory):.2f}"
    cells = (
        row.name, row.size, sizes, times, power, row.expected, peaks, space, row.expected_memory
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = """# Growth

One thread of {processor}, kernels for {clone}, torch {torch}, {date}, by `benchmarks/growth.py`.
Time is the least of several calls, memory the peak of what a call allocates, gradients and
results included, inputs not. The exponent is that of a power fitted to the row; it falls
short where a fixed cost of a call, or the part of lower order, weighs. `structure` and `align`
work in blocks of bounded memory. glibc maps tensors of 32 MB anew in each call, which the last
time of `elbo` by P shows.

| work | size | values | ms | exponent | expected | MB | exponent | expected |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Growth of time and memory with each size.")
    parser.add_argument("--out", type=Path, help="file for the table; printed in any case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = HEAD.format(
        processor=processor_model(),
        clone=ops.build_info()["instruction_set"],
        torch=torch.__version__,
        date=today(),
    )
    print(head, end="", flush=True)
    lines = []
    for row in ROWS:
        lines.append(measure(row))
        print(lines[-1], flush=True)
    if options.out is not None:
        write_text(options.out, head + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
