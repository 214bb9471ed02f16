"""What `phonecv doctor` reports: versions, devices, threads, extras, exporters, cache; and what to do about gaps."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from packaging.requirements import Requirement

from phonecv.text import counted

#: Environment variables that change speed or place of work.
VARIABLES = (
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "PHONECV_CACHE",
    "PHONECV_DEBUG",
    "PHONECV_KERNELS",
    "PHONECV_MAX_PIXELS",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        section: "software", "machine", "extras", "kernels", "exporters" or "cache".
        name: what was looked at.
        value: what was found.
        state: "ok", "missing" (an optional thing) or "broken" (something needed).
        fix: the next step where the state is not "ok".
    """

    section: str
    name: str
    value: str
    state: str = "ok"
    fix: str = ""


def doctor() -> list[Finding]:
    """Look at everything; a part that fails becomes a finding, so the report is always whole."""
    findings: list[Finding] = []
    for section, look in (
        ("software", _software),
        ("machine", _machine),
        ("extras", _extras),
        ("kernels", _kernels),
        ("exporters", _exporters),
        ("cache", _cache),
    ):
        findings += _guarded(section, look)
    return findings


def _guarded(section: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:
        # A broken installation is what this command is for: it is shown, not raised.
        return [Finding(section, section, f"{type(error).__name__}: {error}", "broken", "reinstall phonecv")]


def _software() -> list[Finding]:
    from phonecv._version import __version__

    findings = [
        Finding("software", "phonecv", __version__),
        Finding("software", "python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    return findings + [_requirement("software", requirement) for requirement in _requirements().get("", [])]


def _extras() -> list[Finding]:
    findings = []
    for extra, requirements in _requirements().items():
        # "all" and "dev" only gather the others and the developers' tools.
        if extra in ("", "all", "dev"):
            continue
        states = [_requirement("extras", requirement) for requirement in requirements]
        gaps = [state.name for state in states if state.state != "ok"]
        value = ", ".join(f"{state.name} {state.value}" for state in states)
        fix = f"pip install 'phonecv[{extra}]'" if gaps else ""
        findings.append(Finding("extras", extra, value, "missing" if gaps else "ok", fix))
    return findings


def _requirements() -> dict[str, list[Requirement]]:
    """Extra (or "" for what is always needed) -> requirements such as ``torch>=2.11``, as the package declares them."""
    found: dict[str, list[Requirement]] = {}
    for line in importlib.metadata.requires("phonecv") or []:
        requirement = Requirement(line)
        extra = re.search(r'extra == "([^"]+)', str(requirement.marker))
        requirement.marker = None
        listed = found.setdefault(extra.group(1) if extra else "", [])
        # An extra may be declared from others, whose requirements come along, some of them twice.
        if requirement.name != "phonecv" and requirement not in listed:
            listed.append(requirement)
    return found


def _requirement(section: str, requirement: Requirement) -> Finding:
    """Whether one requirement is met; its state is "broken" when not."""
    name, fix = requirement.name, f"pip install '{requirement}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(section, name, "missing", "broken", fix)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(section, name, version)
    least = [one for one in requirement.specifier if one.operator == ">=" and not one.contains(version, True)]
    what = f"older than {least[0].version}" if least else f"not {requirement.specifier}"
    return Finding(section, name, f"{version} is {what}", "broken", fix)


def _machine() -> list[Finding]:
    import torch

    from phonecv.benchmarking.machine import processor_name
    from phonecv.devices import usable_cores

    findings = [
        Finding(
            "machine",
            "processor",
            f"{processor_name()}, {usable_cores()} of {counted(os.cpu_count() or 1, 'cores')} usable",
        ),
        Finding("machine", "threads", f"{torch.get_num_threads()} for one operation of torch"),
    ]
    for index in range(torch.cuda.device_count()):
        findings.append(_accelerator(f"cuda:{index}", torch.cuda.get_device_name(index)))
    if torch.backends.mps.is_available():
        findings.append(_accelerator("mps", "Apple GPU"))
    if len(findings) == 2:
        kinds = (("CUDA", torch.version.cuda), ("ROCm", torch.version.hip))
        built = " and ".join(f"{kind} {version}" for kind, version in kinds if version) or "the CPU alone"
        findings.append(Finding("machine", "accelerator", f"none found (torch is built for {built})"))
    findings += [Finding("machine", name, os.environ[name]) for name in VARIABLES if name in os.environ]
    return findings


def _accelerator(device: str, name: str) -> Finding:
    """An accelerator that is listed may still fail at its first kernel (driver too old, architecture not built in)."""
    import torch

    try:
        torch.ones(8, 8, device=device).matmul(torch.ones(8, 8, device=device)).cpu()
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        return Finding("machine", device, f"{name}: {first}", "broken", "match driver and torch build, or use the CPU")
    memory = ""
    if device.startswith("cuda"):
        memory = f", {torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB"
    return Finding("machine", device, name + memory)


def _kernels() -> list[Finding]:
    from phonecv.models.kernels.choices import CHOICES, VARIABLE

    findings = []
    for choice in CHOICES.values():
        asked, found = choice.asked(), choice.found()
        if asked is not None:
            value = f"{asked} ({VARIABLE})"
        elif found is None:
            value = "not measured yet: it is when first used"
        else:
            other = next(way for way in found.milliseconds if way != found.way)
            times = [f"{found.milliseconds[way]:.2f} ms" for way in (found.way, other)]
            value = f"{found.way} ({times[0]}, {other} {times[1]})"
        findings.append(Finding("kernels", choice.name, f"{value}; ours: {choice.about}"))
    return findings


def _exporters() -> list[Finding]:
    from phonecv.exporting import EXPORTERS

    findings = []
    for name, exporter in EXPORTERS.items():
        can = [f"{exporter.title} ({exporter.suffix})"]
        can += ["any batch size" if exporter.dynamic_batch else "one batch size"]
        can += ["any picture size"] if exporter.dynamic_size else []
        can += [", ".join(exporter.precisions), f"checked by {exporter.checked_by}"]
        missing = exporter.missing()
        state, fix = ("missing", f"pip install 'phonecv[{exporter.extra}]'") if missing else ("ok", "")
        can += [f"needs {', '.join(missing)}"] if missing else []
        findings.append(Finding("exporters", name, ", ".join(can), state, fix))
    return findings


def _cache() -> list[Finding]:
    from phonecv.files import cache_dir

    folder = cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        fix = "set PHONECV_CACHE to a folder you may write to"
        return [Finding("cache", "downloads", f"{folder} is not writable", "missing", fix)]
    held = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
    size = sum(file.stat().st_size for file in held) / 2**20
    free = shutil.disk_usage(existing).free / 2**30
    return [
        Finding("cache", "downloads", f"{folder}: {counted(len(held), 'files')}, {size:.1f} MiB, {free:.1f} GiB free")
    ]
