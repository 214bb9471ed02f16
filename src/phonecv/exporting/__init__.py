"""Exporting to the formats that phones and their runtimes read: one table, one function, one file per format.

What is written is loaded by the format's own runtime and compared with PyTorch before it gets its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.exporting.formats import EXPORTERS, PRECISIONS, Exporter, exporter_for, get_exporter
    from phonecv.exporting.record import check_size, record_path
    from phonecv.exporting.run import ExportResult, export

__all__ = [
    "EXPORTERS",
    "PRECISIONS",
    "ExportResult",
    "Exporter",
    "check_size",
    "export",
    "exporter_for",
    "get_exporter",
    "record_path",
]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
