"""What tests of commands share: a call of the program, and what it says."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from vaebias.cli import app

RUN = CliRunner()


def invoke(*arguments: object) -> Result:
    """Call the program."""
    return RUN.invoke(app, list(map(str, arguments)))


def json_of(*arguments: object) -> Any:
    """Call it with --json and return the document, which must be all that it prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def error_of(*arguments: object) -> tuple[int, str]:
    """Call it and return its exit code and what it says on stderr, which must be one line."""
    result = invoke(*arguments)
    return result.exit_code, one_line(result)


def one_line(result: Result) -> str:
    """Return the one line that a failed command says on stderr."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]
