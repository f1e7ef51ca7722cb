"""Count what the compiler made of the CUDA kernels: a table that needs no GPU.

Run by ``make cuda-report``; it needs nvcc, and nvdisasm from the package index
(nvidia-cuda-nvdisasm). For each kernel and architecture: registers, spilled bytes, static shared
memory, instructions in all and in the innermost loop that loads widest, widths of loads and stores
in bits and how often each stands in the code, calls of slow paths, products on tensor cores. Beside
them stands a model of what counts cannot show: bytes moved against the least that must be.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90")


@dataclass
class Counts:
    """What one kernel is at one architecture."""

    kernel: str
    registers: int = 0
    spilled: int = 0  # bytes stored and loaded
    shared: int = 0  # bytes, static
    instructions: int = 0
    loop: int | None = None  # instructions of the innermost loop that loads widest
    loads: Counter[int] = field(default_factory=Counter)  # of global memory, by bits
    stores: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    tensor: Counter[str] = field(default_factory=Counter)  # products in double, by shape


# The compiler's output


def nvcc() -> str | None:
    """Find the CUDA compiler."""
    return shutil.which("nvcc")


def compiler() -> str:
    """Return the CUDA compiler and its version."""
    said = subprocess.run([nvcc(), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\bV(\d[\d.]*)", said)
    return f"nvcc {version[1] if version else 'of unknown version'}"


def nvdisasm() -> str | None:
    """Find the disassembler: on the path, or installed beside this Python."""
    found = shutil.which("nvdisasm")
    packaged = Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/bin/nvdisasm")
    return found or next(map(str, packaged), None)


def compile_kernels(source: Path, architecture: str, folder: Path) -> tuple[Path, str]:
    """Compile a .cu file to machine code; return it and what the assembler says of each kernel."""
    cubin = folder / f"{source.stem}.{architecture}.cubin"
    command = [
        nvcc(), "-std=c++17", "-O3", f"-arch={architecture}", "-cubin", "-Xptxas", "-v",
        f"-I{source.parent}", str(source), "-o", str(cubin),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{source.name} does not compile for {architecture}: {done.stderr}")
    return cubin, done.stderr


def resources(report: str) -> dict[str, Counts]:
    """Read registers, spills and shared memory out of what ``ptxas -v`` says."""
    found: dict[str, Counts] = {}
    name = None
    for line in report.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            name = entry[1]
            found[name] = Counts(name)
        elif name and (spills := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill", line)):
            found[name].spilled = int(spills[1]) + int(spills[2])
        elif name and (used := re.search(r"Used (\d+) registers", line)):
            found[name].registers = int(used[1])
            shared = re.search(r"(\d+) bytes smem", line)
            found[name].shared = int(shared[1]) if shared else 0
            name = None
    return found


def count_instructions(disassembly: str, counts: dict[str, Counts]) -> None:
    """Add to ``counts`` what the machine code of each kernel holds."""
    for part in re.split(r"(?m)^\.text\.", disassembly)[1:]:
        name = part.split(":", 1)[0]
        if name not in counts:
            continue
        code, labels = [], {}
        for line in part.splitlines():
            if label := re.match(r"(\.L_x_\d+):", line):
                labels[label[1]] = len(code)
            elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
                code.append(instruction[1].strip())
        own = counts[name]
        own.instructions = len(code)
        own.calls = sum("CALL" in text for text in code)
        for text in code:
            if access := re.search(r"\b(LDG|STG)\.E([\w.]*)", text):
                (own.loads if access[1] == "LDG" else own.stores)[width(access[2])] += 1
            if product := re.search(r"\bDMMA\.(\w+)", text):
                own.tensor[product[1]] += 1
        own.loop = innermost(code, labels)


def width(suffix: str) -> int:
    """Bits that one thread loads or stores, from an instruction's suffix."""
    if found := re.search(r"\.(128|64)\b", suffix):
        return int(found[1])
    if re.search(r"\.[US]8\b", suffix):
        return 8
    return 16 if re.search(r"\.[US]16\b", suffix) else 32


def innermost(code: list[str], labels: dict[str, int]) -> int | None:
    """Length of that innermost loop which loads widest, and among those most."""
    loops = []
    for at, text in enumerate(code):
        if branch := re.search(r"BRA.*?(\.L_x_\d+)", text):
            start = labels.get(branch[1], at + 1)
            loads = [re.search(r"\bLDG\.E([\w.]*)", each) for each in code[start : at + 1]]
            bits = [width(load[1]) for load in loads if load]
            if start <= at and bits:
                loops.append((start, at, bits))
    inner = [
        (-max(bits), -sum(bits), at + 1 - start)
        for start, at, bits in loops
        if not any(start <= s and e <= at and (s, e) != (start, at) for s, e, _ in loops)
    ]
    return min(inner)[2] if inner else None


def plain(name: str) -> str:
    """A kernel's name as it stands in the source, with the types it was compiled for."""
    done = subprocess.run(["c++filt", "-p", name], capture_output=True, text=True, check=False)
    text = done.stdout.strip() or name
    return re.sub(r"vaebias::cuda::|\(anonymous namespace\)::|unsigned char", _short, text)


def _short(match: re.Match[str]) -> str:
    return "bytes" if match[0] == "unsigned char" else ""


def report(csrc: Path, architectures: Iterable[str]) -> dict[str, list[Counts]]:
    """Count every kernel of ``csrc/*.cu`` for each architecture."""
    table: dict[str, list[Counts]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in architectures:
            table[architecture] = []
            for source in sorted(csrc.glob("*.cu")):
                cubin, said = compile_kernels(source, architecture, Path(folder))
                counts = resources(said)
                if tool := nvdisasm():
                    done = subprocess.run(
                        [tool, "-c", cubin], capture_output=True, text=True, check=True
                    )
                    count_instructions(done.stdout, counts)
                for each in counts.values():
                    each.kernel = f"{source.stem}: {plain(each.kernel)}"
                table[architecture] += sorted(counts.values(), key=lambda each: each.kernel)
    return table


# A model of what counts cannot show


@dataclass(frozen=True)
class Traffic:
    """Bytes that a kernel moves at a size, and the least that any would."""

    kernel: str
    size: str
    moved: float
    least: float


def traffic() -> list[Traffic]:
    """Bytes through global memory, caches left out, by what each kernel reads and writes."""
    B, P, d, k = 256, 12288, 10, 5
    pixels, elements, points = B * P, 65536 * 16, B * 4096
    images, pairs = 2000, 4
    planes, side, window = 256, 64, 9
    seen = side + window - 1  # rows, and columns, that a block reads for a plane's outputs
    batch, spans = 1024, 4
    partials = spans * batch * (4 * d + 2) * 8  # written by blocks, read by the launch that merges
    cosines = points * (d + k) * 4
    return [
        Traffic("elbo with gradients, float32", f"{B} x {P}", pixels * 12 + B * 48, pixels * 12),
        Traffic("elbo with gradients, bytes", f"{B} x {P}", pixels * 9 + B * 48, pixels * 9),
        Traffic("elbo, bfloat16 and float32", f"{B} x {P}", pixels * 8 + B * 48, pixels * 8),
        Traffic("elbo, bfloat16 and bytes", f"{B} x {P}", pixels * 5 + B * 48, pixels * 5),
        Traffic("sample_and_kl", f"{elements}", elements * 16, elements * 16),
        Traffic("laplace_kl with slopes", f"{elements}", elements * 24, elements * 24),
        Traffic(
            "gram_alignment", f"{B} x 4096 x {d}",
            points * d * 4 + B * 5 * d * d * 8, points * d * 4,
        ),
        Traffic("direction_cosines", f"{B} x 4096 x ({d}, {k})", cosines, cosines),
        Traffic(
            "tangent_gram, float32", f"{images} x {pairs} x 4096",
            images * pairs * 2 * 4096 * 4, images * 4096 * 4,
        ),
        Traffic(
            "tangent_gram, bytes", f"{images} x {pairs} x 4096",
            images * pairs * 2 * 4096, images * 4096,
        ),
        Traffic(
            "local_variance, float32", f"{planes} x {side} x {side}, window {window}",
            planes * (seen**2 + side**2) * 4, planes * side**2 * 8,
        ),
        Traffic(
            "total_correlation", f"{batch} x {d}",
            batch / 8 * batch * d * 8 + 2 * partials, batch * d * 12,
        ),
    ]  # fmt: skip


# The table


def loads_and_stores(counts: Counter[int]) -> str:
    """Widths in bits and how often each stands in the code."""
    return (
        " ".join(f"{bits}x{times}" for bits, times in sorted(counts.items(), reverse=True)) or "-"
    )


def table(counts: dict[str, list[Counts]]) -> str:
    """The counts as Markdown, a table an architecture."""
    lines = []
    for architecture, kernels in counts.items():
        lines += [
            f"## {architecture}", "",
            "| kernel | registers | spilled | shared | instructions "
            "| loop | loads | stores | calls | tensor cores |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for each in kernels:
            loop = "-" if each.loop is None else each.loop
            lines.append(
                f"| `{each.kernel}` | {each.registers} | {each.spilled} | {each.shared} | "
                f"{each.instructions} | {loop} | {loads_and_stores(each.loads)} | "
                f"{loads_and_stores(each.stores)} | {each.calls} | "
                f"{', '.join(f'{n} of {shape}' for shape, n in each.tensor.items()) or '-'} |"
            )
        lines.append("")
    return "\n".join(lines)


def model() -> str:
    """The model as Markdown."""
    lines = [
        "## Bytes moved against the least", "",
        "| kernel | size | moved | least | times |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for each in traffic():
        moved, least = (f"{size / 1e6:.1f} MB" for size in (each.moved, each.least))
        times = f"{each.moved / each.least:.2f}"
        lines.append(f"| {each.kernel} | {each.size} | {moved} | {least} | {times} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--csrc", type=Path, default=ROOT / "csrc")
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not nvcc():
        sys.exit("there is no nvcc on the path")
    if not nvdisasm():
        sys.exit("there is no nvdisasm: pip install nvidia-cuda-nvdisasm")
    text = (
        "# CUDA kernels by count\n\nBy `make cuda-report`: columns are explained in its docstring. "
        f"{compiler()}; no GPU ran.\n\n"
    )
    text += f"{table(report(options.csrc, options.architectures))}\n{model()}"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
