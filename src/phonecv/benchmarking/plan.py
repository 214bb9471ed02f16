"""Which subjects are timed in which runtimes and precisions, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phonecv.benchmarking.machine import PRECISIONS
from phonecv.benchmarking.runtimes import RUNTIMES, Runtime, choose, refusal
from phonecv.benchmarking.subject import Subject
from phonecv.devices import usable_cores
from phonecv.errors import UserError, did_you_mean
from phonecv.exporting.formats import EXPORTERS
from phonecv.models.catalog import MODELS

LAYOUTS = ("auto", "nchw", "nhwc")


@dataclass(frozen=True, slots=True)
class Entry:
    """One subject in one runtime and precision.

    Attributes:
        subject: what is timed.
        runtime: a key of `RUNTIMES`.
        precision: one of `PRECISIONS`.
        layout: for PyTorch.
    """

    subject: Subject
    runtime: str
    precision: str
    layout: str = "auto"

    @property
    def label(self) -> str:
        """Its name in tables, and as a baseline."""
        return f"{self.subject.name}/{self.runtime}/{self.precision}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not timed, and why."""

    what: str
    reason: str


def plan(
    subjects: Sequence[Subject],
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    layout: str = "auto",
    device: str = "cpu",
) -> tuple[list[Entry], list[Skipped]]:
    """Every subject in every runtime and precision that this machine can run, and what was left out.

    Without runtimes they are those that prepare a network within seconds, and those whose files were given; without
    precisions all. The layout is of PyTorch's input.

    Raises:
        UserError: an unknown name; something asked for by name that cannot run here at all; nothing left.
    """
    wanted = choose("runtime", list(RUNTIMES) if runtimes is None else runtimes, list(RUNTIMES))
    kinds = choose("precision", list(PRECISIONS) if precisions is None else precisions, PRECISIONS)
    choose("layout", [layout], LAYOUTS)
    entries, skipped = [], []
    for subject in subjects:
        for name in wanted:
            runtime = RUNTIMES[name]
            for kind in kinds:
                reason = _reason(subject, runtime, kind, device, named=runtimes is not None)
                if reason:
                    skipped.append(Skipped(f"{subject.name}/{name}/{kind}", reason))
                else:
                    entries.append(Entry(subject, name, kind, layout))
    for asked, place in ((runtimes, 1), (precisions, 2)):
        for name in asked or ():
            missed = [item for item in skipped if item.what.split("/")[place] == name]
            if not any(name in (entry.runtime, entry.precision) for entry in entries):
                reasons = dict.fromkeys(item.reason for item in missed)
                raise UserError(f"{name} cannot be timed here: {'; '.join(reasons)}")
    if not entries:
        reasons = dict.fromkeys(item.reason for item in skipped)
        raise UserError(f"nothing can be timed here: {'; '.join(reasons)}")
    return entries, skipped


def _reason(subject: Subject, runtime: Runtime, precision: str, device: str, *, named: bool) -> str:
    if subject.network is None and not runtime.exported:
        return f"{subject.name} is an exported file, which {runtime.title} does not run"
    if subject.network is None and subject.format not in runtime.formats:
        return f"{subject.name} is no file of {runtime.title}"
    if subject.precision == "int8" and precision != "int8":
        return f"{subject.name} is quantized to int8 already"
    if subject.network is None and precision == "int8" != subject.precision and subject.format != "onnx":
        return f"{subject.name} is not quantized; name the network it came from, or `phonecv quantize` it"
    if subject.network is not None and not runtime.by_default and not named:
        return f"preparing takes up to minutes; add --runtime {runtime.name} to time it"
    return refusal(runtime, precision, device) or _format_refusal(subject, runtime)


def _format_refusal(subject: Subject, runtime: Runtime) -> str:
    """Why the format of a runtime cannot hold a network of this family."""
    if subject.network is None or not runtime.formats:
        return ""
    name = getattr(subject.network, "name", "")
    family = MODELS[name].family if name in MODELS else ""
    return EXPORTERS[runtime.formats[0]].refused.get(family, "")


def check_numbers(batches: Sequence[int], threads: Sequence[int], rounds: int, seconds: float | None) -> None:
    """Check the figures of a run before anything heavy happens."""
    for batch in batches:
        if batch < 1:
            raise UserError(f"batch {batch} is not a whole number >= 1, such as 1 or 16")
    cores = usable_cores()
    for count in threads:
        if not 1 <= count <= cores:
            raise UserError(f"threads {count} is not in 1..{cores}, the cores that this process may use")
    if rounds < 1:
        raise UserError(f"rounds {rounds} is not a whole number >= 1; 30 is the default")
    if seconds is not None and not seconds > 0:
        raise UserError(f"seconds {seconds:g} is not positive; 15 is the default")
    if not batches or not threads:
        raise UserError("at least one batch size and one number of threads are needed, such as --batch 1 --threads 1")


def pick_baseline(asked: str | None, labels: Sequence[str]) -> str:
    """The label that was meant: in full, or a part that only one has. None takes the first one."""
    if asked is None:
        return labels[0]
    if asked in labels:
        return asked
    found = [label for label in labels if asked in label]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"the baseline {asked!r} could be any of {', '.join(found)}; give one in full")
    known = ", ".join(labels)
    raise UserError(f"the baseline {asked!r} is not among the candidates{did_you_mean(asked, labels)} ({known})")
