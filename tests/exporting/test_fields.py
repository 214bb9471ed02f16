"""Records of exported files from anywhere: whatever stands in them, one clear message or an honest result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import phonecv
from exporting.onnx.files import DETECTOR, RECORD, classifier, detector, inside, with_record
from phonecv.benchmarking.opening import open_subject
from phonecv.benchmarking.page_models import open_models
from phonecv.bundles.build import bundle
from phonecv.errors import UserError
from phonecv.exporting.fields import checked_fields, parse_record
from phonecv.inspection import info
from phonecv.opening import task_of

#: What people, programs and attackers leave in the place of a value.
JUNK: tuple[Any, ...] = (
    None, [], {}, "", "x", 5, -1, 0, 1.5, True, [1], ["a"], [[]], {"a": 1}, {"files": None}, "../../etc", "/etc/passwd",
    10**400, 1e308, float("nan"), "\ud800", "a\nb\x1b[31m", [None], [10**9, 10**9], ["a"] * 5, {"x": {"y": []}},
)  # fmt: skip

USES: dict[str, Callable[[Path], Any]] = {
    "info": lambda path: info(str(path)).fields(),
    "predict": lambda path: [str(one) for one in phonecv.predict(path, path.parent / "photo.png", workers=0)],
    "page": lambda path: json.dumps([model.to_page(0) for model in open_models([path])]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("photo", "a.test"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"{name}.png")
    return tmp_path


def damaged(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a record in turn with every piece of junk, and without."""
    for name, value in record.items():
        yield f"without {prefix}{name}", {key: kept for key, kept in record.items() if key != name}
        for junk in JUNK:
            yield f"{prefix}{name} = {junk!r:.40}", {**record, name: junk}
        if isinstance(value, dict):
            for what, inner in damaged(value, f"{prefix}{name}."):
                yield what, {**record, name: inner}


def survives(use: Callable[[Path], Any], path: Path, what: str) -> None:
    told = ""
    try:
        use(path)
    except UserError as error:
        told = str(error)
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")
    assert told.isprintable(), what


def test_every_damage_of_a_record_is_told_or_harmless(folder: Path) -> None:
    path = classifier(folder / "a.onnx")
    damages = [*damaged(RECORD), *((f"all = {junk!r:.40}", junk) for junk in JUNK)]
    assert len(damages) > 900
    for number, (what, record) in enumerate(damages):
        with_record(path, record)
        survives(USES["info"], path, what)
        if number % 10 == 0:  # some of them through the runtime, too
            survives(USES["predict"], path, what)
            survives(USES["page"], path, what)


def test_every_damage_of_a_detectors_record_is_told_or_harmless(folder: Path) -> None:
    path = detector(folder / "a.onnx")
    for number, (what, record) in enumerate(damaged(DETECTOR)):
        if number % 12 == 0 or (number % 2 == 0 and "decoding" in what):
            with_record(path, record)
            survives(USES["predict"], path, what)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("classes", [1, 2, 3], "'classes' is a list of 3, not a list of texts"),
        ("classes", ["a"], "names 1 class for 3 outputs"),
        ("num_classes", "3", "'num_classes' is the text '3', not a whole number"),
        ("task", ["detect"], "'task' is a list of 1, not one of classify, detect"),
        ("input_size", [32], "'input_size' is a list of 1, not height and width"),
        ("input_size", [0, 10**9], "'input_size' is a list of 2, not height and width"),
        ("preprocessing", {"size": 32, "mean": "grey"}, "'preprocessing' is damaged .mean 'grey'"),
        ("preprocessing", {"size": 10**6}, "asks for more than 8192 pixels"),
        ("preprocessing", {"crop": 5e-324}, "'preprocessing' is damaged"),
        ("test", {"picture": "../photo.png"}, "'test.picture' is the text '../photo.png', not the name of a file"),
        ("test", {"picture": "/etc/passwd"}, "'test.picture' is the text '/etc/passwd'"),
        ("test", {"picture": "C:\\a.png"}, "not the name of a file without a folder"),
        ("test", {"outputs": {}}, "lacks 'test.picture'"),
        ("test", {"picture": "a.png", "outputs": {"logits": {"values": "many"}}}, "'test.outputs.logits.values' is"),
        ("checked", {"by": 5, "difference": 0}, "'checked.by' is 5, not a text"),
        ("outputs", "logits", "'outputs' is the text 'logits', not a list of texts"),
        ("model", "\ud800", "'model' is the text .*ud800', not a text"),
    ],
)
def test_the_message_names_file_and_field(folder: Path, field: str, value: Any, message: str) -> None:
    path = with_record(classifier(folder / "a.onnx"), {**RECORD, field: value})
    for use in USES.values():
        with pytest.raises(UserError, match=message) as caught:
            use(path)
        assert "a.onnx" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "not UTF-8 text .byte 0"),
        (b"", "not JSON"),
        (b"[]", "is a list of 0, not a table"),
        (b'{"files": null}', ""),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"num_classes": ' + b"9" * 6000 + b"}", "not JSON"),
    ],
)
def test_texts_that_are_no_record(content: bytes, message: str) -> None:
    if not message:
        assert parse_record(content, "a.onnx.json") == {"files": None}
        return
    with pytest.raises(UserError, match=message):
        parse_record(content, "a.onnx.json")


def test_a_record_inside_is_held_to_the_same(folder: Path) -> None:
    path = classifier(folder / "a.onnx", inside({**RECORD, "classes": [1, 2, 3]}))
    for use in USES.values():
        with pytest.raises(UserError, match="'classes' is a list of 3"):
            use(path)
    path = classifier(folder / "a.onnx", inside(RECORD))
    for use in USES.values():
        use(path)
    assert "red" in str(phonecv.predict(path, folder / "photo.png", workers=0)[0])


def test_metadata_that_is_not_utf8(folder: Path) -> None:
    path = classifier(folder / "a.onnx", inside({"model": "QQQQ"}))
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\xff\xff"))
    for use in (*USES.values(), lambda path: open_subject(str(path))):
        with pytest.raises(UserError, match=r"a\.onnx"):
            use(path)
    assert task_of(path) == "classify"


def test_a_record_that_does_not_go_with_its_file(folder: Path) -> None:
    path = classifier(folder / "a.onnx")
    with_record(path, {**RECORD, "num_classes": 2, "classes": ["a", "b"]})
    with pytest.raises(UserError, match="gives 3 classes, its record names 2; one is of another file"):
        phonecv.predict(path, folder / "photo.png")
    with_record(path, DETECTOR)
    with pytest.raises(UserError, match="gives 1 outputs, its record names 4"):
        phonecv.predict(path, folder / "photo.png")
    path = with_record(detector(folder / "b.onnx", label=3), DETECTOR)
    with pytest.raises(UserError, match="labels beyond the 3 classes of its record"):
        phonecv.predict(path, folder / "photo.png")
    with_record(detector(path, label=2), DETECTOR)
    assert str(phonecv.predict(path, folder / "photo.png")[0]).endswith("1 red, 1 blue (the file gives no more than 2)")


def test_a_bundle_takes_whole_records_only(folder: Path) -> None:
    path = classifier(folder / "a.onnx")
    for missing in ("format", "outputs", "preprocessing", "model"):
        with_record(path, {key: value for key, value in RECORD.items() if key != missing})
        with pytest.raises(UserError, match=f"lacks '{missing}'"):
            bundle("mobileone_s0", folder / "bundle", formats=(), include=[path])
    with_record(path, {**RECORD, "format": "ncnn"})
    with pytest.raises(UserError, match="is of a file for 'ncnn', not onnx"):
        bundle("mobileone_s0", folder / "bundle", formats=(), include=[path])
    assert not (folder / "bundle").exists()


def test_fields_that_are_not_known_stay() -> None:
    record = {**RECORD, "later": [1, {"a": None}], "checked": None}
    found = checked_fields(record, "a.onnx")
    assert found.get("later") == [1, {"a": None}]
    assert "checked" not in found
    assert found["preprocessing"] == RECORD["preprocessing"]
