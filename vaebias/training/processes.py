"""Device, precision and processes of training, by Lightning Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from vaebias.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PRECISIONS", "arithmetic", "find_device", "launch", "single_process"]

PRECISIONS = ("32-true", "bf16-mixed")
"""Known precisions. Half precision is not among them: it scales the loss, and checkpoints would
have to hold the state of that scaling for a resumed run to end with the same bits."""


def launch(device: torch.device | str = "cpu", precision: str = "32-true") -> Fabric:
    """Return the Fabric that ``fit`` takes; under torchrun, one of all its processes.

    Parameters
    ----------
    device
        A device such as ``"cpu"`` or ``"cuda:1"``. If there are several processes, each uses
        the device of its local rank.
    precision
        ``"32-true"``, or ``"bf16-mixed"``: networks compute in bfloat16, weights and losses stay
        in float32.

    Raises
    ------
    InputError
        The precision or the device is not known, or this machine has no GPU.
    """
    device = find_device(str(device))
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return single_process(device, precision)
    fabric = _fabric(
        device,
        precision,
        strategy="ddp",
        devices=int(os.environ["LOCAL_WORLD_SIZE"]),
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
    )
    fabric.launch()
    return fabric


def find_device(name: str, where: str = "device") -> torch.device:
    """Return a device of this machine by its name.

    Parameters
    ----------
    name
        A name that `torch.device` takes, such as ``"cpu"`` or ``"cuda"``.
    where
        Name of the argument in error messages.

    Raises
    ------
    InputError
        The name is not that of a device, or this machine has no GPU.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(where, "a device such as cpu or cuda", repr(name)) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(where, "a device of this machine", f"{name}, without a GPU")
    return device


def arithmetic(device: torch.device | str, precision: str = "32-true") -> str:
    """Return in words how networks compute: their number format, and where TF32 takes part."""
    if precision == "bf16-mixed":
        return "bfloat16 networks, float32 weights and losses"
    if torch.device(device).type != "cuda":
        return "float32"
    rounded = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
    }
    names = [name for name, used in rounded.items() if used]
    return f"float32, {' and '.join(names)} in TF32" if names else "float32"


def single_process(device: torch.device, precision: str = "32-true") -> Fabric:
    """Return a Fabric of this process alone."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    devices: int | list[int] = 1
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    # without this environment Fabric would look for the processes of a cluster's scheduler
    return _fabric(device, precision, devices=devices, plugins=[LightningEnvironment()])


def _fabric(device: torch.device, precision: str, **options: Any) -> Fabric:
    from lightning_fabric import Fabric  # here, since it takes as long to import as torch

    if precision not in PRECISIONS:
        raise InputError("precision", " or ".join(PRECISIONS), repr(precision))
    options["precision"] = precision
    return Fabric(accelerator=device.type, **options)
