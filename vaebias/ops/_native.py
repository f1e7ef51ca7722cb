"""How operators reach the kernels: registration, pointers, and the checks that name arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops._transforms import SUPPORTED, below_autograd, transformed, unwrapped, vmapped

__all__ = [
    "build_info",
    "by_rows",
    "by_slices",
    "check",
    "check_constant",
    "check_number",
    "check_same",
    "has_kernels",
    "kernel_pixels",
    "launch",
    "promote_half",
    "register_operator",
    "runs_cuda_kernels",
    "storage",
    "sum_dtype",
    "target_pixels",
    "wants_gradient",
]

_HALF = (torch.float16, torch.bfloat16)
_SUFFIX = {torch.float32: "_f32", torch.float64: "_f64"}
_STORAGES: dict[torch.dtype, int] = {
    dtype: _core.STORAGES.index(name)
    for dtype, name in (
        (torch.float16, "half"), (torch.bfloat16, "bfloat16"), (torch.uint8, "bytes")
    )
}  # fmt: skip
_LIBRARY = torch.library.Library("vaebias", "DEF")


def build_info() -> dict[str, Any]:
    """Describe the build of the extension and the instruction set in use, as JSON types.

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
    """Return True if this build has kernels for ``device``; if not, the references run."""
    return SUPPORTED and (
        device.type == "cpu" or (device.type == "cuda" and hasattr(_core, "cuda"))
    )


def runs_cuda_kernels(tensor: Tensor) -> bool:
    """Return True if it is the CUDA kernel that ``launch`` runs on this tensor."""
    return tensor.is_cuda


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

    Parameters
    ----------
    schema
        Name, arguments and results, as torch.library.define takes them.
    implementation, fake
        Calls the kernel; makes empty results of the same shapes, for torch.compile.
    setup_context, backward
        As torch.library.register_autograd takes them. Among what ``setup_context`` saves must be
        each differentiable input, or a differentiable output: a second derivative is refused where
        it would pass through these.
    vmap
        ``by_rows`` or ``by_slices``: what torch.vmap does.

    Notes
    -----
    A plain Library, with the autograd formula at its own dispatch key, costs about half as much
    per call as torch.library.custom_op and register_autograd, which walk the schema each time.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, implementation, "CPU")
    if hasattr(_core, "cuda"):
        _LIBRARY.impl(name, implementation, "CUDA")
    torch.library.register_fake(f"vaebias::{name}", fake, lib=_LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.vaebias, name).default
    if SUPPORTED and setup_context is not None and backward is not None:
        formula = _differentiable(name, operator, setup_context, backward)
        _LIBRARY.impl(name, formula, "Autograd")
    if vmap is not None:
        torch.library.register_vmap(f"vaebias::{name}", vmap(operator), lib=_LIBRARY)
    return operator


def by_rows(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return the vmap rule of an operator whose rows are independent: one long batch."""

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
    """Return the vmap rule of an operator whose rows interact: one call per slice."""

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
    name: str,
    operator: Callable[..., Any],
    setup_context: Callable[..., None],
    formula: Callable[..., Any],
) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        with below_autograd():
            return operator(*inputs)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = run(*inputs)
        setup_context(ctx, inputs, output)
        return output

    def backward(ctx: Any, *gradients: Any) -> Any:
        if not torch.is_grad_enabled():
            return formula(ctx, *gradients)
        once: Any = _Once
        with torch.no_grad():
            found = formula(ctx, *gradients)
        reached = [x for x in (*ctx.saved_tensors, *gradients) if x is not None and x.requires_grad]
        return tuple(None if g is None else once.apply(name, g, *reached) for g in found)

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type("Differentiable", (torch.autograd.Function,), members)

    def autograd(*inputs: Any) -> Any:
        wanted = torch.is_grad_enabled() and any(
            isinstance(x, Tensor) and x.requires_grad for x in inputs
        )
        return function.apply(*inputs) if wanted else run(*inputs)

    return autograd


class _Once(torch.autograd.Function):
    """Refuse to differentiate a gradient again.

    Without it, a gradient computed under ``create_graph=True`` would be a constant, and its part
    of a sum would be missing without an error. It depends on what the operator depends on, so that
    every second derivative passes through here.
    """

    @staticmethod
    def forward(ctx: Any, name: str, gradient: Tensor, *reached: Tensor) -> Tensor:
        ctx.name = name
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            f"vaebias::{ctx.name} has no second derivative, but this backward pass needs one: the "
            "first was computed with create_graph=True. Use nested torch.func.grad, or the "
            "reference in plain torch, <name>_reference, beside the operator in vaebias.ops."
        )


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
            _core.cuda.set_device(like.device.index)  # in the kernels' own runtime, beside torch's
            kernel(*crossing, torch.cuda.current_stream().cuda_stream)
    else:
        kernel(*crossing, torch.get_num_threads())


def promote_half(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32, in which kernels compute; keep other dtypes."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def kernel_pixels(prediction: Tensor) -> Tensor:
    """Convert predicted pixels to what the losses read: half types unchanged by CUDA kernels."""
    native = runs_cuda_kernels(prediction) and has_kernels(prediction.device) and not transformed()
    return prediction if native else promote_half(prediction)


def target_pixels(target: Tensor, prediction: Tensor) -> Tensor:
    """Convert a target to what the losses read: uint8, ``prediction``'s dtype, or its sum's."""
    if target.dtype in (torch.uint8, prediction.dtype):
        return target
    if target.is_floating_point() or target.dtype == torch.bool:
        return target.to(sum_dtype(prediction))
    raise InputError("target", "uint8 or a floating dtype", target.dtype)


def sum_dtype(pixels: Tensor) -> torch.dtype:
    """Return the dtype in which kernels sum: float64, or float32 for all narrower ones."""
    return torch.float64 if pixels.dtype == torch.float64 else torch.float32


def storage(pixels: Tensor) -> int:
    """Return how pixels are stored, as kernels take it (csrc/contract.h)."""
    return _STORAGES.get(pixels.dtype, 0)


def wants_gradient(*tensors: Tensor) -> bool:
    """True if autograd needs gradients of any of these."""
    if vmapped():  # slices never require a gradient themselves
        tensors = tuple(map(unwrapped, tensors))
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def check(
    name: str,
    tensor: Tensor,
    letters: str,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64, *_HALF),
) -> None:
    """Raise unless ``tensor`` has the axes of ``letters`` ("B P d") and one of ``dtypes``."""
    if not isinstance(tensor, Tensor):
        raise InputError(name, "a torch.Tensor", type(tensor).__name__)
    axes = letters.split()
    if tensor.ndim < len(axes) or (tensor.ndim > len(axes) and "..." not in axes):
        raise InputError(name, f"shape [{', '.join(axes)}]", list(tensor.shape))
    if tensor.dtype not in dtypes:
        raise InputError(name, " or ".join(str(dtype) for dtype in dtypes), tensor.dtype)


def check_number(name: str, number: float | Tensor, like: Tensor) -> None:
    """Refuse a tensor that is not a single floating number on ``like``'s device."""
    if not isinstance(number, Tensor):
        return
    if number.numel() != 1 or not number.is_floating_point():
        raise InputError(
            name,
            "a number, or a floating tensor of shape []",
            f"{number.dtype} {list(number.shape)}",
        )
    if number.device != like.device:
        raise InputError(name, f"the device of the images, {like.device}", number.device)


def check_constant(name: str, number: object) -> None:
    """Refuse a tensor whose gradient would be lost."""
    if isinstance(number, Tensor) and number.requires_grad:
        expected = "a number, as no gradient flows into it"
        raise InputError(name, expected, "a tensor that requires one")


def check_same(
    name: str, tensor: Tensor, other_name: str, other: Tensor, *, dtype: bool = True
) -> None:
    """Raise unless two tensors have the same shape, device and, by default, dtype."""
    if tensor.shape != other.shape:
        raise InputError(
            name, f"the shape of {other_name}, {list(other.shape)}", list(tensor.shape)
        )
    if tensor.device != other.device:
        raise InputError(name, f"the device of {other_name}, {other.device}", tensor.device)
    if dtype and tensor.dtype != other.dtype:
        raise InputError(name, f"the dtype of {other_name}, {other.dtype}", tensor.dtype)
