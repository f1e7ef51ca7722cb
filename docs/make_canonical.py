"""Make the canonical sets of a data set: python docs/make_canonical.py blobs [a b c].

Each draw x gets DATA-modified-v1-x, made with the defaults of the method, and its control
DATA-noise-v1-x, beside vaebias/perturb/canonical/sets.txt, and their lines in it. Draw a is made
first. The method is `mosaic` for dSprites, whose edges are hard, and `priced` for others. Where
`vaebias perturb DATA --method priced --seed N` has been run, its file can be given: a=FILE.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from vaebias import perturb
from vaebias.data import FactorGrid, load
from vaebias.errors import InputError
from vaebias.files import write_text
from vaebias.perturb import DEFAULTS, PerturbedGrid
from vaebias.perturb.canonical import pixel_digest

METHODS = {"blobs": "priced", "dsprites": "mosaic", "shapes3d": "priced"}
# clipped, the originals are the published images, whose edges keep all of their contrast; a clipped
# mosaic shows half of its change, and needs more changes to be worth a turn
RANGES = {"dsprites": "clip"}
OPTIONS = {"dsprites": {"changes": 15}}
VERSION = "v1"
FOLDER = Path(__file__).resolve().parent.parent / "vaebias" / "perturb" / "canonical"
RENDERED = ("dsprites", "shapes3d")


def main(data: str, draws: list[str]) -> None:
    """Make the draws of these letters; draw a has seed 0, b 1, and so on."""
    grid = load(data, source="rendered") if data in RENDERED else load(data)
    method = METHODS[data]
    own = DEFAULTS[data].settings(method) | OPTIONS.get(data, {})
    range_ = RANGES.get(data, "rescale")
    lines: dict[str, str] = {}
    for draw in draws:
        letter, _, file = draw.partition("=")
        seed = ord(letter) - ord("a")
        if file:
            modified = perturb.load(file).perturbation
            _check(modified.to_json(), own | {"seed": seed})
        else:
            modified = perturb.PERTURBATIONS[method](grid, seed=seed, **own)
        noise = perturb.PERTURBATIONS["noise"](grid, epsilon=own["epsilon"], seed=seed)
        for kind, made in {"modified": modified, "noise": noise}.items():
            name = f"{data}-{kind}-{VERSION}-{letter}"
            path = FOLDER / f"{name}.safetensors"
            perturb.save(path, made, grid, range=range_, half=True)
            lines[name] = _line(name, path, perturb.load(path).on(grid))
            print(lines[name], flush=True)
    first = FOLDER / f"{data}-modified-{VERSION}-a.safetensors"
    name = f"{data}-original-{VERSION}"
    lines[name] = _line(name, first, PerturbedGrid(grid, None, own["epsilon"], range_))
    table = FOLDER / "sets.txt"
    known = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    kept = {line.split()[0]: line for line in known} | lines
    write_text(table, "".join(f"{line}\n" for _, line in sorted(kept.items())))


def _check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise InputError unless a perturbation was made with these settings."""
    for name, value in wanted.items():
        plain = json.loads(json.dumps(value))
        if found[name] != plain:
            raise InputError(name, repr(plain), repr(found[name]))


def _line(name: str, path: Path, grid: FactorGrid) -> str:
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name} {file} {pixel_digest(grid)}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["a", "b", "c"])
