"""The alignment diagnostic: any decoder, with or without its encoder and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vaebias.analysis.activity import RULES, ActiveUnits, active_units
from vaebias.analysis.alignment import (
    align,
    dto_chance,
    matched_cosines,
    relative_gaps,
)
from vaebias.analysis.diagnosis import DataAlignment, Diagnosis
from vaebias.analysis.jacobian import (
    Decoder,
    DecoderJacobian,
    Output,
    evaluating,
    prepare_jacobian,
)
from vaebias.analysis.local_pca import Grid, as_image, as_index, factor_tangents, local_pca
from vaebias.errors import InputError, RunFailedError
from vaebias.ops import direction_cosines

__all__ = ["diagnose"]

Encoder = Callable[[Tensor], Any]  # x [B, C, H, W] -> (mu [B, d], logvar [B, d] | None) or mu
Progress = Callable[[int, int], None]

_BATCH = 256
_NEARLY_EQUAL = 0.05
_DEAD = 1e-6  # of the strongest direction: float32 rounding of a derivative that is 0


@dataclass(frozen=True)
class _Points:
    z: Tensor  # [n, d]
    place: tuple[Grid, NDArray[np.int64]] | None  # the data, and where in it each point is
    activity: ActiveUnits | None


def diagnose(
    decoder: Decoder,
    z: Tensor | None = None,  # [n, d]
    *,
    encoder: Encoder | None = None,
    images: Tensor | NDArray[Any] | None = None,  # [n, C, H, W]
    data: Grid | None = None,
    index: Sequence[int] | NDArray[np.int64] | None = None,  # [n]
    samples: int = 256,
    output: Output = "logits",
    space: Output = "image",
    active: str | Sequence[bool] | NDArray[np.bool_] | Tensor = "zietlow2021",
    seed: int = 0,
    memory: int = 2**28,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure how a decoder's latent axes lie to principal directions.

    At each point, the Jacobian's distance to orthogonality (DtO), singular values and c_IMA
    over the active latents; with ``data``, also the cosines of the decoder's directions with
    the data's local principal components and with its factors' tangents.

    Parameters
    ----------
    decoder
        Maps latents [B, d] to images [B, C, H, W] (or [B, P]), rows independent.
    z
        Points to look at. Without it they are the encoder's means of ``images``, else of
        ``data`` at ``index``, else at ``samples`` points drawn from ``data``.
    encoder
        Maps float32 images in 0..1 to (mu, logvar), logvar None for a deterministic one.
        Also tells which latents are active.
    images
        Images for the encoder, uint8 or float in 0..1.
    data
        A factor grid (``vaebias.data.load(...)``). Without it the cosines are left out.
    index
        Grid index of each point; needed to compare given ``z`` or ``images`` with ``data``.
    samples
        How many points to draw from ``data``.
    output
        What the decoder returns: Bernoulli ``"logits"`` or the ``"image"``.
    space
        Differentiate the ``"image"`` (after the sigmoid) or the ``"logits"``.
    active
        Rule for active latents (``"zietlow2021"``, ``"rolinek2019"``, ``"burda2016"``), or a
        mask of d booleans. Without an encoder a rule has nothing to go by: all count.
    seed
        Of the drawn points and of the chance level.
    memory
        Rough bound in bytes on what is held at once.
    progress
        Called as ``progress(points done, points in all)``.

    Raises
    ------
    InputError
        Where an argument has the wrong shape or is unknown, or there is nothing to sample
        points from.
    RunFailedError
        Where a derivative of the decoder is not finite.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (DtO). Zietlow, Rolinek, Martius, ICML 2021.

    Examples
    --------
    >>> import torch
    >>> diagnose(lambda z: z @ torch.eye(2, 9), torch.zeros(4, 2), output="image").dto[0]
    0.0
    """
    if isinstance(active, str) and active not in RULES:
        raise InputError("active", f"a mask or one of {', '.join(RULES)}", repr(active))
    if samples < 1:
        raise InputError("samples", "at least 1", samples)
    with evaluating(decoder, encoder):
        points = _points(z, encoder, images, data, index, samples, seed)
        at = prepare_jacobian(decoder, points.z, output=output, space=space)
        rule, mask = _mask(active, points.activity, at.latents)
        rows = _measure(at, points, mask, memory, progress)
    count = int(mask.sum())
    singular_values = rows["singular_values"][:, :count]
    distance = np.where(singular_values[:, :1].any(1), rows["distance"], np.nan)
    contrast = np.where(np.isfinite(rows["ima_contrast"]), rows["ima_contrast"], np.nan)
    return Diagnosis(
        points=len(points.z),
        latents=at.latents,
        pixels=at.pixels,
        space=space,
        differentiation=at.method,
        rule=rule,
        active=mask.cpu().numpy(),
        activity=points.activity,
        distance=distance.astype(np.float32),
        chance=dto_chance(count, seed=seed) if count else None,
        singular_values=singular_values,
        relative_gaps=relative_gaps(torch.from_numpy(singular_values)).numpy(),
        ima_contrast=contrast.astype(np.float32),
        data=None if data is None else _data_alignment(data, rows),
        notes=tuple(_notes(rows, singular_values, mask.cpu().numpy(), at, space, data, rule)),
    )


def _points(
    z: Tensor | None,
    encoder: Encoder | None,
    images: Tensor | NDArray[Any] | None,
    data: Grid | None,
    index: Sequence[int] | NDArray[np.int64] | None,
    samples: int,
    seed: int,
) -> _Points:
    """Where to look, from what was given."""
    if z is not None and (not isinstance(z, Tensor) or z.ndim != 2 or len(z) == 0):
        shape = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise InputError("z", "a tensor of latents [n, d] with n >= 1", shape)
    place = None
    if data is not None:
        if index is not None:
            place = data, as_index(index, len(data))
        elif z is None and images is None:
            place = data, np.sort(data.sample(samples, np.random.default_rng(seed)))
        else:
            given = "images" if z is None else "z"
            raise InputError("index", f"the index in the data of each row of {given}", None)
    elif index is not None:
        raise InputError("data", "the grid that index points into", None)

    activity = None
    reader = _reader(images, place)
    if encoder is not None and reader is not None:
        mu, logvar = _encode(encoder, *reader)
        activity = active_units(mu, logvar)
        if z is not None and z.shape[1] != mu.shape[1]:
            raise InputError("z", f"[n, {mu.shape[1]}], the encoder's latents", list(z.shape))
        z = mu if z is None else z
    if z is None:
        found = "an encoder alone" if encoder is not None else "no encoder"
        raise InputError("z", "latents, or an encoder and images or data for it", found)
    if place is not None and len(place[1]) != len(z):
        raise InputError("index", f"one for each of the {len(z)} points", len(place[1]))
    return _Points(z, place, activity)


def _reader(
    images: Tensor | NDArray[Any] | None,
    place: tuple[Grid, NDArray[np.int64]] | None,
) -> tuple[int, Callable[[slice], Tensor]] | None:
    """How many images there are for the encoder, and how to read some of them."""
    if images is not None:
        if images.ndim != 4 or len(images) == 0:
            raise InputError("images", "[n, C, H, W] with n >= 1", list(images.shape))
        return len(images), lambda part: as_image(images[part])
    if place is not None:
        data, index = place
        if len(index) == 0:
            raise InputError("index", "at least one point", 0)
        return len(index), lambda part: as_image(data.images(index[part]))
    return None


def _encode(
    encoder: Encoder,
    total: int,
    read: Callable[[slice], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """The encoder's outputs of all images, in batches."""
    device = _device(encoder)
    means, logvars = [], []
    for start in range(0, total, _BATCH):
        batch = read(slice(start, start + _BATCH)).to(device)
        with torch.no_grad():
            result = encoder(batch)
        mu, logvar = result if isinstance(result, tuple) else (result, None)
        if not isinstance(mu, Tensor) or mu.ndim != 2 or len(mu) != len(batch):
            found = list(mu.shape) if isinstance(mu, Tensor) else type(mu).__name__
            raise InputError("encoder(x)", f"(mu, logvar) with mu [{len(batch)}, d]", found)
        means.append(mu)
        if logvar is not None:
            logvars.append(logvar)
    return torch.cat(means), torch.cat(logvars) if logvars else None


def _device(function: object) -> torch.device:
    owner = getattr(function, "__self__", function)
    first = next(owner.parameters(), None) if isinstance(owner, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def _mask(
    active: str | Sequence[bool] | NDArray[np.bool_] | Tensor,
    activity: ActiveUnits | None,
    latents: int,
) -> tuple[str, Tensor]:
    if isinstance(active, str):
        if activity is None:
            return "all", torch.ones(latents, dtype=torch.bool)
        return active, torch.from_numpy(activity.by(active))
    mask = torch.as_tensor(active).cpu()
    if mask.dtype != torch.bool or mask.shape != (latents,):
        raise InputError("active", f"{latents} booleans", f"{mask.dtype} {list(mask.shape)}")
    return "given", mask


def _measure(
    at: DecoderJacobian,
    points: _Points,
    mask: Tensor,
    memory: int,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """The figures of each point; Jacobians and tangents live for one chunk only."""
    parts: dict[str, list[Tensor]] = {}
    total = len(points.z)
    step = at.chunk(memory)
    for start in range(0, total, step):
        part = slice(start, start + step)
        j = at(points.z[part])
        if not j.isfinite().all():
            raise RunFailedError(f"the decoder's derivative is not finite near point {start}")
        aligned = align(j, mask.to(j.device))
        rows = {
            "distance": aligned.distance,
            "singular_values": aligned.singular_values,
            "ima_contrast": aligned.ima_contrast,
            "norms": j.norm(dim=-1),
        }
        if points.place is not None:
            data, index = points.place
            rows |= _against_data(j, data, index[part], mask)
        for name, values in rows.items():
            parts.setdefault(name, []).append(values.cpu())
        if progress is not None:
            progress(min(start + step, total), total)
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


def _against_data(
    j: Tensor,  # [B, d, P]
    data: Grid,
    index: NDArray[np.int64],
    mask: Tensor,
) -> dict[str, Tensor]:
    tangents = factor_tangents(data, index).to(j)
    if tangents.shape[-1] != j.shape[-1]:
        expected = f"images of as many pixels as the decoder's ({j.shape[-1]})"
        raise InputError("data", expected, tangents.shape[-1])
    components, variances, _ = local_pca(tangents)
    with_components = direction_cosines(j, components, latent_axis=1)
    with_factors = direction_cosines(j, tangents, latent_axis=1)
    to_components = matched_cosines(with_components, mask, variances > 0)
    to_factors = matched_cosines(with_factors, mask, tangents.any(-1))
    return {
        "cosines_components": with_components,
        "cosines_factors": with_factors,
        "matched_components": to_components.mean,
        "matched_factors": to_factors.mean,
        "partner_components": to_components.partner,
        "partner_factors": to_factors.partner,
        "component_variances": variances,
    }


def _data_alignment(data: Grid, rows: dict[str, NDArray[Any]]) -> DataAlignment:
    return DataAlignment(
        name=getattr(data, "name", None),
        source=getattr(data, "source", None),
        factors=tuple(data.names),
        cosines_components=rows["cosines_components"],
        cosines_factors=rows["cosines_factors"],
        matched_components=rows["matched_components"],
        matched_factors=rows["matched_factors"],
        partner_components=rows["partner_components"],
        partner_factors=rows["partner_factors"],
        component_variances=rows["component_variances"],
    )


def _notes(
    rows: dict[str, NDArray[Any]],
    singular_values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    at: DecoderJacobian,
    space: str,
    data: Grid | None,
    rule: str,
) -> list[str]:
    notes = []
    total, count = singular_values.shape
    if rule == "all":
        notes.append("No encoder to tell which latents are active: all of them count.")
    if at.method == "finite":
        notes.append("The decoder lacks derivatives: finite differences, good to 3 digits.")
    if space == "logits" and data is not None:
        notes.append("The cosines compare directions of logits with directions of pixels.")
    if count == 0:
        return [*notes, "No latent is active: there are no axes to speak of."]
    largest = singular_values[:, :1]
    flat = int((largest == 0).sum())
    if flat:
        notes.append(f"The image answers to no active latent at {flat} of {total} points.")
    dead = mask & (rows["norms"] <= _DEAD * rows["norms"].max()).all(0)
    if dead.any() and flat < total:
        names = np.flatnonzero(dead).tolist()
        notes.append(f"Latents {names} count as active but do not move the image.")
    deficient = int(((singular_values[:, -1:] <= _DEAD * largest) & (largest > 0)).sum())
    if deficient:
        notes.append(
            f"The active directions are linearly dependent at {deficient} of {total} points:"
            " c_IMA is infinite or noise there."
        )
    gaps = relative_gaps(torch.from_numpy(singular_values)).numpy()
    close = (gaps < _NEARLY_EQUAL).mean(0) if flat < total else np.zeros(count - 1)
    for i in np.flatnonzero(close > 0.5):
        notes.append(
            f"Singular values {i + 1} and {i + 2} are within 5 % of each other at"
            f" {close[i]:.0%} of the points: DtO says little about their directions."
        )
    return notes
