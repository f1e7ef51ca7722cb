"""Reports: self-contained HTML pages made from arrays and finished runs.

Pages are imported when first used: that of a study brings in metrics and their libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaebias.report.align import align_page
    from vaebias.report.diagnosed import Diagnosed
    from vaebias.report.page import HtmlTable, render, write
    from vaebias.report.study import Shown, structures, study_page
    from vaebias.report.theme import Picture

__all__ = [
    "Diagnosed",
    "HtmlTable",
    "Picture",
    "Shown",
    "align_page",
    "render",
    "structures",
    "study_page",
    "write",
]

_MODULES = {
    "Diagnosed": "diagnosed",
    "HtmlTable": "page",
    "Picture": "theme",
    "Shown": "study",
    "align_page": "align",
    "render": "page",
    "structures": "study",
    "study_page": "study",
    "write": "page",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'vaebias.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vaebias.report.{_MODULES[name]}"), name)
