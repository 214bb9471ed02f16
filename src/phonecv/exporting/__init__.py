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

_LAZY = {
    "EXPORTERS": "phonecv.exporting.formats",
    "PRECISIONS": "phonecv.exporting.formats",
    "ExportResult": "phonecv.exporting.run",
    "Exporter": "phonecv.exporting.formats",
    "check_size": "phonecv.exporting.record",
    "export": "phonecv.exporting.run",
    "exporter_for": "phonecv.exporting.formats",
    "get_exporter": "phonecv.exporting.formats",
    "record_path": "phonecv.exporting.record",
}

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
    __getattr__ = late_names(__name__, _LAZY)
