"""File formats of the published data sets, one a module."""

from vaebias.data.formats.format import FORMATS, Format, format_of, open_published

__all__ = ["FORMATS", "Format", "format_of", "open_published"]
