"""Show results in notebooks and as small HTML pages."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.files import refuse_to_overwrite, write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Displayed", "bars", "heatmap", "html_table"]

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
table {{ border-collapse: collapse }} th, td {{ padding: .2rem .8rem .2rem 0; text-align: left }}
td {{ font-variant-numeric: tabular-nums }} svg {{ max-width: 100%; height: auto }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


class Displayed(ABC):
    """A result that notebooks and scripts can show."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a pandas data frame."""

    @abstractmethod
    def plot(self) -> Figure:
        """Return a matplotlib figure."""

    @abstractmethod
    def _title(self) -> str:
        """Return the heading of the table."""

    @abstractmethod
    def _rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, as text."""

    def html(self, path: str | Path, *, force: bool = False) -> None:
        """Write a self-contained HTML page with the table and the figure.

        Parameters
        ----------
        path
            The file.
        force
            If True, replace an existing file.

        Raises
        ------
        InputError
            The file exists, or is a folder.
        """
        path = Path(path)
        refuse_to_overwrite(path, force=force, option="path")
        body = f"{html_table(self._rows())}\n{_svg(self.plot())}"
        write_text(path, PAGE.format(title=escape(self._title()), body=body))

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self._title())}</b></p>{html_table(self._rows())}"


def html_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of text as an HTML table; the first cell of each row is its heading."""
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f"<tr><th scope='row'>{escape(first)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def bars(ax: Axes, values: dict[str, float], label: str) -> None:
    """Draw one horizontal bar for each name, the first one on top."""
    names = list(values)
    ax.barh(range(len(names)), [values[name] for name in names], height=0.6)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def heatmap(ax: Axes, matrix: Any, columns: Sequence[str], label: str) -> None:
    """Draw a matrix [d, k] of latents and factors."""
    image = ax.imshow(matrix, aspect="auto", cmap="Blues")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(matrix)), [f"z{i + 1}" for i in range(len(matrix))])
    ax.set_title(label, fontsize=10)
    ax.figure.colorbar(image, ax=ax)


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight")
    text = file.getvalue()
    return text[text.index("<svg") :]
