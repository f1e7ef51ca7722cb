"""What is in the repository is in the wheel: setuptools packs only what pyproject.toml lists."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]
FOLDERS = {"vaebias": ROOT / "vaebias", "vaebias.analysis": ROOT / "analysis"}


def packages() -> dict[str, Path]:
    """Name and folder of each package there is."""
    found = dict(FOLDERS)
    for name, top in FOLDERS.items():
        for init in top.glob("*/**/__init__.py"):
            inner = init.parent.relative_to(top)
            found[".".join((name, *inner.parts))] = init.parent
    return found


def test_every_package_is_listed() -> None:
    assert sorted(SETTINGS["packages"]) == sorted(packages())


@pytest.mark.parametrize("name", packages())
def test_every_other_file_is_listed(name: str) -> None:
    folder = packages()[name]
    patterns = SETTINGS["package-data"].get(name, [])
    inner = {path for path in packages().values() if path != folder and folder in path.parents}
    for path in folder.rglob("*"):
        known = path.suffix in (".py", ".so", ".pyc") or path.is_dir()
        if not known and not any(each in path.parents for each in inner):
            within = path.relative_to(folder).as_posix()
            assert any(fnmatch(within, pattern) for pattern in patterns), within
