"""``vaebias doctor``: the build, the devices, and a self-test of each kernel."""

from __future__ import annotations

import json
from typing import Any

import typer

from vaebias.cli.options import AsJson

__all__ = ["doctor"]


def doctor(as_json: AsJson = False) -> None:
    """Show the build and the devices, and test each kernel against its reference.

    Exits with 1 if a kernel differs from its reference by more than its tolerance.
    """
    found = _examine()
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)
    if not found["passed"]:
        raise typer.Exit(1)


def _examine() -> dict[str, Any]:
    import platform
    from dataclasses import asdict

    import torch

    from vaebias import __version__
    from vaebias.ops import build_info
    from vaebias.ops.selftest import self_test

    build = build_info()
    devices = ["cpu"]
    if torch.cuda.is_available() and build["cuda_architectures"]:
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    tests = [test for device in devices for test in self_test(device)]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "build": build,
        "threads": torch.get_num_threads(),
        "devices": [
            {"device": device, "name": torch.cuda.get_device_name(device)}
            if device != "cpu"
            else {"device": "cpu", "name": platform.processor() or platform.machine()}
            for device in devices
        ],
        "kernels": [asdict(test) | {"passed": test.passed} for test in tests],
        "passed": all(test.passed for test in tests),
    }


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from vaebias.cli.console import output

    console, build = output(), found["build"]
    cuda = "not built (no nvcc was found)"
    if build["cuda_architectures"]:
        cuda = f"{build['cuda_compiler']}, for {build['cuda_architectures']}"
    facts = Table.grid(padding=(0, 2))
    for name, value in {
        "vaebias": found["version"],
        "Python, torch": f"{found['python']}, {found['torch']}",
        "compiler": build["compiler"] + ("" if build["openmp"] else " (without OpenMP)"),
        "CPU kernels": f"{build['instruction_set']}, {found['threads']} threads",
        "CUDA kernels": cuda,
        "devices": ", ".join(f"{d['device']} ({d['name']})" for d in found["devices"]),
    }.items():
        facts.add_row(name, str(value))
    console.print(facts)

    table = Table("kernel", "device", "dtype", "error", "tolerance", "")
    for test in found["kernels"]:
        mark = "[green]ok[/]" if test["passed"] else "[bold red]WRONG[/]"
        error, tolerance = f"{test['error']:.1e}", f"{test['tolerance']:.0e}"
        table.add_row(test["kernel"], test["device"], test["dtype"], error, tolerance, mark)
    console.print(table)
    console.print("error: largest difference from the plain torch reference, relative to its scale")
