"""Some calls of every kernel under ThreadSanitizer, which reports what no barrier orders.

Run by ``make races``. First come the examples whose races it must see: without a report of each,
the silence of the kernels would say nothing. Blocks of one launch are not ordered either.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time

import emulation
import numpy as np
import twins

CALLS = 12  # of each kernel and dtype, spread over all there are
REPORTED = 66  # how a process ends in which a race was seen: ThreadSanitizer's own default
RACES = (("reverse_blocks", 1), ("number_blocks", 1), ("number_blocks", 2))


def example(name: str, fault: int) -> None:
    """Run one example of examples.cu."""
    given, made = np.zeros(128, np.float32), np.zeros(128, np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (given, made)]
    getattr(emulation.examples(), name)(*pointers, 2, fault)


def reported(name: str, fault: int) -> bool:
    """Whether ThreadSanitizer reports a race in an example."""
    command = [sys.executable, __file__, name, str(fault)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, REPORTED) or (done.returncode and "data race" not in done.stderr):
        raise RuntimeError(f"{name} {fault} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.returncode == REPORTED


def kernels(only: list[str]) -> None:
    """Run calls of the kernels; the first race ends the process."""
    cuda = emulation.kernels().cuda
    for kernel, calls_of in twins.CALLS.items():
        if only and kernel not in only:
            continue
        start = time.process_time()
        for T in twins.SUFFIX:
            calls = list(calls_of(T, np.random.default_rng(0), cuda))
            for at in np.unique(np.linspace(0, len(calls) - 1, CALLS).round().astype(int)):
                twins.run(cuda, kernel, T, calls[at], 0)
        print(f"{kernel}: no race, {time.process_time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    if emulation.SANITIZE != "thread":
        sys.exit("races.py is run by `make races`")
    if len(sys.argv) == 3 and sys.argv[2].isdigit():
        example(sys.argv[1], int(sys.argv[2]))
        sys.exit(0)
    for name in ("reverse_blocks", "number_blocks", "warp_sum", "async_rotate"):
        if reported(name, 0):
            sys.exit(f"a race is reported in {name}, which has none")
    for name, fault in RACES:
        if not reported(name, fault):
            sys.exit(f"the race of {name} {fault} is not reported")
    print(f"{len(RACES)} planted races are reported")
    kernels(sys.argv[1:])
