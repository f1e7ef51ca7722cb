"""The base class of models: networks, and the loss that trains them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from vaebias import ops
from vaebias.errors import InputError
from vaebias.interfaces import Output
from vaebias.models.batch import Batch
from vaebias.models.networks import OWN, ImageShape, NetworkSpec, build_networks
from vaebias.pixels import as_tensor
from vaebias.registry import Registry

__all__ = [
    "MODELS",
    "Adversary",
    "Config",
    "Loss",
    "Objective",
    "Pairing",
    "Step",
    "check_objective",
]

Pairing: TypeAlias = Literal["laplace", "laplace-moving", "uniform", "ranked"]


@dataclass(frozen=True)
class Step:
    """A training step: all that a loss may depend on besides batch and weights.

    Attributes
    ----------
    number
        Number of steps taken before this one (0 for the first). Where seeds are stacked, a 0-d
        int64 tensor on their device: a CUDA graph of the step reads it anew each time.
    total
        Number of steps of the whole run.
    seed
        Seed of the run; noise is a function of ``seed`` and ``number``. May be a 0-d int64
        tensor, so that torch.vmap gives each slice its own noise.
    part, parts
        Index of the part of the batch that is given, and number of its equal parts.
    gather
        If other processes have the other parts: stacks the ``[b, ...]`` of all processes to
        ``[parts, b, ...]``, differentiably.
    """

    number: int | Tensor
    total: int
    seed: int | Tensor
    part: int = 0
    parts: int = 1
    gather: Callable[[Tensor], Tensor] | None = None

    def reached(self, steps: int) -> float | Tensor:
        """Return how much of a change over the first ``steps`` steps is done, from 0 to 1."""
        if not steps:
            return 1.0
        share = self.number / steps
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)


class Loss(NamedTuple):
    """The loss of a step, and its parts for the log.

    Attributes
    ----------
    total
        Scalar that the model's own parameters minimise.
    parts
        Detached scalars to log, by name.
    adversary
        Scalar that the adversary's parameters minimise, if the objective has an adversary.
    """

    total: Tensor
    parts: dict[str, Tensor]
    adversary: Tensor | None = None


class Adversary(NamedTuple):
    """A submodule trained against the model, with its own loss and its own Adam."""

    network: nn.Module
    learning_rate: float
    betas: tuple[float, float]


@dataclass(frozen=True)
class Config:
    """Settings of an objective; subclasses are frozen dataclasses of plain values."""

    former_names: ClassVar[Mapping[str, str]] = {}
    """Names of fields in checkpoints of earlier versions, with the names of today."""


def check_objective(objective: object) -> None:
    """Raise InputError unless ``objective`` is one of this package: a module has no loss."""
    if not isinstance(objective, Objective):
        expected = "a model of models.build(...); own modules are its network=(encoder, decoder)"
        raise InputError("objective", expected, type(objective).__name__)


class Objective(nn.Module, ABC):
    """An encoder, perhaps a decoder, and the loss that trains them.

    A subclass sets ``config_type`` and ``heads`` and defines ``loss``. Its constructor, if any,
    passes its arguments on unchanged, so that ``build`` can rebuild it from a checkpoint.

    Parameters
    ----------
    name
        Name in ``MODELS``.
    image_shape
        Shape ``(C, H, W)`` of the images.
    latents
        Number of latents d.
    network
        Name of the networks, or a mapping with ``name`` and their options.
    config
        An instance of the class's ``config_type``.
    """

    config_type: ClassVar[type[Config]] = Config
    """The configuration class."""
    returns_log_variances: ClassVar[bool] = True
    """The encoder returns log variances even if all are positive, as after a short training."""
    heads: ClassVar[int] = 2
    """Number of vectors of length d that the encoder returns: 2 for mean and log variance."""
    discrete: ClassVar[bool] = False
    """Whether latents take finitely many values."""
    takes_pairs: ClassVar[bool] = False
    """If True, batches are of pairs of neighbouring frames instead of single images."""
    separable: ClassVar[bool] = False
    """True if the loss of a batch is the mean of the losses of its equal parts. The loss of other
    objectives relates the images of a batch: it is never computed in parts one after the other,
    and if the parts are in several processes, ``loss`` must ``gather`` what it needs of them."""
    pairing: ClassVar[Pairing] = "laplace"
    """How pairs are drawn by default: by ``data.laplace_pairs`` (``"laplace-moving"``: with at
    least one change), ``data.uniform_pairs`` or ``data.ranked_pairs``."""
    ranked: int = 0
    """Number of factors by which pairs must be ranked (0: none)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Betas of the model's Adam. The one-cycle schedule changes the first of them."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) of the parameters that ``decayed`` returns."""
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
        """Return the number of vectors of length d that the encoder returns."""
        return self.heads

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Compute constants of the data; called before the first step and when a run resumes.

        ``images`` yields batches of all ``dataset_size`` images, or of a large sample, once.
        """

    def adversary(self) -> Adversary | None:
        """Return the submodule that minimises ``Loss.adversary``, if there is one."""
        return None

    def decayed(self) -> list[nn.Parameter]:
        """Return the parameters to which ``weight_decay`` applies."""
        return []

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor | None]:
        """Return codes ``mu [B, d]`` and ``logvar [B, d]``, None if there is no variance."""
        heads = self.encoder(as_tensor(x, None)).unflatten(1, (self.heads, self.latents)).unbind(1)
        return heads[0], heads[1] if self.heads > 1 else None

    def decode(
        self,
        z: Tensor,  # [B, d]
    ) -> Tensor:
        """Return images ``[B, C, H, W]``: logits or pixel values, see ``output``."""
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
        """Sample from posteriors by `ops.sample_and_kl`; return samples and KL, ``[B, d]`` each.

        Part of a batch gets the noise that it has in the whole batch.
        """
        if step.parts == 1:
            return ops.sample_and_kl(mu, logvar, step.seed, step.number)
        zero = mu.new_zeros(step.parts * len(mu), self.latents)
        noise, _ = ops.sample_and_kl(zero, zero, step.seed, step.number)
        own = noise.unflatten(0, (1 + self.takes_pairs, step.parts, -1))[:, step.part].flatten(0, 1)
        return ops.sample_and_kl(mu, logvar, noise=own)

    def gather(
        self,
        rows: Tensor,  # [B, ...]
        step: Step,
    ) -> Tensor:
        """Return the rows of the whole batch, in its order, differentiably.

        A term of the loss computed from them is the same in every process.
        """
        if step.gather is None:
            return rows
        stacked: Tensor = step.gather(rows)  # [parts, B, ...]
        frames = stacked.unflatten(1, (1 + self.takes_pairs, -1)).transpose(0, 1)
        gathered: Tensor = frames.flatten(0, 2)
        return gathered

    @abstractmethod
    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the loss of ``batch`` at ``step``; two batches if ``takes_pairs``."""

    def to_json(self) -> dict[str, Any]:
        """Return the arguments with which ``build`` makes the same objective, untrained."""
        network = self.network if isinstance(self.network, str) else dict(self.network)
        return {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "latents": self.latents,
            "network": network,
            "config": asdict(self.config),
        }


MODELS: Registry[type[Objective]] = Registry("model", "vaebias.models")
