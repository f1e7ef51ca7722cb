"""A callback for PyTorch Lightning: the latents and axes of a VAE while it is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from vaebias.analysis import diagnose
from vaebias.checks import check_integer
from vaebias.errors import InputError
from vaebias.interfaces import Decoder, Encoder, Output

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    try:
        from pytorch_lightning import Callback, LightningModule, Trainer
    except ImportError as error:
        raise ImportError(
            "vaebias.integrations.lightning needs PyTorch Lightning: pip install vaebias[lightning]"
        ) from error

__all__ = ["LatentMonitor"]


class LatentMonitor(Callback):
    """Log active latents, the KL of each latent, and DtO beside chance after training epochs.

    Logged are ``<prefix>active`` (E sigma² < .8), ``<prefix>kl/0``, ... in nats, ``<prefix>dto``,
    and ``<prefix>dto_chance``, that of random axes. DtO is omitted while no latent is active.

    Parameters
    ----------
    images
        Images [n, C, H, W] that are encoded each time, uint8 or float in 0..1.
    encoder, decoder
        Functions of the model; by default the ``encode`` and ``decode``, else the ``encoder`` and
        ``decoder``, of the LightningModule. The encoder may return anything that
        `vaebias.posterior.posterior` reads.
    output
        What the decoder returns: Bernoulli ``"logits"`` or pixel values (``"image"``).
    every_n_epochs
        Number of epochs between measurements.
    points
        Number of images at which the decoder is differentiated.
    prefix
        Beginning of the names that are logged.

    Examples
    --------
    ``Trainer(callbacks=[LatentMonitor(images, output="image")])``
    """

    def __init__(
        self,
        images: Tensor,
        *,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        output: Output = "logits",
        every_n_epochs: int = 1,
        points: int = 64,
        prefix: str = "latents/",
    ) -> None:
        super().__init__()
        self.every_n_epochs = check_integer("every_n_epochs", every_n_epochs, 1)
        self._images = images
        self._index = np.arange(min(check_integer("points", points, 1), len(images)))
        self._encoder, self._decoder, self._output = encoder, decoder, output
        self._prefix = prefix

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, in epochs that are a multiple of ``every_n_epochs``."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            pl_module.log_dict(self.measure(pl_module), rank_zero_only=True)

    def measure(self, module: LightningModule) -> dict[str, float]:
        """Return what is logged, by name."""
        encoder = self._encoder or _part(module, ("encode", "encoder"))
        decoder = self._decoder or _part(module, ("decode", "decoder"))
        found = diagnose(
            decoder,
            encoder=encoder,
            images=self._images,
            index=self._index,
            output=self._output,
        )
        values: dict[str, float] = {"active": float(found.active.sum())}
        if found.activity is not None:
            kl = np.nan_to_num(found.activity.kl)  # of a deterministic encoder
            values |= {f"kl/{i}": float(one) for i, one in enumerate(kl)}
        if found.chance is not None and np.isfinite(found.dto[0]):
            values |= {"dto": found.dto[0], "dto_chance": found.chance.mean}
        return {self._prefix + name: value for name, value in values.items()}


def _part(module: LightningModule, names: tuple[str, ...]) -> Any:
    for name in names:
        part = getattr(module, name, None)
        if callable(part):
            return part
    expected = f"a LightningModule with {' or '.join(names)} (or {names[-1]}=)"
    raise InputError(names[-1], expected, type(module).__name__)
