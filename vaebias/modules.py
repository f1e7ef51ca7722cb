"""Find the modules behind a function, and run them in evaluation mode."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

__all__ = ["device_of", "dtype_of", "evaluating", "modules_of"]

_DEPTH = 4  # a lambda, an object that it refers to, a list there, a module in it
_ITEMS = 256  # longer collections are data, not modules


def modules_of(*functions: object) -> list[nn.Module]:
    """Return the modules that functions use, each once.

    A function uses a module if it is one, is a bound method of one, or refers to one: in a
    closure, a default, `functools.partial`, a global name in its code, or an attribute of the
    object that it belongs to.
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    for function in functions:
        _collect(function, found, seen, _DEPTH)
    return list(found.values())


@contextmanager
def evaluating(*functions: object) -> Iterator[None]:
    """Set the modules that functions use (`modules_of`) to evaluation mode.

    The modes are restored on exit. In training mode, batch normalisation would make the images
    of a batch depend on each other and overwrite the model's statistics, and dropout would add
    noise.
    """
    modes = [
        (part, part.training) for module in modules_of(*functions) for part in module.modules()
    ]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def device_of(function: object) -> torch.device:
    """Return the device of the first parameter that a function uses; the CPU without any."""
    first = next(_parameters(function), None)
    return torch.device("cpu") if first is None else first.device


def dtype_of(function: object) -> torch.dtype:
    """Return the dtype of the first floating parameter that a function uses; else float32."""
    floating = (one.dtype for one in _parameters(function) if one.is_floating_point())
    return next(floating, torch.float32)


def _parameters(function: object) -> Iterator[nn.Parameter]:
    for module in modules_of(function):
        yield from module.parameters()


def _collect(value: object, found: dict[int, nn.Module], seen: set[int], depth: int) -> None:
    if isinstance(value, nn.Module):
        found[id(value)] = value
        return
    if depth == 0 or value is None or id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    for part in _parts(value):
        _collect(part, found, seen, depth - 1)


def _parts(value: object) -> Iterable[Any]:
    if isinstance(value, MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, ModuleType):
        return ()
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, FunctionType):
        return _references(value)
    if isinstance(value, Mapping):
        return list(islice(value.values(), _ITEMS))
    if isinstance(value, list | tuple):
        return value[:_ITEMS]
    attributes = getattr(value, "__dict__", None)
    return list(attributes.values()) if isinstance(attributes, dict) else ()


def _references(function: FunctionType) -> list[Any]:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    names = _names(function.__code__)
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    imported = [  # as in `import mine; lambda z: mine.decoder(z)`
        vars(module)[name]
        for module in values
        if isinstance(module, ModuleType)
        for name in names & vars(module).keys()
        if isinstance(vars(module)[name], nn.Module)
    ]
    wrapped = getattr(function, "__wrapped__", None)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [*cells, *values, *imported, *defaults, wrapped]


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
