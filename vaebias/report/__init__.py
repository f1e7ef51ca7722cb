"""Reports: self-contained HTML pages made from arrays and finished runs."""

from vaebias.report.align import Diagnosed, align_page
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
