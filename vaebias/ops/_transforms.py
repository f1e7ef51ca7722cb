"""Which torch.func transforms are at work: the only module that uses torch's private names.

Each name is looked up once, at import. Where a torch release lacks one, ``SUPPORTED`` is False,
a warning says so, and the references run in place of the kernels.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

__all__ = ["SUPPORTED", "below_autograd", "eager", "transformed", "unwrapped", "vmapped"]

_PRIVATE = {
    name: name.rpartition(".")[2]
    for name in (
        "_C._AutoDispatchBelowAutograd",
        "_C._functorch.TransformType.Vmap",
        "_C._functorch.get_interpreter_stack",
        "_C._functorch.get_unwrapped",
        "_C._functorch.is_batchedtensor",
        "_C._functorch.maybe_current_level",
    )
}


def _look_up() -> tuple[dict[str, Any], list[str]]:
    found, missing = {}, []
    for path, name in _PRIVATE.items():
        try:
            found[name] = attrgetter(path)(torch)
        except AttributeError:
            missing.append(f"torch.{path}")
    return found, missing


_FOUND, _MISSING = _look_up()
SUPPORTED = not _MISSING
if _MISSING:
    warnings.warn(
        f"torch {torch.__version__} has no {', '.join(_MISSING)}: vaebias runs its references in "
        "plain torch, which are slower, instead of its kernels. Another torch release, or a newer "
        "vaebias, brings them back.",
        RuntimeWarning,
        stacklevel=2,
    )


def below_autograd() -> AbstractContextManager[None]:
    """Dispatch past the autograd keys, to the kernel itself."""
    guard: AbstractContextManager[None] = _FOUND["_AutoDispatchBelowAutograd"]()
    return guard


def vmapped() -> bool:
    """True inside a torch.func transform, torch.vmap included."""
    return SUPPORTED and _FOUND["maybe_current_level"]() is not None


def transformed() -> bool:
    """True inside transforms that only the references support.

    The kernels support none, or a single vmap with autograd outside of it.
    """
    if not vmapped():
        return False
    stack = _FOUND["get_interpreter_stack"]()
    return len(stack) > 1 or stack[0].key() != _FOUND["Vmap"]


def eager(tensor: Tensor) -> bool:
    """True for a plain tensor outside transforms and traces, whose values may be read."""
    return type(tensor) is Tensor and not transformed()


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor that holds all slices of one under vmap; any other as it is."""
    while SUPPORTED and _FOUND["is_batchedtensor"](tensor):
        tensor = _FOUND["get_unwrapped"](tensor)
    return tensor
