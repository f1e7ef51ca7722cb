"""Calls of every kernel, at sizes around every edge: what CPU and emulated CUDA must agree on.

Arrays end where a page ends that may not be touched, so that a read past them is an error, not a
number. Outputs and workspaces start as NaN (whole numbers: -7), so that what is never written, or
read before it is written, shows.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from emulation import SANITIZE, conditions

from vaebias import _core

PIECE = 4096
SAME, HALF, BFLOAT16, BYTES = map(_core.STORAGES.index, ("same", "half", "bfloat16", "bytes"))
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}
SUFFIX = {np.float32: "_f32", np.float64: "_f64"}
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.free.argtypes = [ctypes.c_void_p]


@dataclass(frozen=True)
class Out:
    """An output of a call, or a workspace (``loose`` is None): made anew for each device."""

    name: str
    shape: Any
    dtype: Any
    loose: float | None = 1
    """How many times the tolerance it may differ by; 0 where whole numbers make it exact."""

    given: Any = None
    """What it holds before, if the kernel changes what it is given."""


@dataclass(frozen=True)
class Call:
    """One call of a kernel: its arguments, and what of the case a failure should tell."""

    arguments: list[Any]
    case: dict[str, Any] = field(default_factory=dict)
    shifted: bool = False
    """Arrays begin one element past an aligned address."""


def guarded(shape: Any, dtype: Any, shifted: bool = False) -> np.ndarray:
    """An array of NaN (or -7) that ends, but for its alignment, where its memory ends."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if SANITIZE:  # whose own allocator guards it
        at = ctypes.c_void_p()
        room = dtype.itemsize if shifted else 0
        LIBC.posix_memalign(ctypes.byref(at), 64, max(size + room, 1))
        memory = (ctypes.c_char * size).from_address(at.value + room)
        weakref.finalize(memory, LIBC.free, at.value)
    else:
        pages = -(-(size + 16) // mmap.PAGESIZE) + 2
        start = LIBC.mmap(
            None, pages * mmap.PAGESIZE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
        )
        inner, end = start + mmap.PAGESIZE, start + (pages - 1) * mmap.PAGESIZE
        LIBC.mprotect(inner, end - inner, mmap.PROT_READ | mmap.PROT_WRITE)
        ctypes.memset(inner, 0xFF, end - inner)
        at = (end - size) // 16 * 16
        if shifted and size % 16 == 0:
            at -= 16 - dtype.itemsize
        elif shifted:
            at += dtype.itemsize if at + dtype.itemsize + size <= end else dtype.itemsize - 16
        memory = (ctypes.c_char * size).from_address(at)
        weakref.finalize(memory, LIBC.munmap, start, pages * mmap.PAGESIZE)
    array = np.frombuffer(memory, dtype).reshape(shape)
    array[...] = np.nan if dtype.kind == "f" else -7 if dtype.kind == "i" else 249
    return array


def run(module: ModuleType, kernel: str, T: type, call: Call, last: int) -> dict[str, np.ndarray]:
    """Run a call on a device's kernels and return its outputs; ``last``: threads, or a stream."""
    made, crossing, alive = {}, [], []
    for argument in call.arguments:
        if isinstance(argument, Out):
            array = guarded(argument.shape, argument.dtype, call.shifted)
            if argument.given is not None:
                array[...] = argument.given
            made[argument.name] = array
        elif isinstance(argument, np.ndarray):
            array = guarded(argument.shape, argument.dtype, call.shifted)
            array[...] = argument
            alive.append(array)
        else:
            crossing.append(0 if argument is None else argument)
            continue
        crossing.append(array.ctypes.data)
    getattr(module, kernel + SUFFIX[T])(*crossing, last)
    return made


def complaints(
    cpu: ModuleType, cuda: ModuleType, kernel: str, T: type, call: Call, orders: tuple[str, ...]
) -> list[str]:
    """Say how CUDA's outputs differ from the CPU's, or between orders of blocks and threads."""
    where = f"{kernel} {T.__name__} {call.case}"
    expected = run(cpu, kernel, T, call, 1)
    results = []
    for order in orders:
        with conditions(order):
            try:
                results.append(run(cuda, kernel, T, call, 0))
            except RuntimeError as error:
                return [f"{where}: {error}"]
    found = []
    for out in call.arguments:
        if not isinstance(out, Out) or out.loose is None:
            continue
        one = results[0][out.name]
        for order, other in zip(orders[1:], results[1:], strict=True):
            if other[out.name].tobytes() != one.tobytes():
                found.append(f"{where}: {out.name} is not the same in order {order}")
        wrong = difference(one, expected[out.name])
        if not wrong <= TOLERANCE[T] * out.loose:
            found.append(f"{where}: {out.name} differs by {wrong:.3g}")
    return found


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, over the largest number; infinite where NaN and infinities differ."""
    if not expected.size:
        return 0.0
    if expected.dtype.kind == "i":
        return float((found != expected).any())
    special = ~np.isfinite(expected)
    if not np.array_equal(found[special], expected[special], equal_nan=True):
        return np.inf
    with np.errstate(invalid="ignore"):
        wrong = np.abs(found - expected)[~special].max(initial=0)
    return float(wrong / max(np.abs(expected[~special]).max(initial=0), 1e-30))


# The calls of each kernel

Calls = Callable[[Any, np.random.Generator, ModuleType], Iterator[Call]]
CALLS: dict[str, Calls] = {}


def calls_of(function: Calls) -> Calls:
    """Register the calls of the kernel that the function is named after."""
    CALLS[function.__name__] = function
    return function


def normal(rng: np.random.Generator, T: Any, *shape: int) -> np.ndarray:
    """Standard normal numbers of a dtype."""
    return rng.standard_normal(shape).astype(T)


ELEMENTS = (0, 1, 2, 3, 4, 5, 255, 256, 257, 1023, 1025, 2053)


@calls_of
def laplace_kl(T, rng, cpu):
    for size in ELEMENTS:
        mu, logvar, previous = normal(rng, T, 3, size)
        if size > 5:
            mu[1], logvar[2], logvar[3], previous[4], mu[5] = np.nan, 90, -200, mu[4], 1e30
        kl, *slopes = (Out(name, size, T) for name in ("kl", "slope_mu", "slope_logvar"))
        for wanted in (slopes, [None, None]):
            yield Call([mu, logvar, previous, 6.0, size, kl, *wanted], {"size": size})


@calls_of
def sample_and_kl(T, rng, cpu):
    for size, own, shifted in itertools.product(ELEMENTS, (0, 1), (0, 1)):
        mu, logvar, noise = normal(rng, T, 3, size)
        yield Call(
            [mu, logvar, noise if own else None, 2**40 + 7, 2**33 + 3, size, Out("z", size, T),
             Out("kl", size, T)],
            {"size": size, "own": own, "shifted": shifted}, bool(shifted),
        )  # fmt: skip


@calls_of
def sample_and_kl_backward(T, rng, cpu):
    for size, own, shifted in itertools.product(ELEMENTS, (0, 1), (0, 1)):
        mu, logvar, noise, g_z, g_kl = normal(rng, T, 5, size)
        yield Call(
            [mu, logvar, noise if own else None, 2**40 + 7, 2**33 + 3, size, g_z, g_kl,
             Out("g_mu", size, T), Out("g_logvar", size, T)],
            {"size": size, "own": own, "shifted": shifted}, bool(shifted),
        )  # fmt: skip


@calls_of
def philox_normal(T, rng, cpu):
    for size, streams, shifted in itertools.product(ELEMENTS, (0, 1, 3), (0, 1)):
        seeds = rng.integers(0, 2**62, streams)
        yield Call(
            [seeds, np.array([2**33 + 3]), streams, size, Out("normals", (streams, size), T)],
            {"size": size, "streams": streams, "shifted": shifted}, bool(shifted),
        )  # fmt: skip


def rows_of_pixels(T, rng):
    pixels = (0, 1, 3, 4, 255, 1023, 1025, PIECE - 1, PIECE, PIECE + 1, PIECE + 4, 2 * PIECE + 8)
    for P, B, gaussian, bytes_, shifted in itertools.product(pixels, (1, 3), *[(0, 1)] * 3):
        if B == 1 and P not in (1, PIECE + 4):
            continue
        x = normal(rng, T, B, P) * 3
        target = (
            rng.integers(0, 256, (B, P)).astype(np.uint8)
            if bytes_
            else rng.random((B, P)).astype(T)
        )
        if B > 1 and P:
            x[1, P // 2] = np.nan
            x[0, 0] = 90
        case = {"P": P, "B": B, "gaussian": gaussian, "bytes": bytes_, "shifted": shifted}
        yield case, x, target, max(1, -(-P // PIECE)) + 1


@calls_of
def nll(T, rng, cpu):
    for case, x, target, work in rows_of_pixels(T, rng):
        B, P = x.shape
        for gradient in (Out("gradient", (B, P), T), None):
            if case["shifted"] and gradient is None:
                continue
            yield Call(
                [x, SAME, target, BYTES if case["bytes"] else SAME, B, P, case["gaussian"],
                 0.3, 1.7,
                 Out("workspace", B * work + 1, np.float64, None), Out("nll", B, T), gradient],
                case, bool(case["shifted"]),
            )  # fmt: skip
    yield Call(
        [normal(rng, T, 0, 9), SAME, normal(rng, T, 0, 9), SAME, 0, 9, 0, 1.0, 1.0,
         Out("workspace", 1, np.float64, None), Out("nll", 0, T), Out("gradient", (0, 9), T)],
        {"B": 0},
    )  # fmt: skip


@calls_of
def scale_rows(T, rng, cpu):
    for (B, P), shared, shifted in itertools.product(
        ((0, 5), (3, 0), (1, 1), (3, 7), (2, 16), (5, 16384), (2, 16388), (2, 32773)),
        *[(0, 1)] * 2,
    ):
        rows, factors = normal(rng, T, B, P), normal(rng, T, max(B, 1))
        factors[:: 2 if B > 1 else 3] = 1
        yield Call(
            [Out("rows", (B, P), T, 0, rows), SAME, factors, bool(shared), B, P],
            {"B": B, "P": P, "shared": shared, "shifted": shifted}, bool(shifted),
        )  # fmt: skip


@calls_of
def elbo(T, rng, cpu):
    def call(case, x, target, work, d, gradients=True):
        B, P = x.shape
        mu, logvar = normal(rng, T, 2, B, d)
        wanted = [Out("gradient", (B, P), T), Out("g_mu", (B, d), T), Out("g_logvar", (B, d), T)]
        return Call(
            [x, SAME, target, BYTES if case.get("bytes") else SAME, mu, logvar, B, P, d,
             case.get("gaussian", 0), 0.3, 4.0,
             Out("workspace", B * work + 1, np.float64, None), Out("loss", (), T),
             Out("reconstruction", B, T), Out("kl", (B, d), T),
             *(wanted if gradients else [None] * 3)],
            {**case, "d": d}, bool(case.get("shifted")),
        )  # fmt: skip

    for case, x, target, work in rows_of_pixels(T, rng):
        for d in (5,) if case["shifted"] or x.shape[1] not in (3, PIECE + 1) else (0, 1, 257):
            yield call(case, x, target, work, d)
    for B in (0, 127, 129, 300):  # rows for the 128 threads that add them up
        x, target = normal(rng, T, B, 5), rng.random((B, 5)).astype(T)
        yield call({"B": B}, x, target, 2, 2, False)


def posteriors(T, rng):
    for B, d in itertools.product((0, 1, 2, 8, 9, 31, 33, 65, 300), (0, 1, 2, 10, 31, 32, 33, 65)):
        if (B > 33 and d not in (0, 10, 33)) or (B > 65 and d != 10):
            continue
        z, mu, logvar = normal(rng, T, B, d), normal(rng, T, B, d), normal(rng, T, B, d) - 1
        if B > 2 and d > 2:
            logvar[1, 1], mu[2, 0] = -30, 500
        for broken in (0, 1) if B > 8 and d in (10, 33) else (0,):
            if broken:
                z[5, 1] = np.nan
            yield z, mu, logvar, B, d, {"B": B, "d": d, "broken": broken}


WEIGHTS = (-3.0, -1.0, -2.0)


def densities(T, B, d):
    return [
        Out("workspace", (_core.total_correlation_spans(B), B, 4 * d + 2), np.float64, None),
        Out("log_qz", B, T), Out("log_prod_qz", B, T), Out("normalisers", (d + 1, B), T),
        Out("slopes", (2, B, d), T),
    ]  # fmt: skip


@calls_of
def total_correlation(T, rng, cpu):
    for z, mu, logvar, B, d, case in posteriors(T, rng):
        outputs = densities(T, B, d)
        yield Call([z, mu, logvar, B, d, *WEIGHTS, *outputs], case)
        if d in (2, 33):
            yield Call([z, mu, logvar, B, d, *WEIGHTS, *outputs[:-1], None], case)


@calls_of
def total_correlation_backward(T, rng, cpu):
    for z, mu, logvar, B, d, case in posteriors(T, rng):
        forward = Call([z, mu, logvar, B, d, *WEIGHTS, *densities(T, B, d)])
        found = run(cpu, "total_correlation", T, forward, 1)
        workspace = Out("workspace", (_core.total_correlation_spans(B), 2, B, d), np.float64, None)
        of_z = Out("g_z", (B, d), T)
        of_posteriors = Out("g_mu", (B, d), T, 5), Out("g_logvar", (B, d), T, 5)
        given = [z, mu, logvar, found["normalisers"]]
        rest = [*normal(rng, T, 2, B), B, d, *WEIGHTS[:2]]
        yield Call([*given, found["slopes"], *rest, workspace, of_z, *of_posteriors], case)
        if d in (2, 33):
            yield Call([*given, found["slopes"], *rest, None, of_z, None, None], case)
            yield Call([*given, None, *rest, workspace, None, *of_posteriors], case)


def windows(T, rng):
    planes = ((1, 1), (2, 3), (15, 17), (16, 127), (17, 128), (33, 129), (5, 257), (67, 8))
    sizes = (1, 3, 5, 7, 9, 11, 17, 31)
    for (H, W), window, mode in itertools.product(planes, sizes, range(4)):
        if (mode == 3 and window > min(H, W)) or (window > 9 and H * W > 2000):
            continue
        shape = (2, H - window + 1, W - window + 1) if mode == 3 else (2, H, W)
        yield H, W, window, mode, shape, {"H": H, "W": W, "window": window, "mode": mode}


@calls_of
def local_variance(T, rng, cpu):
    for H, W, window, mode, shape, case in windows(T, rng):
        for bytes_ in (0, 1):
            x = (
                rng.integers(0, 256, (2, H, W)).astype(np.uint8)
                if bytes_
                else normal(rng, T, 2, H, W)
            )
            yield Call(
                [x, bytes_, 2, H, W, window, mode, Out("variance", shape, T, 1 - bytes_)],
                {**case, "bytes": bytes_}, W == 8,
            )  # fmt: skip
    # So many planes that a block takes several, and the last one not as many.
    for (N, H, W), window in itertools.product(((1537, 2, 3), (2051, 1, 12)), (3, 9, 11)):
        x = rng.integers(0, 256, (N, H, W)).astype(np.uint8)
        for images in (x, x.astype(T) - 100):
            yield Call(
                [images, images is x, N, H, W, window, 0, Out("variance", x.shape, T)],
                {"N": N, "H": H, "W": W, "window": window},
            )
    x = normal(rng, T, 1, 20, 140)
    x[0, 10, 4], x[0, 0, 0] = np.nan, np.inf
    yield Call([x, 0, 1, 20, 140, 5, 0, Out("variance", x.shape, T)], {"broken": 1})


@calls_of
def local_variance_backward(T, rng, cpu):
    for H, W, window, mode, shape, case in windows(T, rng):
        yield Call(
            [normal(rng, T, 2, H, W), normal(rng, T, *shape), 2, H, W, window, mode,
             Out("workspace", (3, 2, H, W), np.float64, None), Out("gradient", (2, H, W), T)],
            case,
        )  # fmt: skip


@calls_of
def tangent_gram(T, rng, cpu):
    M, N = 6, 3
    tangents = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 22, 23, 24, 32, 33, 63, 64)
    pixels = (0, 1, 15, 16, 17, 63, 64, 65, 200, 528)
    for k, P, bytes_ in itertools.product(tangents, pixels, (0, 1)):
        if (k > 24 and P not in (0, 65, 528)) or (k > 8 and P == 528 and not bytes_):
            continue
        for shifted in (0, 1) if P in (16, 64) and k in (4, 7, 9, 17) else (0,):
            x = rng.integers(0, 256, (M, P)).astype(np.uint8) if bytes_ else normal(rng, T, M, P)
            plus, minus = rng.integers(0, M, (2, N, k))
            step = rng.choice([0.5, 1.0, 0.0], (N, k)).astype(T)
            if k > 2:
                plus[0, 1], step[0, 1] = M + 5 if P else 0, 1
                minus[1, 2], step[1, 2] = -9, 0
            yield Call(
                [x, bytes_, plus, minus, step, M, N, k, P, Out("gram", (N, k, k), T, 1 - bytes_)],
                {"k": k, "P": P, "bytes": bytes_, "shifted": shifted}, bool(shifted),
            )  # fmt: skip
    for P in (32800, 32801) if T is np.float32 else ():  # more than 32 bits hold with many factors
        x = np.zeros((2, P), np.uint8)
        x[0] = 255
        yield Call(
            [x, 1, np.zeros((1, 64), np.int64), np.ones((1, 64), np.int64), np.ones((1, 64), T),
             2, 1, 64, P, Out("gram", (1, 64, 64), T, 0)],
            {"k": 64, "P": P, "bytes": 1},
        )  # fmt: skip
    for M in (0, 1):  # no image at all; one of NaN, which is nobody's neighbour
        yield Call(
            [np.full((M, 70), np.nan, T), 0, np.full((2, 9), -1), np.zeros((2, 9), np.int64),
             np.ones((2, 9), T) * (np.arange(9) % 2), M, 2, 9, 70, Out("gram", (2, 9, 9), T)],
            {"M": M},
        )  # fmt: skip


@calls_of
def tangent_gram_backward(T, rng, cpu):
    M, N = 6, 3
    for k, P in itertools.product((0, 1, 2, 5, 24, 33, 64), (0, 1, 65, 200, 256, 257)):
        if k > 5 and P > 65:
            continue
        plus, minus = rng.integers(0, M, (2, N, k))
        step = rng.choice([0.5, 1.0, 0.0], (N, k)).astype(T)
        weight = normal(rng, T, N, k, k)
        weight = weight + weight.transpose(0, 2, 1)
        flat = np.stack([plus, minus], -1).ravel()
        uses = np.argsort(flat, kind="stable").astype(np.int64)
        starts = np.searchsorted(flat[uses], np.arange(M + 1)).astype(np.int64)
        yield Call(
            [normal(rng, T, M, P), plus, minus, step, weight, uses, starts, M, N, k, P,
             Out("gradient", (M, P), T)],
            {"k": k, "P": P},
        )  # fmt: skip


@calls_of
def gram_alignment(T, rng, cpu):
    latents = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 16, 17, 22, 23, 31, 32, 33, 47, 49, 63, 64)
    pixels = (0, 1, 15, 16, 17, 63, 64, 65, 300)
    for d, P, first, active in itertools.product(latents, pixels, (0, 1), (0, 1)):
        if (d > 10 and (P < 300 or first != active)) or (P in (15, 16, 17) and active):
            continue
        B, scales = 2, 1 + np.arange(d, dtype=T)
        x = normal(rng, T, B, d, P) * scales[:, None] if first else normal(rng, T, B, P, d) * scales
        mask = None
        if active:
            mask = (rng.random((B, d)) < 0.7).astype(np.uint8)
            mask[1] = 0
        # Where columns are dependent, their directions are not determined, nor are zeros' signs.
        full = d < P
        yield alignment(
            T, x, first, mask, P, d, full, {"d": d, "P": P, "first": first, "active": active}
        )
        if first and P == 64:
            yield alignment(T, x, 1, mask, P, d, full, {"d": d, "shifted": 1}, True)
    x = normal(rng, T, 2, 100, 6)
    x[1, 3, 2] = np.nan
    yield alignment(T, x, 0, None, 100, 6, True, {"broken": 1})


def alignment(T, x, first, mask, P, d, full, case, shifted=False):
    B = len(x)
    return Call(
        [x, first, mask, B, P, d, Out("workspace", (2, B, d, d), np.float64, None),
         Out("gram", (B, d, d), T),
         Out("values", (B, d), T, 1e6 if full else 1e12),
         Out("v", (B, d, d), T, 1e4 if full else 1e20),
         Out("distance", B, T, 1e4 if full else 1e20),
         Out("permutation", (B, d), np.int64, 1 if full else 1e20),
         Out("contrast", B, T, 1e5 if full else np.inf)],
        case, shifted,
    )  # fmt: skip


@calls_of
def direction_cosines(T, rng, cpu):
    columns = (0, 1, 7, 8, 9, 16, 17, 33, 65)
    pixels = (0, 1, 15, 16, 17, 63, 64, 65, 130)
    for d, k, P, first in itertools.product(columns, columns, pixels, (0, 1)):
        if d * k > 80 and P != 65:
            continue
        shifted = bool(first and P == 64)
        B = 2
        x = normal(rng, T, B, d, P) if first else normal(rng, T, B, P, d)
        c = normal(rng, T, B, k, P)
        if T is np.float64 and d > 4 and k > 3 and P:
            (x[0, 2] if first else x[0, :, 2])[:] *= 1e200
            c[1, 1] *= 1e-200
            c[0, 0] = 0
        yield Call(
            [x, first, c, B, P, d, k, Out("cosines", (B, d, k), T), Out("norms", (B, d + k), T)],
            {"d": d, "k": k, "P": P, "first": first, "shifted": shifted}, shifted,
        )  # fmt: skip
