"""Errors a user can act on: each names the input, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["InputError", "RunFailedError", "UnknownNameError", "VaebiasError"]


class VaebiasError(Exception):
    """Base of every error that vaebias raises on purpose.

    The command line prints its message as one line and leaves with ``exit_code``.
    """

    exit_code = 1


class InputError(VaebiasError, ValueError):
    """A wrong argument, file or shape: ``name: expected ..., found ...``."""

    exit_code = 2

    def __init__(self, name: str, expected: object, found: object) -> None:
        super().__init__(f"{name}: expected {expected}, found {found}")


class UnknownNameError(VaebiasError, LookupError):
    """A name that a registry does not hold; the message lists those it does."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(sorted(known))}")


class RunFailedError(VaebiasError):
    """Work that started properly and could not be finished (a NaN loss, a full disk)."""
