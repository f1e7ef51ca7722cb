"""Prove and time the CUDA kernels on the GPU of this machine, part by part, in ten minutes.

Run by ``make gpu``. A part that is done for these sources is not done again; one that fails, that
this machine cannot do, or for which the ten minutes do not suffice, says so and the next goes on:
the same command takes up what is left. Timings run alone, the sanitizers' parts side by side.
Results: benchmarks/results/<device>.json (key "gpu") and <device>.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from gpu_kernels import competitors  # noqa: E402
from run import cpu_name, file_name, machine  # noqa: E402

ALL_SECONDS = 600  # of one run; parts that would begin later wait for the next
PART_SECONDS = 240  # of one part at most
# Processes of tests at a time; each takes some of the GPU's memory.
PROCESSES = max(1, min(8, (os.cpu_count() or 2) // 2))
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")  # of compute-sanitizer
STARTED = time.monotonic()
BUSY_CYCLES = 8_000_000  # some milliseconds
STEPS = 400  # timed, after a quarter of them unclocked
SELECT = "(cuda or graph) and not emulated"
OPERATOR_TESTS = sorted(path.stem for path in (ROOT / "tests" / "ops").glob("test_*.py"))


class Skipped(Exception):
    """What a part needs and this machine does not have."""


def needs_gpu() -> None:
    """Skip the part where there is no GPU, or no kernels for it."""
    from vaebias import ops

    if not torch.cuda.is_available():
        raise Skipped("torch finds no CUDA device")
    if not ops.build_info()["cuda_compiler"]:
        raise Skipped("vaebias was built without nvcc: VAEBIAS_CUDA=ON make develop")


def remaining() -> float:
    """Seconds that a part may take; skip it where none are left."""
    left = ALL_SECONDS - (time.monotonic() - STARTED)
    if left < 10:
        raise Skipped("the ten minutes are over: run the same command again")
    return min(left, PART_SECONDS)


def pytest(
    files: Sequence[str], select: str, before: Sequence[str] = (), options: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the CUDA cases of test files and return pytest's last line."""
    paths = [str(ROOT / file) for file in files]
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    command = [*before, sys.executable, "-m", "pytest", *quiet]
    # not from the checkout, whose sources -m would import: they may have no kernels beside them
    done = subprocess.run(
        [*command, *options, "-k", select, *paths],
        cwd=HERE, capture_output=True, text=True, timeout=remaining(), check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines() or [done.stderr[-500:]]
    last = next((line for line in lines[::-1] if " in " in line), lines[-1])  # a tool's come after
    if done.returncode == 5:  # pytest: no test was selected
        return {"result": "no tests on CUDA"}
    if done.returncode:
        raise RuntimeError(f"{last}\n{done.stdout[-6000:]}")
    return {"result": last.strip("= ")}


def tests() -> dict[str, Any]:
    """tests/ops on the GPU, and training that is captured in a graph."""
    needs_gpu()
    side_by_side = importlib.util.find_spec("xdist") is not None
    options = [f"--numprocesses={PROCESSES}"] if side_by_side else []
    return pytest(["tests/ops", "tests/training"], SELECT, options=options)


def sanitizer(tool: str, name: str) -> dict[str, Any]:
    """The CUDA cases of one file of tests/ops under a tool of compute-sanitizer."""
    needs_gpu()
    found = shutil.which("compute-sanitizer")
    if found is None:
        raise Skipped("compute-sanitizer is not on the path")
    # Our own kernels: looking at torch's as well takes many times as long. A port for each part,
    # since they run side by side.
    port = 49152 + 16 * (TOOLS.index(tool) * len(OPERATOR_TESTS) + OPERATOR_TESTS.index(name))
    before = (
        *(found, "--tool", tool, "--kernel-name", "kns=vaebias", "--error-exitcode", "9"),
        *("--target-processes", "application-only", "--require-cuda-init", "no"),
        *("--port", str(port)),
    )
    # without torch's own allocator, in whose large blocks a read past an array goes unseen
    plain = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1")
    # Without that allocator, a capture cannot allocate memory.
    select = f"{SELECT} and not compile and not graph"
    return pytest([f"tests/ops/{name}.py"], select, (*plain, *before))


def copy_bandwidth() -> float:
    """Measured bytes a second of a large copy on the device, read and written."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source))


def median_seconds(function: Callable[[], Any], repeats: int = 20) -> float:
    """Median time of a call on the device, by events, after three calls unclocked.

    Before each the cache is swept, and the device kept busy until the call is queued: what
    Python takes to launch kernels is not in it.
    """
    for _ in range(3):
        function()
    sweep = torch.empty(2**26, device="cuda")
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        sweep.zero_()
        torch.cuda._sleep(BUSY_CYCLES)
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]


def kernels() -> dict[str, Any]:
    """Each kernel's share of the copy bandwidth, beside eager and torch.compile."""
    needs_gpu()
    copy = copy_bandwidth()
    rows: dict[str, dict[str, Any]] = {}
    failed = []
    for name, (ours, reference, inputs, moved) in competitors().items():
        seconds = {}
        for who, function in (
            ("ours", ours), ("eager", reference), ("torch.compile", torch.compile(reference))
        ):  # fmt: skip
            try:
                seconds[who] = median_seconds(partial(function, *inputs))
            except RuntimeError as error:
                failed.append(f"{name}, {who}: {str(error)[:500]}")
        rows[name] = {"seconds": seconds, "least_bytes": moved}
        if "ours" in seconds:
            rows[name]["share_of_copy"] = moved / seconds["ours"] / copy
        print(f"  {line_of(name, rows[name])}", flush=True)
    if failed:
        raise RuntimeError("\n".join(failed))
    return {"copy_bytes_per_second": copy, "kernels": rows}


def training() -> dict[str, Any]:
    """Steps a second of convolutional beta-VAEs: one seed, ten stacked, ten as a CUDA graph."""
    needs_gpu()
    from vaebias.training import arithmetic

    rates = {
        f"{network}, {name}": steps_per_second(network, seeds, graph)
        for network in ("conv_patch", "conv")
        for name, seeds, graph in (
            ("one seed", 1, False), ("ten stacked", 10, False), ("ten, with graph", 10, True)
        )
    }  # fmt: skip
    return {"steps_per_second": rates, "result": arithmetic("cuda")}


def steps_per_second(network: str, seeds: int, graph: bool) -> float:
    """Return the joint steps a second of a beta-VAE on 64x64 images, batches of 64."""
    from vaebias import data, models
    from vaebias.training import fit_seeds

    grid = data.load("blobs", levels=(16, 16, 8), width=64)
    clock: list[float] = []

    def tell(done: int, total: int) -> None:
        clock.append(time.perf_counter())  # once the losses were read, the device has caught up

    objectives = [
        models.build("beta_vae", grid.image_shape, 10, network, seed=seed).cuda()
        for seed in range(seeds)
    ]
    quarter = STEPS // 4
    fit_seeds(
        objectives, grid, STEPS + quarter, 64, seeds=range(seeds), stack=True, graph=graph,
        progress=tell, log_every=quarter,
    )  # fmt: skip
    return STEPS / (clock[-1] - clock[0])


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "tests": tests,
    "kernels": kernels,
    "training": training,
    **{
        f"{tool}.{name.removeprefix('test_')}": partial(sanitizer, tool, name)
        for tool in TOOLS
        for name in OPERATOR_TESTS
    },
}


def sources() -> str:
    """Return a digest of what is measured: kernels, package and how it is measured."""
    digest = hashlib.sha256()
    own = HERE.glob("gpu*.py")
    for path in sorted([*ROOT.glob("csrc/*"), *ROOT.glob("vaebias/**/*.py"), *own]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run_part(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run one part and say how it ended."""
    start = time.perf_counter()
    try:
        remaining()
        outcome = {"state": "done", **part()}
    except Skipped as reason:
        outcome = {"state": "skipped", "reason": str(reason)}
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        outcome = {"state": "failed", "reason": str(error)[-8000:]}
    return {**outcome, "took_seconds": round(time.perf_counter() - start, 1)}


def outcomes(names: Sequence[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Run parts, timings and tests one after the other, the sanitizers' several at a time."""
    alone = [name for name in names if "." not in name]
    for name in alone:
        yield name, run_part(PARTS[name])
    with ThreadPoolExecutor(PROCESSES) as pool:
        running = {pool.submit(run_part, PARTS[n]): n for n in names if n not in alone}
        for done in as_completed(running):
            yield running[done], done.result()


def line_of(kernel: str, row: dict[str, Any]) -> str:
    """Describe a kernel's times."""
    ours = row["seconds"].get("ours")
    if ours is None:
        return f"{kernel}: failed"
    others = [
        f"{who} {seconds / ours:.1f}x" for who, seconds in row["seconds"].items() if who != "ours"
    ]
    return f"{kernel}: {1e3 * ours:.3f} ms, {row['share_of_copy']:.0%} of copy; {', '.join(others)}"


def text(results: dict[str, Any]) -> str:
    """Results for people."""
    lines = [f"{results['machine']['device']}, {results['machine']['date']}"]
    for name, part in results["parts"].items():
        said = part.get("reason") or part.get("result") or ""
        lines.append(f"{name}: {part['state']}{': ' if said else ''}{said}")
        for kernel, row in part.get("kernels", {}).items():
            lines.append(f"  {line_of(kernel, row)}")
        for kind, rate in part.get("steps_per_second", {}).items():
            lines.append(f"  {kind}: {rate:.0f} steps/s")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the parts that are not done yet and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS], help="only these; all unless told"
    )
    parser.add_argument("--again", action="store_true", help="also what is done")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name()
    kept = ROOT / "build" / "gpu" / f"{file_name(device)}-{sources()}.json"
    results = {"machine": machine(device), "parts": {}}
    if kept.exists():
        results["parts"] = json.loads(kept.read_text(encoding="utf-8"))["parts"]
    wanted = list(options.parts or PARTS)
    if not options.again:
        for name in wanted:
            if results["parts"].get(name, {}).get("state") == "done":
                print(f"{name}: done before", flush=True)
        wanted = [name for name in wanted if results["parts"].get(name, {}).get("state") != "done"]
    for name, outcome in outcomes(wanted):
        results["parts"][name] = outcome
        print(name, outcome["state"], flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(results, indent=1), encoding="utf-8")
    results["parts"] = {name: results["parts"][name] for name in PARTS if name in results["parts"]}
    if torch.cuda.is_available():
        target = HERE / "results" / f"{file_name(device)}.json"
        document = {**results["machine"], "gpu": results}
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        target.with_suffix(".txt").write_text(text(results), encoding="utf-8")
    print(text(results))
    return any(part["state"] == "failed" for part in results["parts"].values())


if __name__ == "__main__":
    sys.exit(main())
