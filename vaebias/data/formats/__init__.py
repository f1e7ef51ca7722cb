"""File formats of the published data sets, one module each."""

from vaebias.data.formats.format import FILE_FORMATS, FileFormat, format_of, open_published

__all__ = ["FILE_FORMATS", "FileFormat", "format_of", "open_published"]
