"""What README and docs show can be done.

All Python in them compiles, and all commands take the options they are given. A block below the
comment ``<!-- check -->`` is run, those of a page in order and with the same names;
``<!-- check: 3000=20; dsprites=blobs -->`` runs it with smaller settings put in, and
``<!-- check slow -->`` only in ``make docs-check``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from vaebias.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "results").glob("*.md")),
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(
    r"(?:^<!-- check(?P<slow> slow)?(?:: (?P<changes>[^>]*))? -->\n)?"
    r"^```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text as it is to be run, and whether it is."""

    kind: str
    text: str
    run: bool
    slow: bool

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of each line that calls the program."""
        if self.kind not in ("", "sh", "bash", "console"):
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [
            shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vaebias ")
        ]


def blocks(page: Path) -> list[Block]:
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        text = match["body"]
        for change in filter(None, (match["changes"] or "").split("; ")):
            old, new = change.split("=")
            assert old in text, f"{page.name}: {old!r} is not in the block that is to be changed"
            text = text.replace(old, new)
        run = match[0].startswith("<!-- check")
        found.append(Block(match["kind"], text, run, match["slow"] is not None))
    return found


def options_of(words: list[str]) -> tuple[str, set[str]]:
    """Name of the command that ``words`` call, and the options it has."""
    command: Any = get_command(app)
    name = "vaebias"
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command, name = command.commands[word], f"{name} {word}"
    assert not hasattr(command, "commands"), f"{name}: no command {words}"
    return name, {
        option for each in command.params for option in (*each.opts, *each.secondary_opts)
    } | {"--help", "-h"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles_and_options_exist(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "python":
            compile(block.text, page.name, "exec")
        for words in block.commands:
            name, known = options_of(words)
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert given <= known, f"{page.name}: {name} has no {sorted(given - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_marked_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = os.environ.get("VAEBIAS_DOCS") == "all"
    wanted = [block for block in blocks(page) if block.run and (everything or not block.slow)]
    if not wanted:
        pytest.skip("nothing to run")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in wanted:
        if block.kind == "python":
            exec(compile(block.text, page.name, "exec"), names)
        for words in block.commands:
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, f"{words}: {result.output}"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_examples_run(script: Path, tmp_path: Path) -> None:
    compile(script.read_text(encoding="utf-8"), script.name, "exec")
    if os.environ.get("VAEBIAS_DOCS") != "all":
        pytest.skip("run by `make docs-check`")
    subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"STEPS": "20"},
        check=True,
        timeout=600,
    )


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of ``page``, as MkDocs and GitHub name them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_and_headings_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=lambda p: p.stem)
def test_api_pages_list_functions_named_as_their_module(page: Path) -> None:
    # the site takes such a name for the module, which it does not show
    package = importlib.import_module(f"vaebias.{page.stem}")
    modules = {each.name for each in pkgutil.iter_modules(getattr(package, "__path__", []))}
    shown = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for name in package.__all__ if name in modules]
    assert shown == [package.__name__, *(f"{package.__name__}.{n}.{n}" for n in sorted(named))]
