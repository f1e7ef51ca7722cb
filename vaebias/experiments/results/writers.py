"""A document as text: Markdown, LaTeX, CSV, or for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from vaebias.experiments.results.document import Document
from vaebias.experiments.results.tables import markdown, rich_table

__all__ = ["WRITERS", "rich"]

_LATEX = str.maketrans(
    {
        "−": "$-$",
        "–": "--",
        "±": "$\\pm$",
        "<": "$<$",
        "→": "$\\to$",
        "×": "$\\times$",
        "ε": "$\\epsilon$",
        "…": "\\ldots{}",
    }
)


def _markdown(found: Document) -> str:
    parts = [f"## {found.name}", found.description]
    for section in found.sections():
        parts += [f"### {section.title}", markdown(section.head, section.rows, section.text)]
        parts += [section.note] if section.note else []
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _latex(found: Document) -> str:
    import pandas as pd

    parts = []
    for section in found.sections():
        frame = pd.DataFrame(section.rows, columns=list(section.head))
        columns = "l" * section.text + "r" * (len(section.head) - section.text)
        caption = section.title.replace("%", "\\%")
        table = frame.to_latex(index=False, escape=True, column_format=columns, caption=caption)
        note = section.note.replace("%", "\\%").replace("σ²", "$\\sigma^2$").replace("_", "\\_")
        parts.append((table + note).strip().translate(_LATEX))
    return "\n\n".join(parts) + "\n"


WRITERS: Mapping[str, Callable[[Document], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": lambda found: found.frame().to_csv(index=False),
}
"""Functions from a document to text, by the name of the format."""


def rich(found: Document) -> Group:
    """Return the document for a terminal."""
    parts: list[Any] = []
    for section in found.sections():
        parts += [Text(section.title, style="bold")]
        parts += [rich_table(section.head, section.rows, text=section.text)]
        parts += [Text(section.note), Text()] if section.note else [Text()]
    return Group(*parts)
