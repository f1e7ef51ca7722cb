"""Names and what registers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaebias.registry import Registry


def test_a_module_that_cannot_be_imported_says_so_at_every_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "registry_of_one_broken_module"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("raise RuntimeError('out of order')")
    monkeypatch.syspath_prepend(tmp_path)
    things: Registry[int] = Registry("thing", package.name)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            things.names()
