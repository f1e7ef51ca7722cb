"""The command line: ``vaebias COMMAND``, one module a command."""

from vaebias.cli.app import app, main

__all__ = ["app", "main"]
