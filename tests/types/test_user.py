"""The script that `make lint` type-checks is what README shows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _words(text: str) -> str:
    return re.sub(r"\s+", "", re.sub(r"#.*", "", text))


def test_the_type_checked_script_has_readmes_lines() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = (ROOT / "tests/types/user.py").read_text()
    assert _words(blocks[0]) in _words(script)
