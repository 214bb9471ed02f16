"""What a bundle is made of, gathered once for the page and the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phonecv.bundles.expected import DRAWN, RESULT, Expected
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.record import record_path

LICENCE, LABELS, PAGE, README = "LICENCE-weights.txt", "labels.txt", "index.html", "README.md"


@dataclass(frozen=True, slots=True)
class Readers:
    """Sources that serve some of the files.

    Attributes:
        folder: of the sources, relative to the bundle.
        served: names of the files.
    """

    folder: str
    served: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A bundle before its page, README and manifest are written.

    Attributes:
        name: of the bundle.
        folder: where it is.
        records: of the model files, with "file" and "bytes".
        readers: the sets of sources.
        unread: file -> why there are no readers for it.
        expected: what the app has to find, or None.
        class_files: name -> what it is, of the files beside labels.txt.
        apps: folder -> what it is.
        licence: of the weights.
    """

    name: str
    folder: Path
    records: Sequence[FileRecord]
    readers: Sequence[Readers]
    unread: Mapping[str, str]
    expected: Expected | None
    class_files: Mapping[str, str]
    apps: Mapping[str, str]
    licence: str

    def files(self) -> list[tuple[str, str]]:
        """Every file that there will be, and what it is."""
        found: list[tuple[str, str]] = []
        for record in self.records:
            exporter = EXPORTERS[record["format"]]
            _, *parts = exporter.files_of(Path(record["file"]))
            found.append((record["file"], f"the model for {exporter.title}, {record.get('precision', '')}"))
            found += [(part.name, f"belongs to {record['file']}, keep them together") for part in parts]
            found.append((record_path(Path(record["file"])).name, f"the record of {record['file']}"))
        for kind, what in (("picture", "a picture"), ("inputs", "inputs, as safetensors,")):
            names = dict.fromkeys(record.get("test", {}).get(kind, "") for record in self.records)
            found += [(name, f"{what} to test the app with") for name in names if (self.folder / name).is_file()]
        if self.expected is not None:
            expected = self.expected
            found.append((RESULT, f"what the app has to find in {expected.given}, through {expected.through}"))
            found += expected.found.files.items()
            if (self.folder / DRAWN).is_file():
                found.append((DRAWN, "the same, drawn"))
        found.append((LABELS, "a class on each line; the first is number 0"))
        found += self.class_files.items()
        for readers in self.readers:
            served = "" if len(self.readers) == 1 else f", for {', '.join(readers.served)}"
            found.append((f"{readers.folder}/", f"sources for C++, JavaScript, Kotlin and Swift{served}"))
        return [
            *found,
            *self.apps.items(),
            (README, "files, tensors and steps, for the person who builds the app"),
            (PAGE, "the same with a picture, on a page that opens in any browser, offline"),
            (LICENCE, "the licence of the weights"),
            ("manifest.json", "all files with sizes and SHA-256 digests"),
        ]
