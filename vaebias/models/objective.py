"""What a model is here: networks, and how a batch becomes a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models.networks import OWN, ImageShape, NetworkSpec, build_networks
from vaebias.registry import Registry

__all__ = [
    "MODELS",
    "Adversary",
    "Batch",
    "Config",
    "Loss",
    "Objective",
    "Output",
    "Pairing",
    "Step",
    "build",
    "frames",
    "mean_image",
    "pixels",
    "single",
]

Batch: TypeAlias = "Tensor | tuple[Tensor, Tensor]"
Output: TypeAlias = Literal["logits", "image"]
Pairing: TypeAlias = Literal["laplace", "laplace-moving", "uniform", "ranked"]


@dataclass(frozen=True)
class Step:
    """Where training stands: all that a loss may depend on besides batch and weights.

    Attributes
    ----------
    number
        Steps taken before this one (0 for the first).
    total
        Steps of the whole run.
    seed
        Seed of the run; noise is a function of ``seed`` and ``number``. An int64 tensor ``[]``
        where torch.vmap trains many seeds at once.
    part, parts
        Which of how many equal parts of the step's batch the batch at hand is.
    gather
        Where other processes have the other parts: stacks everyone's ``[b, ...]`` to
        ``[parts, b, ...]``, differentiably.
    """

    number: int
    total: int
    seed: int | Tensor
    part: int = 0
    parts: int = 1
    gather: Callable[[Tensor], Tensor] | None = None


class Loss(NamedTuple):
    """What a step minimises, and what it logs.

    Attributes
    ----------
    total
        The scalar that the model's own parameters minimise.
    parts
        Detached scalars worth logging, by name.
    adversary
        The scalar that the parameters of the objective's adversary minimise, if it has one.
    """

    total: Tensor
    parts: dict[str, Tensor]
    adversary: Tensor | None = None


class Adversary(NamedTuple):
    """A submodule trained against the model: by a loss of its own, with an Adam of its own."""

    network: nn.Module
    learning_rate: float
    betas: tuple[float, float]


@dataclass(frozen=True)
class Config:
    """Settings of an objective: subclass as a frozen dataclass of JSON-able fields."""


class Objective(nn.Module, ABC):
    """An encoder, perhaps a decoder, and the loss that trains them.

    A subclass sets ``settings`` and ``heads`` and writes ``loss``; its constructor, if any,
    passes its arguments on unchanged, so that ``build`` can rebuild it from a checkpoint.

    Parameters
    ----------
    name
        Name in ``MODELS``.
    image_shape
        ``(C, H, W)``.
    latents
        Number of latents d.
    network
        Name of the networks, or a mapping with ``name`` and their options.
    config
        An instance of the class's ``settings``.
    """

    settings: ClassVar[type[Config]] = Config
    """The configuration class."""
    heads: ClassVar[int] = 2
    """Vectors of d numbers that the encoder puts out: 2 for mean and log-variance."""
    pairs: ClassVar[bool] = False
    """Whether a batch is a pair of neighbouring frames rather than single images."""
    separable: ClassVar[bool] = False
    """Whether the loss of a batch is the mean of the losses of its equal parts: images, or pairs,
    do not meet in it. Others are never computed in parts one after the other, and have to
    ``gather`` what they need of the whole where its parts lie in several processes."""
    pairing: ClassVar[Pairing] = "laplace"
    """How pairs are drawn: by ``data.laplace_pairs``, the same with at least one factor moving,
    by ``data.uniform_pairs``, or by ``data.ranked_pairs``."""
    ranked: int = 0
    """By how many factors the loss takes pairs to be ranked; 0: it does not ask for that."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of the Adam that trains the model. A one-cycle schedule moves the first on its own."""
    output: Output = "logits"
    """What ``decode`` returns: Bernoulli logits, or pixel values."""

    config: Config
    encoder: nn.Module
    decoder: nn.Module | None

    def __init__(
        self,
        name: str,
        image_shape: ImageShape,
        latents: int,
        network: NetworkSpec,
        config: Config,
    ) -> None:
        super().__init__()
        self.name = name
        self.image_shape = image_shape
        self.latents = latents
        self.network = OWN if isinstance(network, tuple) else network
        self.config = config
        self.encoder, self.decoder = build_networks(network, image_shape, latents, self.outputs())

    def outputs(self) -> int:
        """Return how many vectors of d numbers the encoder puts out: ``heads``."""
        return self.heads

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Take constants from the data before the first step, and again where a run goes on.

        ``images`` are batches, for one pass, of all ``dataset_size`` images or of a large sample
        of them.
        """

    def adversary(self) -> Adversary | None:
        """Return what minimises ``Loss.adversary`` rather than ``Loss.total``, if anything."""
        return None

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor | None]:
        """Return the codes ``mu [B, d]`` and, for a variational encoder, ``logvar [B, d]``."""
        heads = self.encoder(pixels(x)).unflatten(1, (self.heads, self.latents)).unbind(1)
        return heads[0], heads[1] if self.heads > 1 else None

    def decode(
        self,
        z: Tensor,  # [B, d]
    ) -> Tensor:
        """Return ``[B, C, H, W]``: logits or pixel values, as ``output`` says."""
        if self.decoder is None:
            raise InputError("model", "one with a decoder", self.name)
        decoded: Tensor = self.decoder(z)
        return decoded

    def sample(
        self,
        mu: Tensor,  # [B, d]
        logvar: Tensor,  # [B, d]
        step: Step,
    ) -> tuple[Tensor, Tensor]:
        """Draw from posteriors by ``ops.sample_and_kl``; return samples and KL, ``[B, d]`` each.

        A part of a batch is given the noise that it has in the whole.
        """
        if step.parts == 1:
            return ops.sample_and_kl(mu, logvar, step.seed, step.number)
        zero = mu.new_zeros(step.parts * len(mu), self.latents)
        noise, _ = ops.sample_and_kl(zero, zero, step.seed, step.number)
        own = noise.unflatten(0, (1 + self.pairs, step.parts, -1))[:, step.part].flatten(0, 1)
        return ops.sample_and_kl(mu, logvar, noise=own)

    def gather(
        self,
        rows: Tensor,  # [B, ...]
        step: Step,
    ) -> Tensor:
        """Return the rows of the whole batch, in its order, differentiably.

        A term of the loss computed of them is the same in every process.
        """
        if step.gather is None:
            return rows
        stacked: Tensor = step.gather(rows)  # [parts, B, ...]
        frames = stacked.unflatten(1, (1 + self.pairs, -1)).transpose(0, 1)
        gathered: Tensor = frames.flatten(0, 2)
        return gathered

    @abstractmethod
    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the loss of ``batch`` (a pair of batches where ``pairs``) at ``step``."""

    def to_json(self) -> dict[str, Any]:
        """Return the arguments from which ``build`` makes the same objective, untrained."""
        network = self.network if isinstance(self.network, str) else dict(self.network)
        return {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "latents": self.latents,
            "network": network,
            "config": asdict(self.config),
        }


MODELS: Registry[type[Objective]] = Registry("model", "vaebias.models")


def build(
    name: str,
    image_shape: ImageShape,
    latents: int,
    network: NetworkSpec = "mlp",
    *,
    seed: int | None = None,
    **config: Any,
) -> Objective:
    """Make an untrained model.

    Parameters
    ----------
    name
        A name in ``MODELS``, for example ``"beta_vae"``.
    image_shape
        ``(C, H, W)`` of the images.
    latents
        Number of latents.
    network
        A name in ``NETWORKS``, or a mapping: ``{"name": "mlp", "hidden": [256, 256]}``. Or your
        own modules ``(encoder, decoder)``, on the CPU: ``[B, C, H, W]`` in [0, 1] to
        ``[B, heads d]`` (mean and log-variance one after the other), ``[B, d]`` to
        ``[B, C, H, W]``. They keep their weights. PCL leaves
        the decoder aside.
    seed
        Seed of the initial weights; torch's generator stays as it is. Without, the weights
        are drawn from torch's generator.
    **config
        Fields of the objective's configuration, for example ``beta=8``.

    Raises
    ------
    UnknownNameError
        No such model or network; the message lists the known ones.
    InputError
        A configuration field that the model does not have, or a value it cannot take.
    """
    cls = MODELS[name]
    if latents < 1:
        raise InputError("latents", "at least 1", latents)
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise InputError("image_shape", "(C, H, W), each at least 1", tuple(image_shape))
    c, h, w = image_shape
    settings = _configure(name, cls.settings, config)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        return cls(name, (c, h, w), latents, network, settings)


def pixels(
    x: Tensor,  # [...] float in [0, 1] or uint8
) -> Tensor:
    """Return images as floats in [0, 1]; bytes are divided by 255, floats left alone."""
    return x / 255 if x.dtype == torch.uint8 else x


def mean_image(images: Iterable[Tensor], image_shape: ImageShape) -> Tensor:
    """Return the mean of batches of images, ``[C, H, W]`` in [0, 1]; 0 where there are none."""
    count = 0
    total = torch.zeros(image_shape, dtype=torch.float64)
    for batch in images:
        count += len(batch)
        # a double holds the sum of 2^45 bytes exactly: the mean knows no batch size
        total += batch.sum(0, dtype=torch.float64).cpu() / (
            255 if batch.dtype == torch.uint8 else 1
        )
    return total / max(count, 1)


def single(batch: Batch) -> Tensor:
    """Return a batch of single images as it is."""
    if not isinstance(batch, Tensor):
        raise InputError("batch", "one tensor of images", type(batch).__name__)
    return batch


def frames(batch: Batch) -> Tensor:
    """Return the images of pairs as one batch ``[2B, C, H, W]``: the first frames come first."""
    if isinstance(batch, Tensor) or len(batch) != 2:
        raise InputError("batch", "a pair of image batches", type(batch).__name__)
    return torch.cat(batch)


def _configure(model: str, settings: type[Config], given: Mapping[str, Any]) -> Config:
    defaults = {field.name: field.default for field in fields(settings)}
    for name in given:
        if name not in defaults:
            expected = f"a configuration field ({', '.join(defaults) or 'there is none'})"
            raise InputError(model, expected, repr(name))
    return settings(**{name: _like(defaults[name], name, value) for name, value in given.items()})


def _like(default: Any, name: str, value: object) -> object:
    """Return ``value`` as the type of ``default``: values come from files and command lines."""
    kind: type
    if isinstance(default, bool):
        kind, expected = bool, "true or false"
    elif isinstance(value, bool):  # which Python counts among the numbers
        kind, expected = type(default), "no truth value"
    elif isinstance(default, float):
        kind, expected = Real, "a number"
    elif isinstance(default, int):
        kind, expected = Integral, "a whole number"
    else:
        kind, expected = type(default), f"a {type(default).__name__}"
    if not isinstance(value, kind):
        raise InputError(name, expected, repr(value))
    return type(default)(value)  # a NumPy number would not go into JSON
