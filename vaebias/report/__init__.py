"""Pages: one self-contained HTML file with its pictures, from arrays and finished runs."""

from vaebias.report.align import Diagnosed, align_page
from vaebias.report.demo import demo_page, structures
from vaebias.report.page import HtmlTable, render, write
from vaebias.report.theme import Picture

__all__ = [
    "Diagnosed",
    "HtmlTable",
    "Picture",
    "align_page",
    "demo_page",
    "render",
    "structures",
    "write",
]
