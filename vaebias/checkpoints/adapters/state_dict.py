"""State dicts of networks in ``models.NETWORKS``, each beside a JSON file that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.weights import load_weights, read_json
from vaebias.errors import InputError, reading

NAME = "state_dict"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
FIELDS: dict[str, Any] = {
    "network": (str, dict),
    "image_shape": list,
    "latents": int,
    "output": str,
}


class StateDict:
    """The format: ``x.pt`` or ``x.safetensors``, and beside it ``x.json``.

    The JSON file has the arguments of ``checkpoints.load_weights``: ``{"network": "burgess",
    "image_shape": [1, 64, 64], "latents": 10, "output": "logits"}``, and optionally ``"heads"``.
    """

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` is a file of weights with a JSON file of that name beside it."""
        return path.is_file() and path.suffix in SUFFIXES and path.with_suffix(".json").is_file()

    def load(self, path: Path) -> Model:
        """Read the model; anything but tensors is refused."""
        described = path.with_suffix(".json")
        arguments = read_json(described)
        for field, kind in FIELDS.items():
            if not isinstance(arguments.get(field), kind):
                expected = f"network, image_shape, latents and output, and {field} of its type"
                raise InputError(str(described), expected, repr(arguments.get(field)))
        arguments["image_shape"] = tuple(arguments["image_shape"])
        with reading(described, "the arguments of load_weights"):
            return load_weights(path, **arguments)


CHECKPOINT_FORMATS.register(NAME)(StateDict())
