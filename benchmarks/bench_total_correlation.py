"""The total correlation's densities, forward and backward, and the memory of a large batch."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from vaebias.ops import total_correlation
from vaebias.ops.total_correlation import total_correlation_reference


def posteriors(B, d):
    g = torch.Generator().manual_seed(0)
    mu, logvar, noise = torch.randn(3, B, d, generator=g)
    logvar = logvar - 2
    return [x.requires_grad_() for x in (mu + (logvar / 2).exp() * noise, mu, logvar)]


@pytest.mark.parametrize("contender", ["vaebias", "eager", "torch.compile"])
@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
@pytest.mark.parametrize(("B", "d"), [(64, 10), (256, 10), (1024, 10)])
def bench_total_correlation(compete, B, d, sampling, contender):
    inputs = posteriors(B, d)
    functions = {
        "vaebias": total_correlation,
        "eager": total_correlation_reference,
        "torch.compile": torch.compile(total_correlation_reference),
    }

    def penalty(function):
        log_qz, log_prod_qz = function(*inputs, 737280, sampling)
        value = (log_qz - log_prod_qz).mean()
        return value.detach(), *torch.autograd.grad(value, inputs)

    def step():
        return penalty(functions[contender])

    # What any of them must touch is little: this kernel is bound by its exponentials.
    group = f"total_correlation forward + backward, {B} x {d}, {sampling}"
    compete(group, contender, step, penalty(total_correlation_reference))


def bench_large_batch(benchmark):
    """A batch whose densities would fill 10.7 GB for each operation that eager torch keeps."""
    B, d = 16384, 10
    inputs = posteriors(B, d)

    def step():
        log_qz, log_prod_qz = total_correlation(*inputs, 737280)
        return torch.autograd.grad((log_qz - log_prod_qz).mean(), inputs)

    benchmark.group = f"total_correlation forward + backward, {B} x {d}, memory"
    peak = peak_bytes(B, d)
    benchmark.extra_info |= {"contender": "vaebias", "moved": 0, "peak_bytes": peak}
    benchmark.pedantic(step, rounds=3)
    assert peak < 100e6


def peak_bytes(B, d):
    """How far a process of its own grows beyond what it had used on a batch of eight."""
    program = textwrap.dedent(
        f"""
        import re, torch
        from pathlib import Path
        from vaebias.ops import total_correlation

        def run(B, d):
            mu, logvar, z = (torch.randn(B, d).requires_grad_() for _ in range(3))
            log_qz, log_prod_qz = total_correlation(z, mu, logvar, 737280)
            (log_qz - log_prod_qz).mean().backward()
            # Not getrusage's maximum, which a process inherits from the one that started it.
            return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

        before = run(8, {d})
        print(run({B}, {d}) - before)
        """
    )
    command = [sys.executable, "-c", program]
    grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return 1024 * int(grown)
