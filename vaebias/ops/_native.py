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
    "by_rows",
    "by_slices",
    "check",
    "check_same",
    "eager",
    "float_target",
    "has_kernels",
    "launch",
    "promote_half",
    "register_operator",
    "transformed",
    "vmapped",
    "wants_gradient",
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


def has_kernels(device: torch.device) -> bool:
    """Whether the kernels were built for this kind of device; if not, references take over."""
    return device.type == "cpu" or (device.type == "cuda" and hasattr(_core, "cuda"))


def vmapped() -> bool:
    """Whether a torch.func transform is at work: vmap, or one that ``transformed`` tells of."""
    return torch._C._functorch.maybe_current_level() is not None


def transformed() -> bool:
    """Whether torch.func transforms are at work that only the references know.

    Of all of them the kernels know one: a single vmap, with autograd outside of it.
    """
    if not vmapped():
        return False
    stack = torch._C._functorch.get_interpreter_stack()
    return len(stack) > 1 or stack[0].key() != torch._C._functorch.TransformType.Vmap


def register_operator(
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    vmap: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register ``vaebias::<schema>`` for every device that has kernels and return the operator.

    ``vmap`` is ``by_rows`` or ``by_slices``: how the operator answers to torch.vmap.

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
    if vmap is not None:
        torch.library.register_vmap(f"vaebias::{name}", vmap(operator), lib=_LIBRARY)
    return operator


def by_rows(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The vmap rule of an operator that treats each row of its tensors alone: one long batch."""

    def rule(info: Any, in_dims: Any, *inputs: Any) -> Any:
        size = info.batch_size
        long = [
            _slices_first(x, dim, size).flatten(0, 1) if isinstance(x, Tensor) else x
            for x, dim in zip(inputs, in_dims, strict=True)
        ]
        outputs = operator(*long)
        if isinstance(outputs, Tensor):
            return outputs.unflatten(0, (size, -1)), 0
        return tuple(y.unflatten(0, (size, -1)) for y in outputs), (0,) * len(outputs)

    return rule


def by_slices(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The vmap rule of an operator whose rows look at each other: one call a slice."""

    def rule(info: Any, in_dims: Any, *inputs: Any) -> Any:
        slices = [
            _slices_first(x, dim, info.batch_size).unbind()
            if isinstance(x, Tensor)
            else [x] * info.batch_size
            for x, dim in zip(inputs, in_dims, strict=True)
        ]
        outputs = [operator(*each) for each in zip(*slices, strict=True)]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs), 0
        stacked = tuple(torch.stack(column) for column in zip(*outputs, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


def _slices_first(x: Tensor, dim: int | None, size: int) -> Tensor:
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


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


def promote_half(tensor: Tensor) -> Tensor:
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
    if vmapped():  # a slice does not say
        tensors = tuple(map(_whole, tensors))
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _whole(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_batchedtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


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


def check_same(
    name: str, tensor: Tensor, other_name: str, other: Tensor, *, dtype: bool = True
) -> None:
    """Refuse a tensor whose shape, device or (if asked) dtype is not that of another."""
    if tensor.shape != other.shape:
        raise InputError(
            name, f"the shape of {other_name}, {list(other.shape)}", list(tensor.shape)
        )
    if tensor.device != other.device:
        raise InputError(name, f"the device of {other_name}, {other.device}", tensor.device)
    if dtype and tensor.dtype != other.dtype:
        raise InputError(name, f"the dtype of {other_name}, {other.dtype}", tensor.dtype)
