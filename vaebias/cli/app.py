"""The program: its commands, and its errors as one line and an exit code."""

from __future__ import annotations

import importlib
import io
import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vaebias import __version__
from vaebias.cli.examples import EXAMPLES
from vaebias.cli.options import INTERRUPTED
from vaebias.errors import VaebiasError

__all__ = ["app", "main"]

GROUPS = {
    "Start here": ("demo", "doctor"),
    "Data": ("data", "structure", "perturb"),
    "Models": ("train", "evaluate", "align", "predict", "agree"),
    "Studies": ("sweep", "rescore", "table", "report", "reproduce"),
}
"""Commands by the heading in the help. Each names a module and the function or command group in
it; only these import torch."""
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

_NO_MEMORY = re.compile("out of memory|can't allocate memory")  # texts of torch's RuntimeError


class _Group(TyperGroup):
    """Commands whose expected errors are one line on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VaebiasError as error:
            raise _exit(f"error: {error}", error.exit_code) from None
        except BrokenPipeError:  # the reader closed the pipe: click exits quietly
            raise
        except OSError as error:  # a full disk, no permission: a traceback would not help
            raise _exit(f"error: {error}", 1) from None
        except KeyboardInterrupt:
            raise _exit("stopped", INTERRUPTED) from None
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
                raise
            advice = "try smaller batches, or fewer latents, images or jobs"
            raise _exit(f"error: not enough memory: {advice}", 1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda asked: _version(asked),
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Is this disentanglement earned, or a gift of the data's variance structure?"""


for _group, _names in GROUPS.items():
    for _name in _names:
        _command = getattr(importlib.import_module(f"vaebias.cli.{_name}"), _name)
        _examples = "\n\n".join(("Examples:", *EXAMPLES.get(_name, ())))
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, epilog=_examples, rich_help_panel=_group)
        else:
            app.command(_name, epilog=_examples, rich_help_panel=_group)(_command)


def main() -> None:
    """Run the program on the arguments of the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters the terminal lacks are replaced
            stream.reconfigure(errors="replace")
    app(prog_name="vaebias")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"vaebias {__version__}")
        raise typer.Exit


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo(" ".join(message.split()), err=True)
    return typer.Exit(code)
