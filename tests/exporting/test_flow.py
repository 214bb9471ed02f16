"""What every export does, whatever the format: checks, refusals, logs, processes, and names that appear at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import phonecv
from exporting.fake_formats import fake
from exporting.small import tiny
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export, perform
from phonecv.exporting import run as flow
from phonecv.exporting.checks import other_sizes
from phonecv.exporting.comparing import same_winner
from phonecv.exporting.formats import PRECISIONS, Exporter
from phonecv.exporting.job import Session
from phonecv.exporting.targets import claimed
from phonecv.models import VisionModel


@pytest.fixture(scope="module")
def network() -> VisionModel:
    return tiny("mobileone_s0")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exporter], None]:
    """Put a fake format into the table."""
    return lambda exporter: monkeypatch.setitem(EXPORTERS, "fake", exporter)


def test_all_files_appear_under_their_names(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(fake())
    state = {key: value.clone() for key, value in network.state_dict().items()}
    (tmp_path / "m.fake.log").write_text("of an earlier failure")
    result = export(network, tmp_path / "m.fake", size=64)
    names = ["m.fake", "m.fake.json", "m.part", "m.test.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert result.files[0] == result.path == tmp_path / "m.fake"
    assert sorted(path.name for path in result.files) == names
    assert result.bytes == sum((tmp_path / name).stat().st_size for name in ("m.fake", "m.part"))
    assert (result.difference, result.agreement, result.operators) == (0.0, 1.0, 3)
    record = json.loads(result.record.read_text(encoding="utf-8"))
    assert (record["format"], record["precision"], record["file"]) == ("fake", "float32", "m.fake")
    assert record["checked"]["by"] == f"Fake {torch.get_num_threads()}"
    assert record["report"] == {"process": os.getpid()}
    assert record["test"]["picture"] == "m.test.png"
    assert len(record["test"]["outputs"]["logits"]["values"]) == 7
    # The network given is as it was.
    assert network.form == "training"
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    # To the same names again, and the record says what was not checked.
    again = export(network, tmp_path / "m.fake", size=64, verify=False, form="training")
    assert (again.difference, again.checked_by, again.form) == (None, "", "training")
    assert json.loads(again.record.read_text())["checked"] is None


def test_free_sizes_are_tried(tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]) -> None:
    use(fake())
    export(network, tmp_path / "m.fake", size=64, dynamic_size=True)
    sizes = {tuple(size) for size in json.loads((tmp_path / "m.fake.json").read_text())["checked"]["sizes"]}
    assert len(sizes) >= 5
    assert any(height != width for height, width in sizes)
    # Neither the strides nor, at stride 16, the windows divide it.
    assert any(height % 2 and width % 2 and -(-height // 16) % 7 and -(-width // 16) % 7 for height, width in sizes)


@pytest.mark.parametrize("side", [32, 33, 64, 224, 513])
def test_other_sizes_differ_from_the_traced_one(side: int) -> None:
    sizes = other_sizes(side, side)
    assert len({(side, side), *sizes}) == 5 or side < 40
    assert min(min(size) for size in sizes) >= 33


@pytest.mark.parametrize(
    ("session", "options", "message"),
    [
        ("open_shifted", {}, r"differ from PyTorch's by .*1e-04 is allowed \(max_diff\)"),
        ("open_shifted", {"max_diff": 1e-3}, r"1e-03 is allowed"),
        ("open_swapped", {"max_diff": 0.999, "min_agreement": 0.5}, r"for \d of \d+ pictures, 50% are asked for"),
        ("open_nan", {}, "differ from PyTorch's by nan"),
        ("open_other_shape", {}, r"logits has shape \(.*6\), PyTorch's has \(.*7\)"),
    ],
)
def test_a_file_that_differs_never_gets_its_name(
    tmp_path: Path,
    network: VisionModel,
    use: Callable[[Exporter], None],
    session: str,
    options: dict[str, Any],
    message: str,
) -> None:
    use(fake(session=session))
    with pytest.raises(UserError, match=message):
        export(network, tmp_path / "m.fake", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_wider_budget_lets_it_pass(tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]) -> None:
    use(fake(session="open_shifted"))
    found = export(network, tmp_path / "m.fake", max_diff=0.02).difference
    assert found == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("function", ["refuse", "interrupt"])
def test_what_stops_on_the_way_leaves_nothing(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None], function: str
) -> None:
    use(fake(function))
    with pytest.raises(KeyboardInterrupt if function == "interrupt" else UserError):
        export(network, tmp_path / "m.fake")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_keeps_what_was_there(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(fake())
    (tmp_path / "m.fake").write_text("older")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "write_test", stop)
    with pytest.raises(KeyboardInterrupt):
        export(network, tmp_path / "m.fake")
    assert [path.name for path in tmp_path.iterdir()] == ["m.fake"]
    assert (tmp_path / "m.fake").read_text() == "older"


def test_the_main_file_comes_last_and_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for folder in (place / "x.mlpackage", tmp_path / "y.mlpackage"):
        folder.mkdir(parents=True)
        (folder / folder.parent.name).write_text("content")
    (place / "x.bin").write_text("weights")
    moved = flow.move(place / "x.mlpackage", place, tmp_path / "y.mlpackage")
    assert [path.name for path in moved] == ["y.mlpackage", "y.bin"]
    assert [path.name for path in (tmp_path / "y.mlpackage").iterdir()] == ["place"]
    assert list(place.iterdir()) == []


def test_two_exports_to_one_target(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that starts while another writes is refused, whatever it may replace; only one says that it wrote."""
    use(fake())
    path, honest, seen = tmp_path / "new" / "m.fake", flow.perform, []

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(flow, "perform", honest)
        for replace_file in (False, True):
            with pytest.raises(UserError, match=r"another export is writing .*m\.fake"):
                export(network, path, size=64, replace_file=replace_file)
        export(network, path.with_name("other.fake"), size=64)
        seen.append(sorted(file.name for file in path.parent.iterdir() if file.suffix == ".fake"))
        return honest(*arguments)

    monkeypatch.setattr(flow, "perform", meanwhile)
    export(network, path, size=64, replace_file=False)
    assert seen == [["other.fake"]]
    assert path.is_file()
    # One that was on its way when the file came up does not take its place, unless it may.
    before = path.stat().st_ino
    with pytest.raises(UserError, match=r"m\.fake' exists already"):
        export(network, path, size=64, replace_file=False)
    assert path.stat().st_ino == before
    export(network, path, size=64)
    assert not [file.name for file in path.parent.iterdir() if file.name.startswith(".")]


def test_a_killed_export_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.fake"
    path.with_name(".m.fake.writing").write_text("")  # what a killed process leaves
    with claimed(path, replace=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_for_nothing_goes(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(fake("refuse"))
    with pytest.raises(UserError, match="cannot hold"):
        export(network, tmp_path / "a" / "b" / "m.fake", size=64)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name_is_not_swept_away(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(fake())
    (tmp_path / "m.fake").mkdir()
    (tmp_path / "m.fake" / "mine").write_text("x")
    with pytest.raises(UserError, match=r"m\.fake' is a folder"):
        export(network, tmp_path / "m.fake", size=64)
    assert (tmp_path / "m.fake" / "mine").read_text() == "x"


def test_a_failing_exporter_leaves_its_log(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None], capfd: pytest.CaptureFixture[str]
) -> None:
    use(fake("fail"))
    with pytest.raises(UserError, match=r"Fake export of m failed: unsupported thing; whole log: .*m\.fake\.log"):
        export(network, tmp_path / "m.fake")
    assert [path.name for path in tmp_path.iterdir()] == ["m.fake.log"]
    log = (tmp_path / "m.fake.log").read_text()
    assert "what the exporter said" in log
    assert "Traceback" in log
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "session", "message"),
    [
        ("write", "open_session", ""),
        ("crash", "open_session", "Fake ended with signal SIGSEGV while writing it"),
        pytest.param(
            "write", "open_crashing", "Fake ended with signal SIGSEGV while running the file", marks=pytest.mark.long
        ),
    ],
)
def test_a_process_of_its_own_contains_crashes(
    tmp_path: Path,
    network: VisionModel,
    use: Callable[[Exporter], None],
    capfd: pytest.CaptureFixture[str],
    function: str,
    session: str,
    message: str,
) -> None:
    use(fake(function, session, isolated=True))
    if message:
        with pytest.raises(UserError, match=message):
            export(network, tmp_path / "m.fake")
        assert not (tmp_path / "m.fake").exists()
        if function == "crash":
            assert "about to crash" in (tmp_path / "m.fake.log").read_text()
    else:
        result = export(network, tmp_path / "m.fake")
        assert result.difference == 0.0
        assert result.report["process"] != os.getpid()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("function", "message"),
    [("fail", "Fake export of m failed: unsupported thing"), ("refuse", "Fake cannot hold m")],
)
def test_a_process_of_its_own_tells_why_it_failed(
    tmp_path: Path,
    network: VisionModel,
    use: Callable[[Exporter], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    function: str,
    message: str,
) -> None:
    """What such a process does is done here, without the time that a new one needs to import PyTorch."""

    def here(command: list[str], *, env: dict[str, str], stdout: Any, **_: Any) -> SimpleNamespace:
        assert command[1:3] == ["-m", "phonecv.exporting.perform"]
        monkeypatch.setenv("PHONECV_THREADS", env["PHONECV_THREADS"])
        log = io.StringIO()
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            status = perform.main(Path(command[3]))
        stdout.write(log.getvalue().encode())
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(perform.subprocess, "run", here)
    use(fake(function, isolated=True))
    with pytest.raises(UserError, match=message):
        export(network, tmp_path / "m.fake")
    assert not (tmp_path / "m.fake").exists()
    assert (tmp_path / "m.fake.log").exists() == (function == "fail")
    if function == "fail":
        assert "RuntimeError: unsupported thing" in (tmp_path / "m.fake.log").read_text()
    assert capfd.readouterr() == ("", "")


def test_a_network_that_cannot_travel_is_explained(tmp_path: Path, use: Callable[[Exporter], None]) -> None:
    class Local(torch.nn.Identity):
        pass

    use(fake(isolated=True))
    model = tiny("mobileone_s0")
    model.norm = Local()
    with pytest.raises(UserError, match="at the top of a module"):
        export(model, tmp_path / "m.fake")
    assert list(tmp_path.iterdir()) == []


def test_broken_weights_are_refused(tmp_path: Path, use: Callable[[Exporter], None]) -> None:
    use(fake())
    model = tiny("mobileone_s0")
    with torch.no_grad():
        model.get_classifier().get_parameter("weight").fill_(float("nan"))
    with pytest.raises(UserError, match="NaN or infinity"):
        export(model, tmp_path / "m.fake")


def test_a_swapped_winner_is_noticed() -> None:
    want = np.array([[1.0, 2.0, 0.0]])
    assert same_winner(want, want + 1e-6, 1e-5).all()
    assert not same_winner(want, np.array([[2.0, 1.0, 0.0]]), 1e-5).any()
    assert same_winner(np.array([[1.0, 1.0 + 1e-6]]), np.array([[1.0 + 1e-6, 1.0]]), 1e-5).all()


def test_a_fixed_batch_is_served_in_parts() -> None:
    seen = []

    def run(images: np.ndarray) -> list[np.ndarray]:
        seen.append(len(images))
        return [images.sum((1, 2, 3)), images[:, 0]]

    images = np.random.default_rng(0).random((7, 3, 2, 2), np.float32)
    total, red = Session(run, "x", batch=3)(images)
    np.testing.assert_array_equal(total, images.sum((1, 2, 3)))
    np.testing.assert_array_equal(red, images[:, 0])
    assert seen == [3, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "fak"}, "did you mean 'fake'"),
        ({"destination": "m.tflit"}, r"does not end in \.fake; try .*m\.fake"),
        ({"form": "fused"}, "deploy, training"),
        ({"size": 0}, "size=0 is out of range"),
        ({"max_diff": 2.0}, "max_diff"),
        ({"min_agreement": 99.0}, "min_agreement"),
        ({"precision": "fp8"}, "fp8"),
        ({"precision": "int8"}, "Fake files are written as float32, fp16, not as int8"),
        ({"model": "mobileone_s8"}, "did you mean 'mobileone_s"),
        ({"images": "nowhere/*.png"}, "nowhere"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path,
    network: VisionModel,
    use: Callable[[Exporter], None],
    options: dict[str, Any],
    message: str,
) -> None:
    use(fake())
    given: dict[str, Any] = {"format": "fake"} | options
    with pytest.raises(UserError, match=message):
        export(given.pop("model", network), tmp_path / str(given.pop("destination", "m.fake")), **given)
    assert list(tmp_path.iterdir()) == []


def test_the_training_form_of_a_fused_network_is_refused(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(fake())
    with pytest.raises(UserError, match="deploy form"):
        export(phonecv.fuse(network), tmp_path / "m.fake", form="training")


def test_a_size_too_small_to_be_left_free_is_refused(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(fake())
    with pytest.raises(
        UserError, match=r"at least 33 x 33, this network has 32 x 48; give a larger size \(--size 64\)"
    ):
        export(network, tmp_path / "m.fake", size=(32, 48), dynamic_size=True)


def test_what_a_format_cannot_hold_is_refused_with_its_reason(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(dataclasses.replace(fake(), refused={"mobileone": "because of a reason"}, dynamic_size=False))
    with pytest.raises(UserError, match="cannot be written as Fake: because of a reason"):
        export(network, tmp_path / "m.fake")
    with pytest.raises(UserError, match="one input size; formats without: onnx"):
        export(network, tmp_path / "m.fake", dynamic_size=True)


def test_a_missing_package_names_the_line_that_installs_it(
    tmp_path: Path, network: VisionModel, use: Callable[[Exporter], None]
) -> None:
    use(dataclasses.replace(fake(), packages=("no_such",)))
    with pytest.raises(UserError, match=r'no_such.*pip install "phonecv\[fake\]"'):
        export(network, tmp_path / "m.fake")


def test_the_table_points_at_functions() -> None:
    for key, record in EXPORTERS.items():
        assert record.format == key
        assert set(record.precisions) <= set(PRECISIONS)
        if not record.missing():
            assert callable(resolve_name(record.function))
            assert callable(resolve_name(record.session))
    assert len({record.suffix for record in EXPORTERS.values()}) == len(EXPORTERS)
    parts = [part for record in EXPORTERS.values() for part in record.parts]
    assert len(set(parts)) == len(parts), "two formats in one folder would overwrite each other's files"
