"""Networks that take anything but one batch of pictures: several named tensors, or clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import phonecv
from mixing.network import CLASSES, FRAMES, SIZE, STEPS, Clips, Mixer
from phonecv.benchmarking import run
from phonecv.benchmarking.candidates import Job
from phonecv.benchmarking.opening import open_subject
from phonecv.benchmarking.plan import plan
from phonecv.benchmarking.subject import network_subject
from phonecv.benchmarking.worker import time_all
from phonecv.errors import UserError
from phonecv.exporting import ExportResult
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.inputs import Input, check_taken, last_layout, made_up
from phonecv.exporting.opening import open_file, open_session
from phonecv.exporting.room import exporting_of
from phonecv.task import TASKS, Task

OTHERS = ("openvino", "litert", "coreml", "executorch")
NETWORKS = {"mixer": Mixer, "clips": Clips}


@pytest.fixture(scope="module", autouse=True)
def row() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "mix", Task("mix", "a mixer", "mixing"))
        yield


@pytest.fixture(scope="module")
def exported(row: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], ExportResult]:
    """A network's file in a format, written once."""

    @cache
    def write(name: str, format: str) -> ExportResult:
        if EXPORTERS[format].missing():
            pytest.skip(f"{format} is not installed")
        return phonecv.export(network(name), tmp_path_factory.mktemp(name) / f"net{EXPORTERS[format].suffix}")

    return write


def network(name: str) -> Mixer | Clips:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def rows(name: str, count: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(1)
    if name == "clips":
        return (random.normal(size=(count, 3, FRAMES, SIZE, SIZE)).astype(np.float32),)
    return (
        random.normal(size=(count, 4, SIZE, SIZE)).astype(np.float32),
        random.uniform(0, STEPS - 1, count).astype(np.float32),
        random.integers(0, CLASSES + 1, count, dtype=np.int32),
    )


FORMATS = ["onnx", "pt2", *(pytest.param(name, marks=(pytest.mark.slow, pytest.mark.long)) for name in OTHERS)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_files_agree(name: str, format: str, exported: Callable[[str, str], ExportResult]) -> None:
    """Run on rows that the export did not see, and look at the record and what the app is tested with."""
    if (name, format) == ("clips", "executorch"):  # it has no convolution over three axes
        with pytest.raises(UserError, match="fails when ExecuTorch runs it"):
            exported(name, format)
        return
    result = exported(name, format)
    assert result.difference is not None
    given = rows(name, 3)
    with torch.inference_mode():
        wanted = network(name)(*map(torch.from_numpy, given)).numpy()
    session = open_session(result.path)
    np.testing.assert_allclose(session(*given)[0], wanted, rtol=1e-3, atol=1e-4)
    record = json.loads(result.record.read_text())
    assert session.record.get("inputs", record["inputs"]) == record["inputs"]
    held = load_file(result.path.parent / record["test"]["inputs"])
    (found,) = session(*(held[one["name"]] for one in record["inputs"]))
    (expected,) = record["test"]["outputs"].values()
    np.testing.assert_allclose(found.ravel(), expected["values"], rtol=1e-3, atol=1e-4)


def test_a_clip_of_pixels(tmp_path: Path) -> None:
    made = network("clips")
    path = phonecv.export(made, tmp_path / "net.onnx", bake=True).path
    (clip,) = rows("clips", 2)
    with torch.inference_mode():
        wanted = made(torch.from_numpy(clip).clamp(-1, 1)).numpy()
    found = open_file(path).outputs(torch.from_numpy(clip).clamp(-1, 1), made.preprocessing)
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-3, atol=1e-4)


def test_a_record_of_other_inputs_is_refused(tmp_path: Path) -> None:
    given = [one.to_dict() for one in exporting_of(TASKS["mix"]).inputs(network("mixer"), SIZE, SIZE)]
    record: FileRecord = {"inputs": given}
    shapes: dict[str, Any] = {"noisy": (None, 4, SIZE, SIZE), "timesteps": (None,), "classes": (None,)}
    assert check_taken(tmp_path, shapes, record) == (None, (SIZE, SIZE))
    for wrong in (shapes | {"noisy": (None, 3, SIZE, SIZE)}, {"noisy": shapes["noisy"]}, {}):
        with pytest.raises(UserError, match=r"its record says noisy \['B', 4, 8, 8\], timesteps"):
            check_taken(tmp_path, wrong, record)
    with pytest.raises(UserError, match="a network of ours takes one batch of pictures"):
        check_taken(tmp_path, shapes, {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixer", {"bake": True}, "takes no pixels to normalise"),
        ("mixer", {"images": "pictures"}, "takes no pictures"),
        (
            "mixer",
            {"precision": "int8", "calibration": np.zeros((8, 4, 8, 8), np.float32)},
            "int8 files find their ranges on pictures",
        ),
        ("clips", {"dynamic_size": True, "size": 64}, "takes one size"),
        ("mixer", {"size": 16}, "takes one size"),
        ("clips", {"format": "ncnn"}, "cannot be written as ncnn: files for ncnn take one picture"),
    ],
)
def test_what_only_pictures_can_be_asked_for(
    name: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "pictures" / "a.png")
    if EXPORTERS[options.get("format", "onnx")].missing():
        pytest.skip("not installed")
    suffix = EXPORTERS[options.get("format", "onnx")].suffix
    with pytest.raises(UserError, match=message):
        phonecv.export(network(name), tmp_path / f"net{suffix}", **options)


def here(job: Job, folder: Path) -> dict[str, Any]:
    """What the timing process does with what it is handed."""
    job.write(folder / "job.json")
    return time_all(Job.read(folder / "job.json"))


@pytest.mark.parametrize("name", NETWORKS)
def test_files_and_networks_are_timed(
    name: str, exported: Callable[[str, str], ExportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "start_worker", here)
    subjects = [
        network_subject(network(name), name="made", form="deploy"), open_subject(str(exported(name, "onnx").path))
    ]  # fmt: skip
    assert subjects[0].macs == subjects[1].macs
    entries, _ = plan(subjects, runtimes=["eager", "onnxruntime"], precisions=["float32"], layout="nchw", device="cpu")
    timed, _ = run.measure(entries, baseline=entries[0].label, batches=[1, 5], threads=[1], rounds=2, peaks=False)
    assert len(timed) == 6
    assert max(row.difference for row in timed) < 1e-4


def test_axes_as_phones_keep_them() -> None:
    assert [
        last_layout(Input("x", shape, kind))
        for shape, kind in (((3, 8, 8), "pictures"), ((3, 4, 8, 8), "clips"), ((4, 8, 8), "latents"), ((), "timesteps"))
    ] == ["NHWC", "NTHWC", "NCHW", "N"]


def test_made_up_values_stay_in_their_range() -> None:
    noise, steps, classes = made_up(exporting_of(TASKS["mix"]).inputs(network("mixer"), SIZE, SIZE), 200)
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert 0 <= steps.min() < 20 < STEPS - 20 < steps.max() < STEPS
    assert classes.dtype == torch.int32
    assert set(classes.tolist()) == set(range(CLASSES + 1))


def test_info_names_the_inputs(exported: Callable[[str, str], ExportResult]) -> None:
    path = exported("mixer", "pt2").path
    said = dict(phonecv.info(str(path)).fields())["input"]
    assert said == "noisy 4x8x8 float32, timesteps number float32, classes number int32, any batch"
