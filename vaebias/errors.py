"""Errors a user can act on: each names the input, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike

__all__ = ["InputError", "RunFailedError", "UnknownNameError", "VaebiasError", "reading"]


class VaebiasError(Exception):
    """Base of every error that vaebias raises on purpose.

    The command line prints its message as one line and leaves with ``exit_code``.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # an exception is pickled as a call with its message, which is not what these are made of
        return _restored, (type(self), self.args)


def _restored(kind: type[VaebiasError], args: tuple[object, ...]) -> VaebiasError:
    error = kind.__new__(kind)
    error.args = args
    return error


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


@contextmanager
def reading(path: str | PathLike[str], expected: str) -> Iterator[None]:
    """Read a file by a parser of others: whatever it stumbles on becomes one InputError.

    On damaged files parsers raise what no documentation lists (KeyError, RuntimeError,
    TokenError, ...). What is raised on purpose, and a lack of permission, passes unchanged.

    Parameters
    ----------
    path
        The file, for the message.
    expected
        What it should be, such as ``a complete npz file``.

    Raises
    ------
    InputError
        The file does not exist, or could not be read as what was expected.
    """
    try:
        yield
    except (VaebiasError, PermissionError):
        raise
    except FileNotFoundError:
        raise InputError(str(path), "a file", "no such file") from None
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        found = f"a damaged or truncated one ({reason[0]})"
        raise InputError(str(path), expected, found) from error
