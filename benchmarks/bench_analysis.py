"""A diagnosis of a convolutional decoder against the usual way, and what each part of it takes.

The usual way: a Jacobian by torch.func.jacrev and an SVD for each point, one after the other. It
is timed on 4 points; the thousand of the second group are ours, beside two parts of it alone.
"""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from vaebias import analysis, models
from vaebias.analysis.jacobian import prepare_jacobian
from vaebias.ops import gram_alignment

LATENTS, POINTS, FEW = 10, 1000, 4


def decoder():
    """The Burgess decoder of 64 x 64 images, as most of the study's checkpoints have it."""
    objective = models.build("beta_vae", (1, 64, 64), LATENTS, "burgess", seed=0)
    return objective.requires_grad_(False).eval().decode


def latents(n):
    return torch.randn(n, LATENTS, generator=torch.Generator().manual_seed(0))


def usual(decode, z):
    """Distances to orthogonality of points one by one."""
    distances = []
    for point in z:
        jacobian = torch.func.jacrev(lambda x: decode(x[None]).sigmoid().flatten())(point)
        v = torch.linalg.svd(jacobian, full_matrices=False).Vh.abs().numpy()
        matched = v[linear_sum_assignment(v, maximize=True)].sum()
        distances.append(max(0.0, 2 * (LATENTS - matched)) ** 0.5)
    return torch.tensor(distances)


@pytest.mark.parametrize("contender", ["vaebias", "jacrev + svd, point by point"])
def bench_diagnosis(benchmark, threads, contender):
    decode, z = decoder(), latents(FEW)

    def ours():
        return torch.from_numpy(analysis.diagnose(decode, z).distance)

    function = ours if contender == "vaebias" else lambda: usual(decode, z)
    torch.testing.assert_close(function(), ours(), rtol=1e-2, atol=1e-2)
    benchmark.group = f"diagnosis of {FEW} points, 64 x 64, d = 10, {threads} threads"
    benchmark.extra_info |= {"contender": contender, "moved": 0}
    # one round: the usual way takes seconds a point
    benchmark.pedantic(function, rounds=1)


@pytest.mark.parametrize("contender", ["vaebias", "Jacobians alone", "gram_alignment alone"])
def bench_diagnosis_of_a_thousand(benchmark, threads, contender):
    decode, z = decoder(), latents(POINTS)
    at = prepare_jacobian(decode, z)
    step = at.chunk(2**28)
    some = at(z[:step])

    def jacobians():
        for start in range(0, POINTS, step):
            at(z[start : start + step])

    def kernel():
        for _ in range(0, POINTS, step):
            gram_alignment(some, latent_axis=1)

    functions = {
        "vaebias": lambda: analysis.diagnose(decode, z),
        "Jacobians alone": jacobians,
        "gram_alignment alone": kernel,
    }
    benchmark.group = f"diagnosis of {POINTS:,} points, 64 x 64, d = 10, {threads} threads"
    benchmark.extra_info |= {"contender": contender, "moved": 0}
    benchmark.pedantic(functions[contender], rounds=1)
