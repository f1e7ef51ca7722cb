"""Prove and time the CUDA kernels on the GPU of this machine, part by part, in ten minutes.

Run by ``make gpu``. A part that is done for these sources is not done again; one that fails, or
that this machine cannot do, says so and the next goes on. Results: benchmarks/results/<device>.json
(key "gpu") and <device>.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from run import device_name, machine  # noqa: E402

STEPS = 200  # timed, after a tenth of them unclocked


class Skipped(Exception):
    """What a part needs and this machine does not have."""


def needs_gpu() -> None:
    """Skip the part where there is no GPU, or no kernels for it."""
    from vaebias import ops

    if not torch.cuda.is_available():
        raise Skipped("torch finds no CUDA device")
    if not ops.build_info()["cuda_compiler"]:
        raise Skipped("vaebias was built without nvcc: VAEBIAS_CUDA=ON make develop")


def pytest(*options: str, before: tuple[str, ...] = (), limit: int = 240) -> dict[str, Any]:
    """Run the CUDA tests of the kernels and return pytest's last line."""
    command = [
        *before,
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/ops",
        *options,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
    )
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-500:]]
    if done.returncode:
        raise RuntimeError(f"{last[0]}\n{done.stdout[-2000:]}")
    return {"result": last[0]}


def tests() -> dict[str, Any]:
    """tests/ops on the GPU."""
    needs_gpu()
    return pytest("-k", "cuda")


def sanitizer(tool: str) -> dict[str, Any]:
    """Every kernel once under a tool of compute-sanitizer."""
    needs_gpu()
    found = shutil.which("compute-sanitizer")
    if found is None:
        raise Skipped("compute-sanitizer is not on the path")
    before = (found, "--tool", tool, "--error-exitcode", "9", "--target-processes", "all")
    return pytest("-k", "self_test and cuda", before=before)


def copy_bandwidth() -> float:
    """Measured bytes a second of a large copy on the device, read and written."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source))


def median_seconds(function: Callable[[], Any], repeats: int = 20) -> float:
    """Median time of a call on the device, by events, after three calls unclocked."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
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
    rows = {}
    for name, (ours, reference, inputs, moved) in competitors().items():
        compiled = torch.compile(reference)
        seconds = {
            "ours": median_seconds(lambda f=ours, x=inputs: f(*x)),
            "eager": median_seconds(lambda f=reference, x=inputs: f(*x)),
            "torch.compile": median_seconds(lambda f=compiled, x=inputs: f(*x)),
        }
        share = moved / seconds["ours"] / copy
        rows[name] = {"seconds": seconds, "least_bytes": moved, "share_of_copy": share}
    return {"copy_bytes_per_second": copy, "kernels": rows}


def competitors() -> dict[str, tuple[Callable[..., Any], Callable[..., Any], list[Any], int]]:
    """Ours, the reference, inputs that fill the device, and the least bytes to move."""
    from vaebias.ops import direction_cosines, elbo, laplace_kl, local_variance, tangent_gram
    from vaebias.ops.direction_cosines import direction_cosines_reference
    from vaebias.ops.elbo import elbo_reference
    from vaebias.ops.laplace_kl import laplace_kl_reference
    from vaebias.ops.local_variance import local_variance_reference
    from vaebias.ops.tangent_gram import tangent_gram_reference

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda")

    def trained(loss: Callable[..., Any]) -> Callable[..., Any]:
        def step(logits: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            logits = logits.detach().requires_grad_()
            return torch.autograd.grad(loss(logits, *rest).loss, logits)[0]

        return step

    logits, target = normal(1024, 12288), torch.rand(1024, 12288, device="cuda")
    latents = [normal(1024, 10), normal(1024, 10)]
    images = normal(4096, 1, 64, 64)
    posteriors = [normal(2**22, 16) for _ in range(3)]
    jacobian, components = normal(2048, 10, 4096), normal(2048, 5, 4096)
    flat, neighbours = normal(20000, 4096), torch.randint(0, 20000, (20000, 4, 2), device="cuda")
    return {
        "elbo, forward and backward": (
            trained(elbo), trained(elbo_reference), [logits, target, *latents], 12 * logits.numel(),
        ),
        "laplace_kl": (
            lambda *x: laplace_kl(*x, 6.0), lambda *x: laplace_kl_reference(*x, 6.0), posteriors,
            16 * posteriors[0].numel(),
        ),
        "local_variance, window 9": (
            lambda x: local_variance(x, 9), lambda x: local_variance_reference(x, 9), [images],
            2 * images.nbytes,
        ),
        "tangent_gram": (tangent_gram, tangent_gram_reference, [flat, neighbours], flat.nbytes),
        "direction_cosines": (
            direction_cosines, direction_cosines_reference, [jacobian, components],
            jacobian.nbytes + components.nbytes,
        ),
    }  # fmt: skip


def training() -> dict[str, Any]:
    """Steps a second of one seed of a convolutional VAE, and of ten stacked."""
    needs_gpu()
    rates = {}
    for name, seeds in (("one seed", "0"), ("ten stacked", "0..9")):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, "-m", "vaebias", "train", "--model", "beta_vae",
                "--data", "dsprites", "--device", "cuda", "--seed", seeds,
            ]  # fmt: skip
            seconds = []
            for steps in (STEPS // 10, STEPS + STEPS // 10):  # the difference leaves the start out
                out = Path(folder) / str(steps)
                start = time.perf_counter()
                done = subprocess.run(
                    [*command, "--steps", str(steps), "--out", str(out)],
                    capture_output=True, text=True, check=False, timeout=200,
                )  # fmt: skip
                if done.returncode:
                    raise RuntimeError(done.stderr[-1000:])
                seconds.append(time.perf_counter() - start)
            rates[name] = STEPS / (seconds[1] - seconds[0])
    return {"steps_per_second": rates}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "tests": tests,
    "memcheck": lambda: sanitizer("memcheck"),
    "racecheck": lambda: sanitizer("racecheck"),
    "kernels": kernels,
    "training": training,
}


def sources() -> str:
    """A number for what is measured: kernels, package and this file."""
    digest = hashlib.sha256()
    for path in sorted([*ROOT.glob("csrc/*"), *ROOT.glob("vaebias/**/*.py"), Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run_part(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run one part and say how it ended."""
    start = time.perf_counter()
    try:
        outcome = {"state": "done", **part()}
    except Skipped as reason:
        outcome = {"state": "skipped", "reason": str(reason)}
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        outcome = {"state": "failed", "reason": str(error)[-2000:]}
    return {**outcome, "took_seconds": round(time.perf_counter() - start, 1)}


def text(results: dict[str, Any]) -> str:
    """Results for people."""
    lines = [f"{results['machine']['device']}, {results['machine']['date']}"]
    for name, part in results["parts"].items():
        said = part.get("reason") or part.get("result") or ""
        lines.append(f"{name}: {part['state']}{': ' if said else ''}{said}")
        for kernel, row in part.get("kernels", {}).items():
            seconds = row["seconds"]
            lines.append(
                f"  {kernel}: {1e3 * seconds['ours']:.3f} ms, {row['share_of_copy']:.0%} of copy; "
                f"eager {seconds['eager'] / seconds['ours']:.1f}x, torch.compile "
                f"{seconds['torch.compile'] / seconds['ours']:.1f}x"
            )
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
    kept = ROOT / "build" / "gpu" / f"{device_name()}-{sources()}.json"
    results = {"machine": machine(), "parts": {}}
    if kept.exists() and not options.again:
        results["parts"] = json.loads(kept.read_text(encoding="utf-8"))["parts"]
    for name in options.parts or PARTS:
        if results["parts"].get(name, {}).get("state") == "done":
            print(f"{name}: done before", flush=True)
            continue
        results["parts"][name] = run_part(PARTS[name])
        print(name, results["parts"][name]["state"], flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if torch.cuda.is_available():
        target = HERE / "results" / f"{device_name()}.json"
        earlier = json.loads(target.read_text(encoding="utf-8")) if target.exists() else machine()
        target.write_text(
            json.dumps({**earlier, "gpu": results}, indent=1) + "\n", encoding="utf-8"
        )
        target.with_suffix(".txt").write_text(text(results), encoding="utf-8")
    print(text(results))
    return any(part["state"] == "failed" for part in results["parts"].values())


if __name__ == "__main__":
    sys.exit(main())
