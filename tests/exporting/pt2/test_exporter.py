"""torch.export files: right at every size, nothing of this machine in them, and no code run from one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import phonecv
from conftest import TINY, mostly_long
from exporting.small import tiny
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.opening import open_session
from phonecv.exporting.pt2.check import RECORD, checked_record


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    export(tiny("mobileone_s0"), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_one_file_serves_every_size(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    result = export(model, tmp_path / "m.pt2", dynamic_size=True)
    assert result.difference is not None
    assert result.difference < 1e-5
    session = open_session(tmp_path / "m.pt2")
    assert (session.batch, session.size) == (None, None)
    for batch, height, width in ((1, 224, 224), (2, 97, 75), (3, 64, 160), (1, 250, 250)):
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(session(images.numpy())[0]), model(images), rtol=1e-4, atol=1e-4
            )


def test_the_file_alone_carries_its_record(written: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.pt2").write_bytes(written.read_bytes())
    runner = open_classifier(tmp_path / "alone.pt2")
    model = tiny("mobileone_s0")
    assert runner.preprocessing == model.preprocessing
    assert runner.class_names == model.class_names
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(runner(images), model(images), rtol=1e-4, atol=1e-4)


def test_no_path_of_this_machine_is_in_it(written: Path) -> None:
    content = written.read_bytes()
    for folder in (Path(phonecv.__file__).parent, Path(torch.__file__).parent):
        assert str(folder).encode() not in content


def altered(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of an archive with the content of its entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = change(entry.filename.partition("/")[2], old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return target


def in_graph(change: Callable[[dict[str, Any]], None]) -> Callable[[str, bytes], bytes]:
    def apply(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        graph = json.loads(content)
        change(graph)
        return json.dumps(graph).encode()

    return apply


EVIL = "__import__('os').system('touch ran')"


def expression(graph: dict[str, Any]) -> None:
    """Into the size of the first tensor, whose text PyTorch's loader evaluates."""
    values = graph["graph_module"]["graph"]["tensor_values"]
    next(iter(values.values()))["sizes"][0] = {"as_expr": {"expr_str": EVIL, "hint": None}}


def target(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def outside(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"


def name(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["metadata"] = {"x": f"images={EVIL}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_graph(expression), "expr_str"),
        (in_graph(target), "from_file"),
        (in_graph(outside), r"torch\.hub\.load"),
        (in_graph(name), "__import__"),
        (in_graph(lambda graph: graph.update(guards_code=[EVIL])), "guards_code"),
        (lambda entry, content: b"pickle" if entry.startswith("data/sample_inputs") else content, "example inputs"),
        (lambda entry, content: content.replace(b'"use_pickle": false', b'"use_pickle": true'), "pickled tensors"),
    ],
)
def test_a_file_that_could_run_code_is_refused(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str, bytes], bytes], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = altered(written, tmp_path / "evil.pt2", change)
    assert path.read_bytes() != written.read_bytes()
    with pytest.raises(UserError, match=message) as caught:
        open_classifier(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_an_archive_copied_entry_by_entry_is_accepted(written: Path, tmp_path: Path) -> None:
    """The refusals above are for what was changed, not for the way of changing it."""
    path = altered(written, tmp_path / "copy.pt2", lambda entry, content: content)
    assert checked_record(path)["model"] == "mobileone_s0"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt2 is not a torch\.export file"):
        open_classifier(tmp_path / "x.pt2")


def test_files_of_others_are_refused_not_run(tmp_path: Path) -> None:
    images = torch.zeros(2, 3, 8, 8)
    torch.export.save(torch.export.export(torch.nn.ReLU(), (images,)), tmp_path / "relu.pt2")
    with pytest.raises(UserError, match="could run code"):
        open_classifier(tmp_path / "relu.pt2")
    with zipfile.ZipFile(tmp_path / "bare.pt2", "w") as archive:
        archive.writestr(f"bare/extra/{RECORD}", "{}")
    with pytest.raises(UserError, match="holds 0 graphs"):
        open_classifier(tmp_path / "bare.pt2")
