"""Models whose networks are the user's own code, with or without a file of weights."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vaebias.checkpoints.model import Model
from vaebias.checkpoints.weights import fill_parts
from vaebias.errors import InputError
from vaebias.interfaces import Output
from vaebias.models.networks import ImageShape
from vaebias.modules import evaluating
from vaebias.pixels import as_tensor
from vaebias.posterior import posterior

__all__ = ["model_of_modules", "own_model"]

_ENCODERS = ("encode", "encoder")
_DECODERS = ("decode", "decoder")


def own_model(
    spec: str,
    image_shape: ImageShape,
    output: Output,
    *,
    weights: str | Path | None = None,
) -> Model:
    """Make a ``Model`` of networks that are named as ``module:function``.

    Parameters
    ----------
    spec
        A module or a file, and a name in it: ``my_module:build`` or ``my_file.py:build``. The
        name is that of a module, of a pair ``(encoder, decoder)``, or of a function or class
        that returns one without arguments. Its code is run.
    image_shape
        ``(C, H, W)`` of the images that the encoder takes.
    output
        What the decoder returns: Bernoulli ``"logits"`` or pixel values (``"image"``).
    weights
        A state dict for it; see `load_weights` for keys and prefixes.

    Raises
    ------
    InputError
        There is no such name, it returns something else, or the weights do not fit.
    """
    place, colon, name = spec.partition(":")
    if not (place and colon and name):
        raise InputError("--model", "module:name or file.py:name", repr(spec))
    found = getattr(_import(place), name, None)
    if found is None:
        raise InputError("--model", f"a name in {place}", f"no {name}")
    if callable(found) and not isinstance(found, nn.Module):
        try:
            found = found()
        except TypeError as error:
            raise InputError(f"--model {spec}", "a function without arguments", error) from error
    if weights is not None:
        _load(Path(weights), spec, found)
    return model_of_modules(found, spec, image_shape, output)


def model_of_modules(
    found: object,
    name: str,
    image_shape: ImageShape,
    output: Output,
) -> Model:
    """Make a ``Model`` of a module with ``encode`` and ``decode``, or of (encoder, decoder).

    Submodules called ``encoder`` and ``decoder`` will do too. The encoder may return anything
    that `vaebias.posterior.posterior` reads.

    Raises
    ------
    InputError
        There is no encoder and decoder, or the encoder does not take images of this shape.
    """
    encoder, decoder = _parts(found, name)
    for module in _modules(found):
        module.requires_grad_(False).eval()

    def encode(x: Tensor) -> tuple[Tensor, Tensor | None]:
        return posterior(encoder(as_tensor(x)), len(x))

    with evaluating(encoder), torch.no_grad():
        try:
            mu, _ = encode(torch.zeros(2, *image_shape))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            expected = f"an encoder that takes images of {tuple(image_shape)}"
            raise InputError(name, expected, f"{type(error).__name__}: {error}") from error
    return Model(
        name=name,
        encoder=encode,
        decoder=decoder,
        output=output,
        latents=mu.shape[1],
        image_shape=image_shape,
        details={},
        format="own",
    )


def _import(place: str) -> ModuleType:
    if place.endswith(".py"):
        path = Path(place)
        specification = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or specification is None or specification.loader is None:
            raise InputError("--model", "a Python file", f"no file {place}")
        module = importlib.util.module_from_spec(specification)
        sys.modules[path.stem] = module  # pickling and dataclasses look modules up there
        specification.loader.exec_module(module)
        return module
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` has it
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise InputError("--model", f"a module {place} in the current folder", error) from error
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            # for what the module imports later; last, so that worker processes, which inherit the
            # path, find installed packages before folders of the same name
            sys.path.append(here)


def _modules(found: object) -> list[nn.Module]:
    parts = found if isinstance(found, tuple | list) else (found,)
    return [part for part in parts if isinstance(part, nn.Module)]


def _parts(found: object, name: str) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Tensor]]:
    if isinstance(found, tuple | list) and len(found) == 2 and all(map(callable, found)):
        return found[0], found[1]
    encoder, decoder = (
        next((part for one in names if callable(part := getattr(found, one, None))), None)
        for names in (_ENCODERS, _DECODERS)
    )
    if encoder is None or decoder is None:
        expected = "(encoder, decoder), or a module with encode and decode"
        raise InputError(name, expected, type(found).__name__)
    return encoder, decoder


def _load(path: Path, spec: str, found: object) -> None:
    if isinstance(found, nn.Module):
        fill_parts(path, {"": found})
        return
    modules = _modules(found)
    if len(modules) != 2:
        raise InputError(spec, "modules, to load weights into", type(found).__name__)
    fill_parts(path, dict(zip(("encoder.", "decoder."), modules, strict=True)))
