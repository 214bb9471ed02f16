"""What `phonecv.bundle` takes, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonecv.exporting.options import FileOptions
from phonecv.options import flag


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions(FileOptions):
    """What is put together beside what is in the files.

    Attributes:
        formats: Formats, separated by commas; by default what the apps run, or onnx without apps; empty for none, to
            bundle `include` alone. `phonecv doctor` lists them.
        include: An exported file to take as it is, for example an int8 one; once for each file. Its record comes along.
        name: Of the model files; by default the source's.
        licence: Of the weights: a text, or the path of a text file; by default what the catalog knows.
        app: Apps to write, separated by commas: web (a page that phones install), android (a project for Android
            Studio), ios (for Xcode). The files that they run come along.
        app_name: What people read below its icon; by default the name of the model files.
        app_id: Of the apps' packages, such as org.example.photos; stores refuse the default, com.example.NAME.
        force: Replace an existing destination.
    """

    formats: Sequence[str] | None = field(default=None, metadata=flag("to"))
    include: Sequence[Path | str] = ()
    name: str | None = None
    licence: str | None = None
    app: Sequence[str] = ()
    app_name: str | None = None
    app_id: str | None = None
    force: bool = False
