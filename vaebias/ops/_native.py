"""How operators reach the kernels: registration, pointers, and the checks that name arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError

__all__ = [
    "build_info",
    "check",
    "define",
    "eager",
    "float_target",
    "launch",
    "runs_on",
    "same",
    "wants_gradient",
    "widened",
]

_HALF = (torch.float16, torch.bfloat16)
_SUFFIX = {torch.float32: "_f32", torch.float64: "_f64"}
_LIBRARY = torch.library.Library("vaebias", "DEF")


def build_info() -> dict[str, Any]:
    """How the extension was built and what of it this processor uses, JSON-able.

    Keys: compiler, openmp, instruction_set (of the CPU kernels), cuda_compiler and
    cuda_architectures (both empty where the build had no nvcc).
    """
    return {
        "compiler": _core.COMPILER,
        "openmp": _core.OPENMP,
        "instruction_set": _core.instruction_set(),
        "cuda_compiler": _core.CUDA_COMPILER,
        "cuda_architectures": _core.CUDA_ARCHITECTURES,
    }


def runs_on(device: torch.device) -> bool:
    """Whether the kernels were built for this kind of device; if not, references take over."""
    return device.type == "cpu" or (device.type == "cuda" and hasattr(_core, "cuda"))


def transformed() -> bool:
    """Whether a torch.func transform (vmap, grad, jacrev) is at work; references know them all."""
    return torch._C._functorch.maybe_current_level() is not None


def define(
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register ``vaebias::<schema>`` for every device that has kernels and return the operator.

    A plain Library, with the autograd formula at its own dispatch key, costs about half as much
    a call as torch.library.custom_op and register_autograd, which walk the schema each time.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, implementation, "CPU")
    if hasattr(_core, "cuda"):
        _LIBRARY.impl(name, implementation, "CUDA")
    torch.library.register_fake(f"vaebias::{name}", fake, lib=_LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.vaebias, name).default
    if setup_context is not None and backward is not None:
        _LIBRARY.impl(name, _differentiable(operator, setup_context, backward), "Autograd")
    return operator


def _differentiable(
    operator: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
) -> Callable[..., Any]:
    def below_autograd(*inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = below_autograd(*inputs)
        setup_context(ctx, inputs, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type("Differentiable", (torch.autograd.Function,), members)

    def autograd(*inputs: Any) -> Any:
        wanted = torch.is_grad_enabled() and any(
            isinstance(x, Tensor) and x.requires_grad for x in inputs
        )
        return function.apply(*inputs) if wanted else below_autograd(*inputs)

    return autograd


def eager(tensor: Tensor) -> bool:
    """Whether this is a plain tensor under no transform or trace: one that may be looked into."""
    return type(tensor) is Tensor and not transformed()


@cache
def _kernel(name: str, device: str, dtype: torch.dtype) -> Callable[..., None]:
    kernel: Callable[..., None] = getattr(getattr(_core, device), name + _SUFFIX[dtype])
    return kernel


def launch(name: str, like: Tensor, *arguments: Tensor | float | None) -> None:
    """Run a kernel of csrc/kernels.h on ``like``'s device and dtype.

    Tensors become addresses and must be contiguous; None becomes the null pointer.
    """
    kernel = _kernel(name, like.device.type, like.dtype)
    crossing = [
        argument.data_ptr()
        if isinstance(argument, Tensor)
        else (0 if argument is None else argument)
        for argument in arguments
    ]
    if like.is_cuda:
        with torch.cuda.device(like.device):
            kernel(*crossing, torch.cuda.current_stream().cuda_stream)
    else:
        kernel(*crossing, torch.get_num_threads())


def widened(tensor: Tensor) -> Tensor:
    """Float16 and bfloat16 as float32, in which the kernels count; other dtypes as they are."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def float_target(target: Tensor, like: Tensor) -> Tensor:
    """A target as the kernels read it: bytes as they are, numbers in ``like``'s dtype."""
    if target.dtype == torch.uint8:
        return target
    if target.is_floating_point() or target.dtype == torch.bool:
        return target.to(like.dtype)
    raise InputError("target", "uint8 or a floating dtype", target.dtype)


def wants_gradient(*tensors: Tensor) -> bool:
    """Whether a forward pass should leave behind what a backward pass of these would need."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def check(
    name: str,
    tensor: Tensor,
    letters: str,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64, *_HALF),
) -> None:
    """Refuse what is not a tensor with the axes of ``letters`` ("B P d") and one of ``dtypes``."""
    if not isinstance(tensor, Tensor):
        raise InputError(name, "a torch.Tensor", type(tensor).__name__)
    axes = letters.split()
    if tensor.ndim < len(axes) or (tensor.ndim > len(axes) and "..." not in axes):
        raise InputError(name, f"shape [{', '.join(axes)}]", list(tensor.shape))
    if tensor.dtype not in dtypes:
        raise InputError(name, " or ".join(str(dtype) for dtype in dtypes), tensor.dtype)


def same(name: str, tensor: Tensor, other_name: str, other: Tensor, *, dtype: bool = True) -> None:
    """Refuse a tensor whose shape, device or (if asked) dtype is not that of another."""
    if tensor.shape != other.shape:
        raise InputError(
            name, f"the shape of {other_name}, {list(other.shape)}", list(tensor.shape)
        )
    if tensor.device != other.device:
        raise InputError(name, f"the device of {other_name}, {other.device}", tensor.device)
    if dtype and tensor.dtype != other.dtype:
        raise InputError(name, f"the dtype of {other_name}, {other.dtype}", tensor.dtype)
