"""Measurements at each point, as functions of a chunk of Jacobians.

Each function here returns a step, which maps Jacobians [B, d, P] and the slice of their points to
named columns. ``a.b`` is field ``b`` of the part ``a`` of a diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.analysis.activity import expected_variance
from vaebias.analysis.alignment import (
    align,
    matched_cosines,
    principal_angles,
    random_rotations,
)
from vaebias.analysis.mixture import factor_mixture
from vaebias.analysis.points import Points, Pool
from vaebias.analysis.price import Likelihood, axes_price
from vaebias.errors import InputError
from vaebias.interfaces import Decoder, Grid, Output
from vaebias.ops import direction_cosines
from vaebias.structure.label_free import (
    global_components,
    neighbour_components,
    posterior_components,
)
from vaebias.structure.local_pca import factor_tangents, local_pca

__all__ = [
    "Pixels",
    "Step",
    "against_draws",
    "against_factors",
    "against_images",
    "beside_expected",
    "by_itself",
    "priced",
]

Rows = dict[str, Tensor]
Step = Callable[[Tensor, slice], Rows]

TURNS = 4
"""Random rotations of the latents at each point, behind the chance level of cosines."""


def by_itself(mask: Tensor) -> Step:
    """Return the step that measures the decoder itself."""

    def step(j: Tensor, part: slice) -> Rows:
        aligned = align(j, mask.to(j.device))
        return {
            "distance": aligned.distance,
            "singular_values": aligned.singular_values,
            "ima_contrast": aligned.ima_contrast,
            "norms": j.norm(dim=-1),
        }

    return step


def against_factors(data: Grid, index: NDArray[np.int64], mask: Tensor) -> Step:
    def step(j: Tensor, part: slice) -> Rows:
        tangents = factor_tangents(data, index[part]).to(j)
        if tangents.shape[-1] != j.shape[-1]:
            expected = f"images of as many pixels as the decoder's ({j.shape[-1]})"
            raise InputError("data", expected, tangents.shape[-1])
        components, variances, _ = local_pca(tangents)
        return {
            **_beside("components", j, components, variances, mask, part),
            **_matches("tangents", j, tangents, tangents.any(-1), mask, part),
            **_named("mixture", factor_mixture(j, tangents)._asdict()),
        }

    return step


def against_images(pool: Pool, neighbours: int, mask: Tensor, memory: int) -> list[Step]:
    count = int(mask.sum())
    everywhere = global_components(pool.images, count, memory=memory)

    def near(j: Tensor, part: slice) -> Rows:
        found = neighbour_components(
            pool.images,
            pool.index[part],
            neighbours=neighbours,
            components=min(count, neighbours),
            memory=memory,
        )
        return _beside("neighbours", j, found.components, found.variances, mask, part)

    def all_of_them(j: Tensor, part: slice) -> Rows:
        components, variances, _ = everywhere
        n = len(j)
        repeated = components.repeat(n, 1, 1), variances.repeat(n, 1)
        return _beside("global", j, *repeated, mask, part)

    return [near, all_of_them]


def against_draws(
    decoder: Decoder,
    points: Points,
    draws: int,
    mask: Tensor,
    output: Output,
    seed: int,
    memory: int,
) -> Step:
    def step(j: Tensor, part: slice) -> Rows:
        assert points.logvar is not None
        found = posterior_components(
            decoder,
            points.z[part],
            points.logvar[part],
            draws=draws,
            components=int(mask.sum()),
            output=output,
            seed=seed,
            memory=memory,
        )
        return _beside("posterior", j, found.components, found.variances, mask, part)

    return step


def beside_expected(points: Points, beta: float, pixels: Pixels) -> Step:
    def step(j: Tensor, part: slice) -> Rows:
        logvar = points.chosen_logvar
        assert logvar is not None
        j, likelihood = pixels(j, part)
        expected = expected_variance(j, beta, **likelihood)
        measured = logvar[part].float().exp()
        return _named("variance", {"measured": measured, "expected": expected})

    return step


def priced(beta: float, pixels: Pixels, mask: Tensor, seed: int) -> Step:
    """Return the step that prices the axes, in nats."""

    def step(j: Tensor, part: slice) -> Rows:
        j, likelihood = pixels(j, part)
        found = axes_price(j, beta, **likelihood, active=mask, seed=seed)
        return _named("price", found._asdict())

    return step


@dataclass(frozen=True)
class Pixels:
    """Jacobians in image space, and the likelihood that the decoder was trained with.

    Parameters
    ----------
    decoder, z
        The decoder, and the points [n, d].
    output, space
        What the decoder returns, and where its Jacobians were taken.
    likelihood, scale, dispersion
        As of `axes_price`.
    """

    decoder: Decoder
    z: Tensor
    output: Output
    space: Output
    likelihood: Likelihood
    scale: float
    dispersion: float | Tensor | None

    def __call__(self, j: Tensor, part: slice) -> tuple[Tensor, dict[str, Any]]:
        """Return Jacobians of the mean, and the arguments of `axes_price` about the likelihood."""
        arguments = {
            "likelihood": self.likelihood,
            "scale": self.scale,
            "dispersion": self.dispersion,
        }
        if self.likelihood == "gaussian" and self.space == "image":
            return j, arguments
        with torch.no_grad():
            m = self.decoder(self.z[part]).flatten(1).to(j)
        if self.output == "logits":
            m = m.sigmoid()
        elif self.likelihood != "gaussian":
            m = m.clamp(0, 1 if self.likelihood == "bernoulli" else None)
        j = j * (m * (1 - m))[:, None] if self.space == "logits" else j
        return j, arguments | {"mean": m}


def _beside(
    name: str,
    j: Tensor,  # [B, d, P]
    components: Tensor,  # [B, m, P]
    variances: Tensor,  # [B, m]
    mask: Tensor,
    part: slice,
) -> Rows:
    """Return the fields of a Reference."""
    components, variances = components.to(j), variances.to(j)
    angles = principal_angles(j[:, mask.to(j.device)], components)
    return {
        **_matches(name, j, components, variances > 0, mask, part),
        **_named(name, {"angles": angles, "variances": variances}),
    }


def _matches(
    name: str, j: Tensor, directions: Tensor, present: Tensor, mask: Tensor, part: slice
) -> Rows:
    """Return the fields of Matches."""
    cosines = direction_cosines(j, directions, latent_axis=1)
    matched = matched_cosines(cosines, mask, present)
    turned = [
        matched_cosines(direction_cosines(one, directions, latent_axis=1), mask, present).mean
        for one in _turned(j, mask, part)
    ]
    fields = {"cosines": cosines, "matched": matched.mean, "partner": matched.partner}
    return _named(name, fields | {"chance": torch.stack(turned).mean(0)})


def _turned(j: Tensor, mask: Tensor, part: slice) -> Iterator[Tensor]:
    """Yield Jacobians of the same decoder with its active latents turned at random."""
    count = int(mask.sum())
    active = mask.to(j.device)
    for draw in range(TURNS):
        turned = j.clone()
        if count > 1:
            rotations = _rotations(count, draw, part.start, part.stop)
            turned[:, active] = rotations.to(j) @ j[:, active]
        yield turned


@lru_cache(maxsize=TURNS)  # each chunk's are used for every reference in turn
def _rotations(count: int, draw: int, start: int, stop: int) -> Tensor:  # [stop - start, m, m]
    # a stream for each point, so that results do not depend on the size of chunks
    normal = [
        np.random.default_rng([draw, point]).normal(size=(count, count))
        for point in range(start, stop)
    ]
    return torch.from_numpy(random_rotations(np.stack(normal)))


def _named(name: str, fields: Rows) -> Rows:
    return {f"{name}.{field}": values for field, values in fields.items()}
