"""Where and how a model is trained: device, precision, processes. All of it is Lightning Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from vaebias.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PRECISIONS", "find_device", "launch", "single"]

PRECISIONS = ("32-true", "bf16-mixed")
"""Known precisions. Half precision is not among them: the state of its scaling of the loss would
have to be kept for a run to go on to the same bits."""


def launch(device: torch.device | str = "cpu", precision: str = "32-true") -> Fabric:
    """Make the Fabric that ``fit`` takes, of all the processes that torchrun started, if it did.

    Parameters
    ----------
    device
        A device such as ``"cpu"`` or ``"cuda:1"``. Of several processes, each takes the one of
        its number.
    precision
        ``"32-true"``, or ``"bf16-mixed"``: networks compute in bfloat16, weights and losses stay
        in float32.

    Raises
    ------
    InputError
        Another precision.
    """
    device = torch.device(device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return single(device, precision)
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
    """Read a device of this machine, such as ``"cpu"`` or ``"cuda"``.

    Parameters
    ----------
    name
        As in ``torch.device``.
    where
        What a message calls the argument.

    Raises
    ------
    InputError
        No device's name, or a GPU where there is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(where, "a device such as cpu or cuda", repr(name)) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(where, "a device of this machine", f"{name}, without a GPU")
    return device


def single(device: torch.device, precision: str = "32-true") -> Fabric:
    """Make a Fabric of this one process."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    devices: int | list[int] = 1
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    # without an environment of its own it would ask the cluster's scheduler for more processes
    return _fabric(device, precision, devices=devices, plugins=[LightningEnvironment()])


def _fabric(device: torch.device, precision: str, **options: Any) -> Fabric:
    from lightning_fabric import Fabric  # takes as long to import as torch: only where it is used

    if precision not in PRECISIONS:
        raise InputError("precision", " or ".join(PRECISIONS), repr(precision))
    options["precision"] = precision
    return Fabric(accelerator=device.type, **options)
