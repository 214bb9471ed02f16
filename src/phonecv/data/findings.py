"""What an audit says: findings, each with its place and what to do about it, and the report made of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from phonecv.text import counted, printable

SEVERITIES = ("error", "warning", "note")

#: Kind of finding -> what to do about it, of the kinds that several layouts have.
FIXES = {
    "test-for-val": "hold some of train/ out instead, with data.val=0.2 (--val 0.2)",
    "structure": "mend what is named; `phonecv audit --help` shows the layouts that are read",
    "list": "mend or remove the line",
    "repeated-line": "remove the line, unless the picture shall count twice",
    "unlisted": "add the pictures to the list, or leave them out on purpose",
    "class-drift": "give both splits the same classes; for class folders, classes.txt may name them",
    "empty-class": "add pictures or remove the class",
    "one-based": "subtract 1 from every label of the lists, or name all classes in classes.txt",
    "imbalance": "collect more of the rare classes, or read the table per class rather than one figure",
    "unreadable": "replace or remove the file; training would put another picture in its place",
    "extension": "rename the file; it is read by its content here, but other programs may go by the name",
    "duplicate": "keep one of them",
    "labels": "nothing, if that is meant; data.labels=one or many says otherwise",
    "label-names": "write the names alike in all lists, if they mean one class",
    "label-conflict": "keep the picture under the right class only",
    "near-duplicate": "look at both; if they are one picture, remove it from one of the splits",
    "split-leak": "remove it from one of the splits; as it is, the validation score is too high",
    "link": "restore what the link points to, or remove it",
    "bit-depth": "nothing, if that is meant; data.bits sets another depth for a training",
    "ignored": "nothing, if that is meant",
    "left-out": "move or convert the files; as it is, nothing is learnt from them",
    "helper": "nothing; they may be removed",
    "spelling": "nothing, if that is meant; other programs may not see them as the same",
    "nothing": "label something in it (crowds are none), check the values of the label maps, or use other pictures",
    "layout": "nothing, if that is meant; --task looks at one of them alone",
    "unsplit": "nothing; or choose another share (data.val), or divide the data yourself",
    "foreign": "convert it as the message says",
}


class Problem(str):
    """What a person should know about a data set, or not train with: a line for people, its place first.

    Attributes:
        text: the line without the place.
        kind: a key of the layout's table of fixes.
        severity: "error" (a training refuses it), "warning", or "note".
        place: the file or folder; None where `text` tells it.
    """

    text: str
    kind: str
    severity: str
    place: Path | None

    def __new__(
        cls, text: str, kind: str = "left-out", severity: str = "warning", place: Path | None = None
    ) -> Problem:
        """See the class."""
        problem = super().__new__(cls, f"{printable(place)}: {text}" if place else text)
        problem.text, problem.kind, problem.severity, problem.place = text, kind, severity, place
        return problem


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: what it is, in a word: a key of `FIXES`, or of those of the layout.
        severity: "error" (results would be wrong), "warning" or "note".
        path: the file or folder, relative to the data folder, printable.
        line: line of a list file, or 0.
        message: what is wrong, and for COCO files with which record.
        fix: what to do.
        count: how many places it speaks of; `message` tells of the first.
    """

    kind: str
    severity: str
    path: str
    line: int
    message: str
    fix: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings that say the same of several places.

    Attributes:
        first: the first of them.
        places: of all, as ``path``, ``path:line`` or, of COCO files, ``path record``.
        count: how many places they speak of; no fewer than `places`.
    """

    first: Finding
    places: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        """One line: the first place with what is wrong there, how many more there are, and some of them."""
        line = f":{self.first.line}" if self.first.line else ""
        text = f"{self.first.path}{line}: {self.first.message}"
        others = list(dict.fromkeys(place for place in self.places[1:] if place != self.places[0]))
        some = ", ".join(others[:3]) + (", ..." if others and self.count - 1 > len(others[:3]) else "")
        return text + more_of_this(self.count) + (f" ({some})" if some else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values: those of the first finding, "count" and all "places"."""
        return asdict(self.first) | {"count": self.count, "places": list(self.places)}


def more_of_this(count: int) -> str:
    """What is said after the first of `count` equal things."""
    return f"; and {count - 1} more of this" if count > 1 else ""


#: What makes messages differ that say the same: numbers, and names of files.
_PARTICULARS = re.compile(r"\S*[\\/.]\S+|'[^']*'|-?\d[\d.,]*")
#: How messages about a record of a COCO file begin.
_RECORD = re.compile(r"((?:annotations|images|categories)\[\d+\]|(?:annotation|picture|image|category) \S+)(?= \(|:)")


def group_findings(findings: Sequence[Finding]) -> list[FindingGroup]:
    """Findings of one kind whose messages differ in numbers and names only, together; in the order of the first."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        # Of long lists the beginning tells what they are.
        words = _PARTICULARS.sub("", finding.message)[:60]
        groups.setdefault((finding.kind, finding.severity, words), []).append(finding)
    return [
        FindingGroup(group[0], tuple(_place(one) for one in group), sum(one.count for one in group))
        for group in groups.values()
    ]


def _place(finding: Finding) -> str:
    if finding.line:
        return f"{finding.path}:{finding.line}"
    record = _RECORD.match(finding.message)
    return f"{finding.path} {record.group(1)}" if record else finding.path


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        root: the data folder, printable.
        quick: whether only structure and some headers were looked at.
        findings: errors first.
        splits: per split the number of pictures ("images"); where there are classes their number, the smallest and the
            largest; of COCO data also of objects and crowds.
        checked: files opened.
        seconds: time taken.
        layouts: what the folder is, such as "label maps".
    """

    root: str
    quick: bool
    findings: tuple[Finding, ...]
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    checked: int = 0
    seconds: float = 0.0
    layouts: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that would make results wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def counts(self) -> dict[str, int]:
        """Kind of finding -> how many."""
        counts: Counter[str] = Counter()
        for finding in self.findings:
            counts[finding.kind] += finding.count
        return dict(counts)

    @property
    def groups(self) -> list[FindingGroup]:
        """The findings, equal ones together."""
        return group_findings(self.findings)

    def __str__(self) -> str:
        return self.table()

    def table(self, most: int = 6) -> str:
        """Plain text for people: one line for equal findings, at most `most` lines of each kind."""
        lines = [
            f"{self.root}: {'quick ' if self.quick else ''}audit,"
            f" {counted(self.checked, 'files')} opened in {self.seconds:.1f} s"
        ]
        if self.layouts:
            choice = "; --task audits one of them alone" if len(self.layouts) > 1 else ""
            lines.append(f"  read as {', '.join(self.layouts)}{choice}")
        for split, numbers in self.splits.items():
            objects = f"{counted(numbers['objects'], 'objects')}, " if "objects" in numbers else ""
            samples = "clips" if "clips" in numbers else "pictures"
            line = f"  {split}: {counted(numbers['clips' if samples == 'clips' else 'images'], samples)}"
            if "classes" in numbers:
                fewest, largest = numbers["smallest"], numbers["largest"]
                what = counted(largest, "objects" if objects else samples)
                each = f"({what if fewest == largest else f'{fewest} to {what}'} per class)"
                line += f", {objects}{counted(numbers['classes'], 'classes')} {each}"
            lines.append(line)
        if not self.findings:
            lines.append("  nothing to complain about")
        shown: Counter[str] = Counter()
        rest: Counter[str] = Counter()
        for group in self.groups:
            kind = group.first.kind
            shown[kind] += 1
            if shown[kind] > most:
                rest[kind] += group.count
            else:
                lines.append(f"  {group.first.severity:7} {kind:14} {group}")
        lines += [f"  ... and {count} more of kind {kind}" for kind, count in rest.items()]
        fixes = {finding.kind: finding.fix for finding in self.findings}
        lines += [f"  {kind}: {fixes[kind]}" for kind in shown]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values; equal findings are one, with "count" and "places"."""
        return asdict(self) | {"findings": [group.to_json() for group in self.groups], "counts": self.counts}


@dataclass(frozen=True, slots=True)
class Look:
    """How an audit looks.

    Attributes:
        quick: at structure and some headers only, not at every pixel.
        workers: processes that decode; 0 does it in this one.
        progress: called with the number of files done and their total.
        alone: whether the data set has one layout only; what another layout lacks is no fault.
        labels: how many a picture of a list has, see `phonecv.data.folders.list_columns`.
    """

    quick: bool = False
    workers: int = 0
    progress: Callable[[int, int], None] | None = None
    alone: bool = True
    labels: Literal["one", "many", "auto"] = "auto"


#: What an audit of one kind of data gives: the numbers of `AuditReport.splits`, and how many files it opened.
Numbers = tuple[dict[str, dict[str, int]], int]


class Notes:
    """Collects findings of the data folder `root`; `fixes` tells what to do about each kind."""

    def __init__(self, root: Path, fixes: Mapping[str, str] = FIXES) -> None:
        self.root = root
        self.fixes = dict(fixes)
        self.findings: list[Finding] = []

    def name(self, path: Path) -> str:
        """How the report calls a file."""
        return printable(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def add(self, kind: str, severity: str, path: Path, message: str, line: int = 0, count: int = 1) -> None:
        """Take up a finding; `kind` is a key of `fixes`."""
        self.findings.append(Finding(kind, severity, self.name(path), line, message, self.fixes[kind], count))
