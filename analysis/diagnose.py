"""Alignment diagnostic of any decoder, with or without its encoder and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.analysis.activity import RULES
from vaebias.analysis.alignment import dto_chance, relative_gaps
from vaebias.analysis.diagnosis import Diagnosis
from vaebias.analysis.jacobian import DecoderJacobian, prepare_jacobian
from vaebias.analysis.latents import Coordinates, flattened
from vaebias.analysis.notes import notes
from vaebias.analysis.points import active_mask, choose_points
from vaebias.analysis.price import Likelihood
from vaebias.analysis.references import (
    DataAlignment,
    Matches,
    Mixture,
    Prediction,
    Price,
    Reference,
)
from vaebias.analysis.steps import (
    Pixels,
    Step,
    against_draws,
    against_factors,
    against_images,
    beside_expected,
    by_itself,
    priced,
)
from vaebias.checks import check_positive
from vaebias.errors import InputError, RunFailedError
from vaebias.inference import evaluating, range_notes
from vaebias.interfaces import Decoder, Encoder, Grid, Output, Progress
from vaebias.memory import keep_freed_memory

__all__ = ["diagnose"]

_RANGED = 64  # points whose images are looked at for their range


@keep_freed_memory()
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
    neighbours: int | None = None,
    draws: int | None = None,
    beta: float | None = None,
    scale: float = 1.0,
    likelihood: Likelihood | None = None,
    dispersion: float | Tensor | None = None,  # [] or [P]
    coordinates: Coordinates | None = None,
    seed: int = 0,
    memory: int = 2**28,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure how a decoder's latent axes align with principal directions.

    At each point, the Jacobian's distance to orthogonality (DtO), singular values and c_IMA
    over the active latents; with ``data``, also the alignment of the decoder's directions with
    the data's local principal components and with its factors; with ``neighbours`` or
    ``draws``, with principal components that need no labels.

    Parameters
    ----------
    decoder
        Maps latents [B, d] to images [B, C, H, W] (or [B, P]), rows independent.
    z
        Latents of the points, [n, d] or of any shape [n, ...]. By default the encoder's means of
        ``images``, else of ``data`` at ``index``, else at ``samples`` points drawn from ``data``.
    encoder
        Maps float32 images in 0..1 to (mu, logvar), logvar None for a deterministic one.
        Also decides which latents are active.
    images
        Images for the encoder, uint8 or float in 0..1; with ``z``, the images of these latents.
    data
        A factor grid (``vaebias.data.load(...)``). Without it, there is no comparison with factors.
    index
        Grid index of each point; needed to compare given ``z`` or ``images`` with ``data``.
        Without ``data``, the points' positions in ``images`` (all by default).
    samples
        Number of points drawn from ``data``.
    output
        What the decoder returns: Bernoulli ``"logits"`` or the ``"image"``.
    space
        Differentiate the ``"image"`` (after the sigmoid) or the ``"logits"``.
    active
        Rule for active latents (``"zietlow2021"``, ``"rolinek2019"``, ``"burda2016"``), or a
        mask of d booleans. Without an encoder, all latents count as active.
    neighbours
        Number of nearest images: compare also with their local principal components, and with
        global ones, among all ``images``, else among 5,000 more drawn from ``data``.
    draws
        Number of draws of q(z|x): compare also with principal components of decoded draws.
    beta, scale
        Weight of the KL in training, and standard deviation of its Gaussian likelihood if
        the decoder returns images: give the price of the axes in nats and, of an encoder with
        variances, compare these with those expected.
    likelihood
        That of the training, ``"bernoulli"``, ``"gaussian"``, ``"poisson"`` or
        ``"negative_binomial"``. By default Bernoulli for ``output="logits"`` and Gaussian for
        images; a decoder that ends in a sigmoid and was trained with cross entropy is
        ``output="image", likelihood="bernoulli"``. Decoders of counts return the expected counts,
        ``output="image"``.
    dispersion
        Inverse dispersion of a negative binomial likelihood; see `axes_price`.
    coordinates
        Flat indices of the latents to measure, or their number, drawn. By default all; of latents
        [C, h, w] of a convolutional model, of which there are thousands, choose some.
    seed
        Seed of all draws, those for the chance level included.
    memory
        Rough bound on memory, in bytes.
    progress
        Called as ``progress(points done, points in all)``.

    Raises
    ------
    InputError
        An argument of the wrong shape or unknown, or nothing from which to sample points.
    RunFailedError
        A derivative of the decoder is not finite.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (DtO). Zietlow, Rolinek, Martius, ICML 2021.

    Examples
    --------
    >>> import torch
    >>> diagnose(lambda z: z @ torch.eye(2, 9), torch.zeros(4, 2), output="image").dto[0]
    0.0
    """
    if not callable(decoder):
        raise InputError("decoder", "a function from latents to images", type(decoder).__name__)
    if isinstance(active, str) and active not in RULES:
        raise InputError("active", f"a mask or one of {', '.join(RULES)}", repr(active))
    if samples < 1:
        raise InputError("samples", "at least 1", samples)
    if likelihood is None:
        likelihood = "bernoulli" if output == "logits" else "gaussian"
    elif likelihood not in get_args(Likelihood):
        raise InputError("likelihood", " or ".join(get_args(Likelihood)), repr(likelihood))
    counts = likelihood in ("poisson", "negative_binomial")
    if counts and output != "image":
        expected = f"'image', the expected counts, for likelihood={likelihood!r}"
        raise InputError("output", expected, repr(output))
    with evaluating(decoder, encoder):
        points = choose_points(z, encoder, images, data, index, samples, seed, coordinates)
        decoder = flattened(decoder, points.shape)
        if points.logvar is None and draws is not None:
            raise InputError("encoder", "one with variances, at whose means to look", "none")
        if z is None and points.logvar is None:
            _check_width(decoder, points.z)
        at = prepare_jacobian(
            decoder, points.z, output=output, space=space, coordinates=points.coordinates
        )
        rule, mask = active_mask(active, points.activity, at.latents)
        count = int(mask.sum())
        steps: list[Step] = [by_itself(mask)]
        labelled = points.place is not None and getattr(data, "labelled", True)
        if points.place is not None and labelled:
            steps.append(against_factors(*points.place, mask))
        if neighbours is not None and count:
            steps += against_images(points.pool(seed), neighbours, mask, memory)
        if draws is not None and count:
            steps.append(against_draws(decoder, points, draws, mask, output, seed, memory))
        if beta is not None:
            beta, scale = check_positive("beta", beta), check_positive("scale", scale)
            pixels = Pixels(decoder, points.z, output, space, likelihood, scale, dispersion)
            if count:
                steps.append(priced(beta, pixels, mask, seed))
            if points.logvar is not None:
                steps.append(beside_expected(points, beta, pixels))
        rows = _measure(at, points.z, steps, memory, progress)
        with torch.no_grad():
            pictures = images is None or np.ndim(images) == 4
            ranged = range_notes(decoder(points.z[:_RANGED]), output, pictures=pictures)
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
        data=_data_alignment(data, rows) if data is not None and labelled else None,
        label_free={
            name: Reference(**fields)
            for name in ("neighbours", "global", "posterior")
            if (fields := _fields(rows, name))
        },
        price=_priced(Price, "price", rows, beta, likelihood),
        prediction=_priced(Prediction, "variance", rows, beta, likelihood),
        notes=(*ranged, *notes(rows, singular_values, mask.cpu().numpy(), at, space, data, rule)),
        coordinates=None if points.coordinates is None else tuple(points.coordinates.tolist()),
        index=None if points.place is None else points.place[1],
    )


def _measure(
    at: DecoderJacobian,
    z: Tensor,
    steps: Sequence[Step],
    memory: int,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Return the figures of all points; Jacobians and tangents exist for one chunk only."""
    parts: dict[str, list[Tensor]] = {}
    size = at.chunk(memory)
    for start in range(0, len(z), size):
        part = slice(start, min(start + size, len(z)))
        j = at(z[part])
        if not j.isfinite().all():
            raise RunFailedError(f"the decoder's derivative is not finite near point {start}")
        for step in steps:
            for name, values in step(j, part).items():
                parts.setdefault(name, []).append(values.cpu())
        if progress is not None:
            progress(part.stop, len(z))
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


def _check_width(decoder: Decoder, z: Tensor) -> None:
    """Refuse means and log variances in one tensor, which the decoder takes only half of."""
    width = z.shape[1]

    def decodes(latents: int) -> bool:
        try:
            with torch.no_grad():
                decoder(z[:2, :latents])
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        return True

    if width % 2 == 0 and not decodes(width) and decodes(width // 2):
        half = width // 2
        expected = f"mu or (mu, logvar) of {half} latents, as the decoder takes"
        found = f"[B, {width}]: both in one tensor? Then return (h[:, :{half}], h[:, {half}:])"
        raise InputError("encoder", expected, found)


def _fields(rows: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): rows[key] for key in rows if key.startswith(prefix)}


Priced = TypeVar("Priced", Price, Prediction)


def _priced(
    kind: type[Priced],
    name: str,
    rows: dict[str, NDArray[Any]],
    beta: float | None,
    likelihood: Likelihood,
) -> Priced | None:
    fields = _fields(rows, name)
    if beta is None or not fields:
        return None
    return kind(beta, likelihood, **fields)


def _data_alignment(data: Grid, rows: dict[str, NDArray[Any]]) -> DataAlignment:
    return DataAlignment(
        name=getattr(data, "name", None),
        source=getattr(data, "source", None),
        factors=tuple(data.names),
        components=Reference(**_fields(rows, "components")),
        tangents=Matches(**_fields(rows, "tangents")),
        mixture=Mixture(**_fields(rows, "mixture")),
    )
