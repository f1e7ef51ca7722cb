"""The callback logs what diagnose finds, in a run of the real Trainer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaebias.analysis import diagnose
from vaebias.errors import InputError

pl = pytest.importorskip("pytorch_lightning", reason="Lightning is not installed")

from vaebias.integrations.lightning import LatentMonitor  # noqa: E402


class Vae(pl.LightningModule):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4)))

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.net(x).chunk(2, 1)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        mu, logvar = self.encode(batch[0])
        assert self.net.training
        return (self.decoder(mu) - batch[0]).square().mean() + logvar.square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


@pytest.mark.filterwarnings("ignore")
def test_active_latents_kl_and_dto_are_logged_as_a_run_goes(tmp_path: object) -> None:
    torch.manual_seed(0)
    images = torch.rand(32, 1, 4, 4)
    seen: list[tuple[int, dict[str, float]]] = []

    class Spy(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_epoch_start(self, trainer: object, module: object) -> None:
            seen.append((trainer.current_epoch, dict(trainer.callback_metrics)))  # type: ignore[attr-defined]

    monitor = LatentMonitor(images, output="image", every_n_epochs=2, points=8)
    trainer = pl.Trainer(
        max_epochs=4,
        callbacks=[monitor, Spy()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    model = Vae()
    data = torch.utils.data.TensorDataset(images)
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=16))
    assert "latents/active" not in seen[1][1]
    assert "latents/active" in seen[2][1]
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = monitor.measure(model)
    assert logged == pytest.approx(expected, rel=1e-5)
    assert [f"latents/kl/{i}" in logged for i in range(5)] == [True] * 4 + [False]
    found = diagnose(
        model.decoder, encoder=model.encode, images=images, index=range(8), output="image"
    )
    assert expected["latents/active"] == found.active.sum()


def test_a_module_without_a_decoder_is_named() -> None:
    monitor = LatentMonitor(torch.rand(4, 1, 4, 4))
    with pytest.raises(InputError, match="encoder: expected a LightningModule with encode or enc"):
        monitor.measure(pl.LightningModule())
    with pytest.raises(InputError, match="every_n_epochs: expected an integer >= 1"):
        LatentMonitor(torch.rand(4, 1, 4, 4), every_n_epochs=0)
