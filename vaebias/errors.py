"""Errors that a user can act on: each names the input, what was expected and what was found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike

__all__ = ["InputError", "RunFailedError", "UnknownNameError", "VaebiasError", "reading"]


class VaebiasError(Exception):
    """Base of every error that vaebias raises on purpose.

    The command line prints the message as one line and exits with ``exit_code``.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # exceptions are unpickled by calling the class with the message, which these do not take
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
    """An unknown name; the message lists the known ones and suggests a similar one.

    Draws of a set, such as ``set-v1-a`` beside ``set-v1``, are suggested but not listed.
    ``advice`` ends the message.
    """

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], advice: str = "") -> None:
        names = sorted(known)
        by_letters = {_letters(one): one for one in names}
        similar = difflib.get_close_matches(_letters(name), by_letters, 1)
        hint = f"did you mean {by_letters[similar[0]]!r}? Known: " if similar else "known: "
        listed = [one for one in names if one[-2:-1] != "-" or one[:-2] not in by_letters.values()]
        end = f"; {advice}" if advice else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}{', '.join(listed)}{end}")


def _letters(name: str) -> str:
    """Return what is the same in BetaVAE, beta-vae and beta_vae."""
    return "".join(filter(str.isalnum, name)).lower()


class RunFailedError(VaebiasError):
    """Work that began and could not be finished (a NaN loss, a full disk)."""


@contextmanager
def reading(path: str | PathLike[str], expected: str) -> Iterator[None]:
    """Turn any error of a third-party parser into one InputError.

    On damaged files parsers raise undocumented errors (KeyError, RuntimeError, TokenError, ...).
    Errors of vaebias and PermissionError pass unchanged.

    Parameters
    ----------
    path
        The file, named in the message.
    expected
        What it should be, such as ``a complete npz file``.

    Raises
    ------
    InputError
        The file does not exist or cannot be parsed.
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
