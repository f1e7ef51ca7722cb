"""Run the benchmarks, print every group's ratios, and write them to results/<processor>.json.

The file is named after the processor and the instruction set of the kernels: a build of
VAEBIAS_X86_LEVEL=3 measures AVX2 on a machine that has AVX-512. The table ends with the groups
that are slower than in the file by more than the spread of both. GPUs are measured by gpu.py.

python benchmarks/run.py                   all of them
python benchmarks/run.py --quick           the groups of QUICK, in under two minutes
python benchmarks/run.py -k elbo           what pytest's -k selects; nothing is written
python benchmarks/run.py -k elbo --save    the same; replaces these groups in the file
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
OURS = "vaebias"
QUICK = "(elbo and 64 and uint8) or (local_variance and 9 and float32) or alignment and 256"


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of the vaebias kernels.")
    parser.add_argument("--quick", action="store_true", help="the main sizes only")
    parser.add_argument("-k", dest="select", help="as pytest's -k")
    parser.add_argument("--save", action="store_true", help="also write what was selected")
    options = parser.parse_args()
    select = QUICK if options.quick else options.select

    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "benchmarks.json"
        command = [
            *(sys.executable, "-m", "pytest", str(HERE), "-q", "--benchmark-only"),
            *("--benchmark-warmup=on", "--benchmark-min-rounds=5", "--benchmark-max-time=0.5"),
            *("--benchmark-disable-gc", f"--benchmark-json={record}"),
            *(("-k", select) if select else ()),
        ]
        # not from the checkout, whose sources -m would import: they have no kernels beside them
        code = subprocess.run(command, stdout=sys.stderr, check=False, cwd=HERE).returncode
        if not record.exists():
            return code or 1
        measured = json.loads(record.read_text())["benchmarks"]

    groups = summarise(measured)
    show(groups)
    target = HERE / "results" / f"{file_name(cpu_name())}.json"
    before = json.loads(target.read_text()) if target.exists() else {}
    show_slower(groups, before.get("groups", {}))
    if code == 0 and (select is None or options.save):
        target.parent.mkdir(exist_ok=True)
        results = updated(before, groups, machine(processor()), whole=select is None)
        target.write_text(json.dumps(results, indent=1) + "\n")
        print(f"\nwritten: {target}")
    return code


def updated(
    before: dict[str, Any], groups: dict[str, dict[str, Any]], now: dict[str, Any], *, whole: bool
) -> dict[str, Any]:
    """Return the results to write: all groups anew, or some of them beside earlier ones.

    Each group says when and with which versions it was measured.
    """
    made = {key: now[key] for key in ("date", "vaebias", "torch")}
    groups = {name: group | {"measured": made} for name, group in groups.items()}
    if whole:
        return now | {"groups": groups}
    return now | before | {"groups": before.get("groups", {}) | groups}


def summarise(measured: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Median seconds of each contender, and how many times slower than ours the others are."""
    groups: dict[str, dict[str, Any]] = {}
    for one in measured:
        info, median = one["extra_info"], one["stats"]["median"]
        group = groups.setdefault(one["group"], {"seconds": {}, "moved_bytes": info["moved"]})
        group["seconds"][info["contender"]] = median
        if info["contender"] == OURS:
            group["spread"] = round(one["stats"]["iqr"] / median, 3)
        if "peak_bytes" in info:
            group["peak_bytes"] = info["peak_bytes"]
    for group in groups.values():
        ours = group["seconds"].get(OURS)
        if ours:
            others = {k: v / ours for k, v in group["seconds"].items() if k != OURS}
            group["times_ours"] = {k: round(v, 2) for k, v in others.items()}
            group["gigabytes_per_second"] = round(group["moved_bytes"] / ours / 1e9, 2)
    return groups


def show(groups: dict[str, dict[str, Any]]) -> None:
    """Print a line a group: our median, what it moves, and the others' times over ours."""
    width = max(map(len, groups), default=0)
    for name, group in groups.items():
        ours = group["seconds"].get(OURS)
        if ours is None:
            continue
        ratios = ", ".join(f"{k} {v:.2f}x" for k, v in group["times_ours"].items())
        speed = f"{1e3 * ours:9.3f} ms {group['gigabytes_per_second']:7.2f} GB/s"
        peak = f"grew by {group['peak_bytes'] / 1e6:.1f} MB" if "peak_bytes" in group else ""
        print(f"{name:{width}} {speed}  {ratios or peak}")


def show_slower(groups: dict[str, dict[str, Any]], kept: dict[str, dict[str, Any]]) -> None:
    """Print the groups whose median grew by more than the interquartile ranges of both."""
    for name in sorted(groups.keys() & kept.keys()):
        now, before = (each["seconds"].get(OURS) for each in (groups[name], kept[name]))
        if not now or not before:
            continue
        spread = groups[name].get("spread", 0) + kept[name].get("spread", 0)
        if now > before * (1 + spread):
            print(f"slower: {name}: {1e3 * now:.3f} ms, {1e3 * before:.3f} ms when last kept")


def file_name(device: str) -> str:
    """Return the name of a device as that of a file, without its ending."""
    return re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-")


def cpu_name() -> str:
    """Return the processor and, of the kernels' instruction set, what stands in parentheses."""
    from vaebias.ops import build_info

    found = re.search(r"\((.*?)[,)]", build_info()["instruction_set"])
    return f"{processor()} {found[1] if found else platform.machine()}"


def processor() -> str:
    """Return the name of the processor, and the number of cores that torch uses."""
    return f"{processor_model()} {torch.get_num_threads()} cores"


def processor_model() -> str:
    """Return the processor's own name for itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def today() -> str:
    """Return the date, UTC."""
    return datetime.now(timezone.utc).date().isoformat()


def machine(device: str) -> dict[str, Any]:
    """Return what numbers of a device were measured on, and when."""
    from vaebias import __version__
    from vaebias.ops import build_info

    return {
        "device": device,
        "date": today(),
        "vaebias": __version__,
        "torch": torch.__version__,
        "build": build_info(),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    sys.exit(main())
