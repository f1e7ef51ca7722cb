"""Self-contained HTML pages from templates: everything is inline, nothing is loaded."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vaebias import __version__
from vaebias.files import refuse_to_overwrite, write_text

__all__ = ["HtmlTable", "render", "write"]


class HtmlTable(NamedTuple):
    """A table: headings, rows of strings, and the number of leading text columns."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: int = 1


def render(template: str, **context: Any) -> str:
    """Fill ``templates/<template>``; text is escaped, pictures are inserted as they are."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    return environment.get_template(template).render(
        version=__version__, written=f"{now:%Y-%m-%d}", **context
    )


def write(path: Path, html: str, *, force: bool = False, option: str = "path") -> None:
    """Write a page atomically.

    Raises
    ------
    InputError
        ``path`` exists and ``force`` is False, or it is a folder.
    """
    refuse_to_overwrite(path, force=force, option=option)
    write_text(path, html)
