"""beta-TCVAE: a weight on the total correlation instead of the whole KL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from vaebias import ops
from vaebias.checks import check_not_negative
from vaebias.errors import InputError
from vaebias.models.objective import MODELS, Step
from vaebias.models.vae import VAE, Posterior, ReconstructionConfig

__all__ = ["BetaTCVAE", "BetaTCVAEConfig"]


@dataclass(frozen=True)
class BetaTCVAEConfig(ReconstructionConfig):
    """Settings of the beta-TCVAE.

    Attributes
    ----------
    beta
        Weight of the total correlation; 1 is the VAE.
    sampling
        How q(z) is estimated from a batch: ``"weighted"`` or ``"stratified"``
        (``ops.total_correlation``).
    """

    beta: float = 6.0
    sampling: Literal["weighted", "stratified"] = "weighted"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(beta=self.beta)
        if self.sampling not in ("weighted", "stratified"):
            raise InputError("sampling", "weighted or stratified", repr(self.sampling))


@MODELS.register("beta_tcvae")
class BetaTCVAE(VAE):
    """beta-TCVAE (Chen et al. 2018): reconstruction + KL + (beta - 1) TC.

    TC is the mean of log q(z) - sum_j log q(z_j), both estimated from the batch. With
    ``sampling="weighted"`` its value depends on the number of images, its gradient does not.
    """

    config_type: ClassVar[type[BetaTCVAEConfig]] = BetaTCVAEConfig
    config: BetaTCVAEConfig
    separable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataset_size: int | None = None

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Store the number of images; before, the size of the batch takes its place."""
        self.dataset_size = dataset_size

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return (beta - 1) times the total correlation."""
        joint, product = ops.total_correlation(
            posterior.z,
            posterior.mu,
            posterior.logvar,
            dataset_size=self.dataset_size or max(len(posterior.z), 1),
            sampling=self.config.sampling,
        )
        return (self.config.beta - 1) * (joint - product).mean()
