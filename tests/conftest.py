"""Fixtures every test may use: the shared reference folder, and tiny members of the three families."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import pickle
import shutil
import signal
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import phonecv.training  # noqa: F401 - before torch, which then lets idle threads sleep, see `wait_quietly`

# isort: split
import pytest
import torch
from PIL import Image

from phonecv import plots
from phonecv.exporting.formats import EXPORTERS
from phonecv.timm_bridge import defer

# One thread per test process: spinning threads cost far more than they give on a busy machine.
torch.set_num_threads(1)

# As in the command line: timm imports it for a log of its own script, and it takes longer than the rest of timm.
defer("wandb")

# Nothing is measured: tests go the same ways on every machine, and golden numbers hold all of them.
os.environ.setdefault("PHONECV_KERNELS", "ours")

# Tests started in the background of a script inherit that Ctrl-C is ignored, those under nohup that SIGHUP is, and
# would hand it on to the commands whose signals they test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

#: Overrides that make a small network of each family, for tests that need one quickly.
TINY: dict[str, dict[str, Any]] = {
    "emo_1m": {
        "stem_width": 8,
        "depths": (1, 1, 2, 2),
        "widths": (16, 16, 24, 32),
        "exp_ratios": (2.0, 2.0, 2.0, 2.0),
        "head_dims": (8, 8, 8, 8),
    },
    "emov2_1m": {
        "depths": (1, 1, 2, 2),
        "widths": (16, 16, 24, 32),
        "exp_ratios": (2.0, 2.0, 2.0, 2.0),
        "head_dims": (8, 8, 8, 8),
    },
    "mobileone_s0": {"depths": (1, 1, 2, 1), "widths": (16, 24, 32, 48)},
}


def mostly_long(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of a test that takes seconds: all but `kept` are marked `long`.

    What is kept has to show by itself whatever the others would, one family or head apart.
    """
    cases = list(cases)
    assert all(case in cases for case in kept), kept
    return [
        case if case in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for case in cases
    ]


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack a trusted archive of odd names; early releases of Python 3.11 know no filters."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="fully_trusted")
    else:
        archive.extractall(folder)


# Each full search for cycles of garbage goes through all that was imported, and the toolkits import half a million
# objects: a seventh of the suite's time. So it is done seldom, between modules, and what survives it is let be.
gc.set_threshold(20_000, 10, 30)


def pytest_collection_finish() -> None:
    """What was imported stays."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After a module that made much, its garbage goes; what it imported, and what is kept for others, stays."""
    if nextitem is not None and nextitem.path != item.path and gc.get_count()[2] >= 2:
        gc.collect()
        gc.freeze()


_save_curves = plots.save_curves


def _white_pixel(csv_path: Path | str, png_path: Path | str, **_: object) -> Path:
    Image.new("L", (1, 1), 255).save(png_path)
    return Path(png_path)


@pytest.fixture(scope="session", autouse=True)
def no_curves() -> Iterator[None]:
    """Trainings draw no curves: that takes as long as a tiny training itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save_curves", _white_pixel)
        yield


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test trainings draw their curves as they do for people."""
    monkeypatch.setattr(plots, "save_curves", _save_curves)


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> Iterator[None]:
    """PyTorch's exporters make their tables of operators anew for every file, a third of the time of a tiny one."""
    export = torch.export.export
    with pytest.MonkeyPatch.context() as patch:

        def once(*given: Any, **named: Any) -> Any:
            # These import much; most tests need none.
            from torch._export import utils
            from torch.onnx._internal.exporter._registration import ONNXRegistry

            patch.setattr(torch.export, "export", export)
            patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
            patch.setattr(utils, "_materialize_cpp_cia_ops", functools.cache(utils._materialize_cpp_cia_ops))
            return export(*given, **named)

        patch.setattr(torch.export, "export", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trace_of_a_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of a network written as ONNX before, by whatever test: tracing takes most of the time of a tiny one."""
    place = tmp_path_factory.mktemp("traced")
    real = torch.onnx.export

    def export(model: Any, args: Any = (), f: Any = None, **named: Any) -> Any:
        content = BytesIO()
        try:
            torch.save((model, *((array.shape, array.dtype) for array in args), repr(sorted(named.items()))), content)
        except (AttributeError, TypeError, pickle.PicklingError):  # a class of its own, inside a test
            return real(model, args, f, **named)
        kept = place / hashlib.sha256(content.getbuffer()).hexdigest()
        if kept.is_file():
            shutil.copyfile(kept, f)
            return None
        done = real(model, args, f, **named)
        shutil.copyfile(f, kept)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        yield


@pytest.fixture(scope="session", autouse=True)
def toolkits_in_this_process() -> Iterator[None]:
    """Formats are written where the tests run: a process for each file imports torch anew, most of a tiny one's time.

    tests/exporting/test_flow.py holds what such a process does, and ExecuTorch keeps its own: its threads belong to it.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, format in EXPORTERS.items():
            if name != "executorch":
                patch.setitem(EXPORTERS, name, replace(format, isolated=False))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with reference data that is not part of the project; tests that need it skip without it."""
    folder = Path(os.environ.get("PHONECV_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no reference data at {folder} (set PHONECV_SHARED to its folder)")
    return folder
