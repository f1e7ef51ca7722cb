"""The native checkpoint: one safetensors file whose metadata holds a JSON header."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

import vaebias
from vaebias import tensorfile
from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.state import TrainingState
from vaebias.errors import InputError
from vaebias.models import Objective, build
from vaebias.models.networks import OWN
from vaebias.models.objective import check_objective

__all__ = ["SUFFIX", "VERSION", "load_objective", "load_state", "save"]

SUFFIX = ".safetensors"
VERSION = 1
KEY = "vaebias"
OPTIMISER = "optimiser/"  # a slash: no name in a state dict has one


def save(
    path: str | Path,
    objective: Objective,
    provenance: Mapping[str, Any],
    *,
    seed: int | None = None,
    state: TrainingState | None = None,
) -> None:
    """Write ``objective`` to one file, atomically.

    Parameters
    ----------
    path
        The file, by convention ``*.safetensors``; its folder must exist.
    objective
        Its state dict is written, and the arguments of ``models.build`` in the header.
    provenance
        Data and settings of its training; JSON-able.
    seed
        Seed of the run.
    state
        State from which the run can resume (``load_state``).

    Raises
    ------
    InputError
        The provenance is not JSON-able, the folder does not exist, or it is no objective.
    RunFailedError
        The file could not be written; an older one is untouched.
    """
    check_objective(objective)
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(str(path), "a file in an existing folder", f"no folder {path.parent}")
    header = {
        "version": VERSION,
        "model": objective.to_json(),
        "output": objective.output,
        "provenance": dict(provenance),
        "seed": seed,
        "versions": {
            "vaebias": vaebias.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    if state is not None:
        header["training"] = {"step": state.step, "history": state.history}
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("provenance", "JSON-able data", error) from error
    tensors = dict(objective.state_dict())
    if state is not None:
        tensors |= {OPTIMISER + name: tensor for name, tensor in state.optimiser.items()}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    tensorfile.write(path, safetensors.torch.save(stored, metadata={KEY: text}))


def load_objective(
    path: str | Path, network: tuple[nn.Module, nn.Module] | None = None
) -> tuple[Objective, dict[str, Any]]:
    """Rebuild the objective of a native checkpoint, to resume its training or to analyse it.

    Parameters
    ----------
    path
        The file.
    network
        Modules ``(encoder, decoder)`` that receive the weights, if the objective was built with
        modules of the user: a checkpoint contains no code.

    Returns
    -------
    objective, header
        The objective on the CPU, and the JSON header of the file.

    Raises
    ------
    InputError
        The file is damaged or not a native checkpoint; the message gives the reason.
    """
    path = Path(path)
    header, tensors = _read(path)
    state = {name: t for name, t in tensors.items() if not name.startswith(OPTIMISER)}
    if network is None:
        if isinstance(header.get("model"), dict) and header["model"].get("network") == OWN:
            expected = "network=(encoder, decoder), for its networks are the user's own"
            raise InputError(f"load_objective({str(path)!r})", expected, "none")
        with torch.device("meta"):  # sizes only: no memory for what the file merely claims
            sizes = _build(path, header).state_dict()
        _check_state(path, sizes, state)
        objective = _build(path, header)
    else:
        objective = _build(path, header, network)
        _check_state(path, objective.state_dict(), state)
    objective.load_state_dict(state)
    return objective.eval(), header


def load_state(path: str | Path) -> TrainingState:
    """Read the state of the run in a native checkpoint, to resume it.

    Raises
    ------
    InputError
        The file is damaged, or was saved without its ``state``.
    """
    path = Path(path)
    header, tensors = _read(path)
    if "training" not in header:
        raise InputError(str(path), "a checkpoint of a run that can resume", "weights alone")
    try:
        return TrainingState(
            int(header["training"]["step"]),
            dict(header["training"]["history"]),
            {
                name.removeprefix(OPTIMISER): tensor
                for name, tensor in tensors.items()
                if name.startswith(OPTIMISER)
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(str(path), "a header with the state of its run", error) from error


class Native:
    """The format of ``save``."""

    name: ClassVar[str] = "vaebias"

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` is a file named ``*.safetensors``, or contains our header."""
        if not path.is_file():
            return False
        if path.suffix == SUFFIX:
            return True
        with path.open("rb") as file:
            return f'"{KEY}":'.encode() in file.read(4096)

    def load(self, path: Path) -> Model:
        """Read a native checkpoint."""
        objective, header = load_objective(path)
        objective.requires_grad_(False)
        return Model(
            name=objective.name,
            encoder=objective.encode,
            decoder=None if objective.decoder is None else objective.decode,
            output=objective.output,
            latents=objective.latents,
            image_shape=objective.image_shape,
            details=header,
            format=self.name,
        )


CHECKPOINT_FORMATS.register(Native.name)(Native())


def _build(
    path: Path, header: dict[str, Any], network: tuple[nn.Module, nn.Module] | None = None
) -> Objective:
    try:
        model = header["model"]
        return build(
            model["name"],
            model["image_shape"],
            model["latents"],
            model["network"] if network is None else network,
            **model["config"],
        )
    except Exception as error:  # anyone may have written the header
        found = str(error).partition("\n")[0]
        raise InputError(str(path), "a header that describes a known model", found) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return tensorfile.read(path, "pt", key=KEY, version=VERSION, kind="checkpoint")


def _check_state(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    if missing or extra:
        found_names = [
            f"{word} {', '.join(names)}"
            for word, names in (("without", missing), ("also", extra))
            if names
        ]
        raise InputError(str(path), "the tensors of its model", "; ".join(found_names))
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape or tensor.dtype != found[name].dtype:
            raise InputError(
                f"{path}, tensor {name}",
                f"{tensor.dtype} of shape {tuple(tensor.shape)}",
                f"{found[name].dtype} of shape {tuple(found[name].shape)}",
            )
