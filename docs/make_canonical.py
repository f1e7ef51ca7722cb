"""Make the canonical sets of a data set: python docs/make_canonical.py blobs [a b c].

Each draw x gets DATA-modified-v1-x, trained with the defaults of the method, and its control
DATA-noise-v1-x, beside vaebias/perturb/canonical/sets.txt, and their lines in it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from vaebias import perturb
from vaebias.data import FactorGrid, load
from vaebias.files import write_text
from vaebias.perturb import DEFAULTS, PerturbedGrid
from vaebias.perturb.canonical import pixel_digest

METHOD = "priced"
VERSION = "v1"
FOLDER = Path(__file__).resolve().parent.parent / "vaebias" / "perturb" / "canonical"
RENDERED = ("dsprites", "shapes3d")


def main(data: str, letters: list[str]) -> None:
    """Make the draws of these letters; draw a has seed 0, b 1, and so on."""
    grid = load(data, source="rendered") if data in RENDERED else load(data)
    settings = DEFAULTS[data].settings(METHOD)
    epsilon = settings["epsilon"]
    lines: dict[str, str] = {}
    for letter in letters:
        seed = ord(letter) - ord("a")
        for kind, made in {
            "modified": perturb.PERTURBATIONS[METHOD](grid, seed=seed, **settings),
            "noise": perturb.PERTURBATIONS["noise"](grid, epsilon=epsilon, seed=seed),
        }.items():
            name = f"{data}-{kind}-{VERSION}-{letter}"
            path = FOLDER / f"{name}.safetensors"
            perturb.save(path, made, grid, half=True)
            stored = perturb.load(path)
            lines[name] = _line(name, path, stored.on(grid))
            print(lines[name], flush=True)
    first = FOLDER / f"{data}-modified-{VERSION}-a.safetensors"
    original = PerturbedGrid(grid, None, epsilon)
    name = f"{data}-original-{VERSION}"
    lines[name] = _line(name, first, original)
    table = FOLDER / "sets.txt"
    known = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    kept = {line.split()[0]: line for line in known} | lines
    write_text(table, "".join(f"{line}\n" for _, line in sorted(kept.items())))


def _line(name: str, path: Path, grid: FactorGrid) -> str:
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name} {file} {pixel_digest(grid)}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["a", "b", "c"])
