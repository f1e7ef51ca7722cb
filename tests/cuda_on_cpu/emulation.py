"""Build and load the CUDA kernels for the CPU.

EMULATED_SANITIZE says with which sanitizer: address, thread, or none.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "cuda_on_cpu"
SANITIZE = os.environ.get("EMULATED_SANITIZE", "")


def missing() -> str | None:
    """Say what the emulation would need and does not find."""
    if sys.platform != "linux":
        return "kernels are emulated on Linux only"
    for tool in ("cmake", "c++"):
        if tool_path(tool) is None:
            return f"there is no {tool} to build the emulated kernels with"
    return None


def tool_path(name: str) -> str | None:
    """Find a program, first among those installed beside this Python."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))


def build(csrc: Path = CSRC, folder: Path | None = None) -> Path:
    """Build ``csrc``'s kernels for the CPU unless they are as they were; return the folder.

    One process builds, the others wait.
    """
    folder = folder or BUILD / (SANITIZE or "plain")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, content = folder / "stamp", _content(csrc)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
            _cmake(csrc, folder)
            stamp.write_text(content, encoding="utf-8")
    return folder


def _content(csrc: Path) -> str:
    digest = hashlib.sha256(f"{sys.version}{sys.prefix}{SANITIZE}".encode())
    for path in sorted([*csrc.iterdir(), *HERE.iterdir()]):
        if path.is_file() and path.suffix != ".md" and not path.name.startswith("test_"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _cmake(csrc: Path, folder: Path) -> None:
    import pybind11

    # Preloaded sanitizer runtimes are for the tests, not for the compiler.
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONPATH")}
    cmake, ninja = tool_path("cmake"), tool_path("ninja")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    settings = {
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "EMULATED_CSRC": csrc,
        "EMULATED_SANITIZE": SANITIZE,
    }
    for command in (
        [cmake, "-S", HERE, "-B", folder, *generator, *(f"-D{k}={v}" for k, v in settings.items())],
        [cmake, "--build", folder, "--parallel", str(min(4, os.cpu_count() or 1))],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"no emulated kernels: {done.stdout[-3000:]} {done.stderr[-3000:]}")


def load(folder: Path) -> ModuleType:
    """Load the emulated kernels of a build: ``cuda.<kernel>_<f32|f64>``, as ``vaebias._core``."""
    (path,) = folder.glob("_emulated*.so")
    spec = importlib.util.spec_from_file_location("_emulated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def kernels() -> ModuleType:
    """Build and load the kernels of this project."""
    return load(build())


@cache
def examples() -> ctypes.CDLL:
    """Build and load the kernels on which the emulation itself is tested."""
    (path,) = build().glob("libexamples*.so")
    return ctypes.CDLL(str(path))


@contextmanager
def conditions(order: str = "forward", shared: int | None = None) -> Iterator[None]:
    """Launch with blocks and threads in an order, on a GPU with ``shared`` bytes a block."""
    told = {"EMULATED_ORDER": order, "EMULATED_SHARED": "" if shared is None else str(shared)}
    before = {name: os.environ.get(name, "") for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        os.environ.update(before)


if __name__ == "__main__":
    print(build())
