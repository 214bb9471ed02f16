"""Readers of detectors and segmenters, compiled and run: the same input and the same result as `phonecv predict`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundles.dense_cases import CASES, NAMES, Made, made, record_of
from bundles.drivers import THRESHOLD, driver
from bundles.languages import faults, kotlin
from bundles.test_readers import picture
from conftest import mostly_long
from opened import open_detector, open_segmenter
from phonecv.bundles.languages import LANGUAGES
from phonecv.bundles.readers import write_readers
from phonecv.bundles.room import bundling_of
from phonecv.data.pictures.reading import planes
from phonecv.dense.inputs import prepare
from phonecv.detect.detections import decode_masks
from phonecv.detect.finding import find
from phonecv.detect.verbs import OpeningOptions
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing

#: Width and height: of the files' shape, high, smaller than the input, and long.
SIZES = ((192, 128), (75, 131), (40, 33), (300, 40))

#: Runs a program with each of these arguments; what it printed.
Program = Callable[[list[list[str]]], list[str]]

#: What `phonecv predict` finds, by case and picture: the same for every language.
PREDICTED: dict[tuple[str, int], Any] = {}


def reader_files(record: Any, name: str) -> dict[str, str]:
    return bundling_of(record).reader_files(record, name)


def why_no_readers(record: Any) -> str:
    return bundling_of(record).why_no_readers(record)


def same_as_predicted(program: Program, case: str, file: Made, folder: Path) -> int:
    """Assert that a program's inputs and results are ours; how many objects or classes there were."""
    images = [picture(*size) for size in SIZES]
    asked = []
    for number, image in enumerate(images):
        (folder / f"pixels{number}").write_bytes(image.convert("RGBA").tobytes())
        asked.append([str(folder / f"pixels{number}"), *map(str, image.size), str(folder / f"input{number}")])
    program(asked)
    for number, (image, arguments) in enumerate(zip(images, asked, strict=True)):
        outputs = file.run(same_input(folder / f"input{number}", file.record, planes(image)))
        names = [str(folder / f"output{number}-{place}") for place in range(len(outputs))]
        for name, output in zip(names, outputs, strict=True):
            np.ascontiguousarray(output[0]).tofile(name)
        arguments += [str(folder / f"result{number}"), *names]
    found = 0
    for number, (image, printed) in enumerate(zip(images, program(asked), strict=True)):
        said = printed.splitlines()
        assert said[-1] == (file.record["classes"] or ["0"])[0]
        same, predicted = (same_map, labels) if file.record["task"] == "segment" else (same_objects, objects)
        if (case, number) not in PREDICTED:
            PREDICTED[case, number] = predicted(file, planes(image))
        found += same(folder / f"result{number}", said, PREDICTED[case, number])
    return found


def same_input(path: Path, record: Mapping[str, Any], image: torch.Tensor) -> np.ndarray:
    height, width, used_height, used_width = np.fromfile(path, np.int32, 4).tolist()
    canvas = None if record["dynamic_size"] else tuple(record["input_size"])
    wanted = prepare([image], DensePreprocessing.from_dict(record["preprocessing"]), canvas=canvas)
    assert wanted.sizes == ((used_height, used_width),)
    channels = record["inputs"][0]["shape"][0]
    assert wanted.batch.shape == (1, channels, height, width)
    batch, scale = wanted.batch[0], 1.0
    if record["input_range"] != "normalised":
        mean, std = (torch.tensor(record["preprocessing"][name])[:, None, None] for name in ("mean", "std"))
        batch, scale = (batch * std + mean) * 255, 60.0
    values = np.fromfile(path, np.float32, offset=16)
    last = record["report"]["inputs"][0]["layout"] in ("NHWC", "RGB picture")
    values = values.reshape((height, width, channels) if last else (channels, height, width))
    assert batch.std() > 0.1  # a picture, not a gray plane
    np.testing.assert_allclose(values, batch.permute(1, 2, 0) if last else batch, rtol=1e-4, atol=2e-5 * scale)
    return values


def labels(file: Made, image: torch.Tensor) -> np.ndarray:
    return open_segmenter(file.path)([image])[0].numpy()


def same_map(path: Path, said: list[str], wanted: np.ndarray) -> int:
    got = np.fromfile(path, np.uint16).reshape(wanted.shape)
    assert np.mean(got != wanted) < 1e-3  # two logits may be equal but for rounding
    counts = np.bincount(got.reshape(-1), minlength=len(NAMES))
    np.testing.assert_allclose(np.array(said[0].split(), float), counts / got.size, atol=1e-5)
    return int(np.count_nonzero(counts))


def objects(file: Made, image: torch.Tensor) -> Any:
    ((found, _),) = find(open_detector(file.path, options=OpeningOptions(threshold=THRESHOLD)), [image], THRESHOLD)
    return found


def same_objects(path: Path, said: list[str], wanted: Any) -> int:
    got = np.fromfile(path, np.float32).reshape(-1, 7)
    assert got[:, 0].tolist() == wanted.labels.tolist()
    np.testing.assert_allclose(got[:, 1], wanted.scores, atol=1e-5)
    np.testing.assert_allclose(got[:, 2:6], wanted.boxes, atol=1e-2, rtol=1e-4)
    if wanted.masks:
        areas = decode_masks(wanted.masks).flatten(1).sum(1).numpy()
        np.testing.assert_allclose(got[:, 6], areas, atol=2)
        assert areas.max() > 10
    return len(got)


def written(folder: Path, record: Mapping[str, Any]) -> None:
    for name, text in reader_files(record, "m").items():
        (folder / name).write_text(text, encoding="utf-8")


#: Cases whose readers are run in the default set: a map of classes, boxes to choose from, objects, masks.
RUN = ("logits of any size", "logits of gray pictures", "SSDLite boxes, baked", "Mask R-CNN")


@pytest.mark.parametrize("case", mostly_long(CASES, *RUN))
def test_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    file = made(CASES[case], tmp_path, monkeypatch)
    written(tmp_path, file.record)
    (tmp_path / "main.cpp").write_text(driver("C++", file.record), encoding="utf-8")
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    def program(asked: list[list[str]]) -> list[str]:
        commands = ([str(tmp_path / "main"), *arguments] for arguments in asked)
        return [subprocess.run(one, check=True, capture_output=True, text=True).stdout for one in commands]

    assert same_as_predicted(program, case, file, tmp_path) > 5


@pytest.mark.parametrize("case", mostly_long(CASES, *RUN))
def test_javascript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine")
    node = found
    file = made(CASES[case], tmp_path, monkeypatch)
    written(tmp_path, file.record)
    (tmp_path / "main.mjs").write_text(driver("JavaScript", file.record), encoding="utf-8")

    def program(asked: list[list[str]]) -> list[str]:
        command = [node, str(tmp_path / "main.mjs"), json.dumps(asked)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.split("--\n")[:-1]

    assert same_as_predicted(program, case, file, tmp_path) > 5


@pytest.mark.slow
def test_kotlin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases in one go: starting the compiler takes longer than compiling."""
    compiler = kotlin()
    records, starts = {}, []
    for number, (name, case) in enumerate(CASES.items()):
        (tmp_path / str(number)).mkdir()
        with monkeypatch.context() as patch:
            records[name] = made(case, tmp_path / str(number), patch).record
        for source, text in (
            ("reader", reader_files(records[name], "m")["PhonecvReader.kt"]),
            ("main", driver("Kotlin", records[name])),
        ):
            (tmp_path / f"{source}{number}.kt").write_text(f"package case{number}\n{text}", encoding="utf-8")
        starts.append(f'"{number}" -> case{number}.run(rest)')
    (tmp_path / "start.kt").write_text(
        "fun main(all: Array<String>) {\n  val rest = all.drop(1)\n  when (all[0]) {\n    "
        + "\n    ".join(starts)
        + "\n  }\n}\n"
    )
    compiler.compile(sorted(tmp_path.glob("*.kt")), tmp_path / "all.jar")
    path = os.pathsep.join(map(str, (tmp_path / "all.jar", compiler.runtime)))
    for number, (name, case) in enumerate(CASES.items()):
        folder = tmp_path / f"{number}-run"
        folder.mkdir()
        with monkeypatch.context() as patch:
            file = made(case, folder, patch)

            def program(asked: list[list[str]], number: int = number) -> list[str]:
                command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", path, "StartKt"]
                printed = []
                for arguments in asked:
                    done = subprocess.run(
                        [*command, str(number), *arguments], capture_output=True, encoding="utf-8", env=os.environ
                    )
                    assert done.returncode == 0, done.stderr
                    printed.append(done.stdout)
                return printed

            assert same_as_predicted(program, name, file, folder) > 5, name


@pytest.mark.parametrize("language", ["Kotlin", "Swift"])
@pytest.mark.parametrize("case", mostly_long(CASES, *RUN, "RetinaNet raw of any size"))
def test_syntax(case: str, language: str) -> None:
    text = reader_files(record_of(case), "m")[LANGUAGES[language].file]
    assert faults(language, text) == []
    broken = text.replace("preprocess(pixels: ", "preprocess pixels: ").replace("preprocess(_ ", "preprocess _ ")
    assert faults(language, broken)  # the parser notices a mistake


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_numbers_of_the_record_are_in_every_source(case: str, language: str) -> None:
    record = record_of(case)
    text = reader_files(record, "a */ b\nc")[LANGUAGES[language].file]
    assert not re.search(r"@[A-Z_]+@|^//(if|end|include)", text, re.MULTILINE)
    assert "a  b c" in text
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)
    spec = record["preprocessing"]
    wanted: list[Any] = [*spec["mean"], *spec["std"]]
    wanted += [spec["size"], spec["longest"]] if record["dynamic_size"] else record["input_size"]
    decoding = record["decoding"]
    if record["task"] == "detect":
        wanted.append(decoding["score_threshold"])
        if decoding["kind"] != "final":
            wanted += [decoding["nms_overlap"], decoding["candidates"], decoding["max_detections"]]
            wanted += [float(stride) for stride in decoding["anchors"]["strides"]]
    numbers = set(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text))
    assert {repr(value) for value in wanted} <= numbers
    assert (len(NAMES) if record["task"] == "segment" else 3) == record["num_classes"]


def test_names_are_strings_in_every_language() -> None:
    assert LANGUAGES["Kotlin"].string('$a "b"\\ \n\x07c') == '"\\$a \\"b\\"\\\\ ?c"'
    assert LANGUAGES["Swift"].string("$a größe") == '"$a größe"'


def test_files_that_are_read_alike_share_their_readers(tmp_path: Path) -> None:
    record: Any = dict(record_of("classes"))
    other = record | {"file": "b.tflite", "report": {"inputs": [{"layout": "NHWC"}]}}
    third = record | {"file": "c.onnx", "precision": "fp16"}
    sets, unread = write_readers([record, other, third], tmp_path / "bundle")
    assert [(one.folder, one.served) for one in sets] == [
        ("readers/a.onnx", ("a.onnx", "c.onnx")),
        ("readers/b.tflite", ("b.tflite",)),
    ]
    assert unread == {}
    assert "input of a.onnx, c.onnx" in (tmp_path / "bundle/readers/a.onnx/PhonecvReader.kt").read_text()


def test_files_that_no_reader_serves(tmp_path: Path) -> None:
    record: Any = dict(record_of("logits of baked pixels"))
    assert why_no_readers(record) == ""
    windows = record | {"decoding": {"kind": "raw", "windows": [48, 32]}}
    assert "slides windows of 48 pixels every 32" in why_no_readers(windows)
    assert "does not tell the shapes" in why_no_readers(record | {"test": {}})
    sets, unread = write_readers([windows], tmp_path / "bundle")
    assert (sets, list(unread)) == ([], ["a.onnx"])
    classifier = {"outputs": ["logits"], "input_size": [64, 96]}
    assert "square crops" in why_no_readers(classifier)
    assert "feature maps" in why_no_readers(classifier | {"outputs": ["stage1", "stage2"]})


def test_a_record_that_contradicts_itself() -> None:
    record: Any = dict(record_of("SSDLite raw"))
    record["decoding"] = record["decoding"] | {"maps": [[1, 1]] * len(record["decoding"]["maps"])}
    with pytest.raises(UserError, match="tells of 36 anchors"):
        reader_files(record, "m")
