"""One contract of runners, whatever the task and whatever names the model; what a file says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import phonecv
from conftest import TINY
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting import opening as sessions
from phonecv.exporting.job import Session
from phonecv.exporting.record import read_record, record_path
from phonecv.models.headed import Network
from phonecv.opening import Runner, open_runner, record_of, task_of
from phonecv.task import TASKS
from phonecv.verbs import Opening
from phonecv.weights import Loading


def network_of(task: str) -> Network:
    """A tiny network for each task, on the same backbone."""
    torch.manual_seed(0)
    backbone = TINY["mobileone_s0"]
    if task == "classify":
        return phonecv.create_model("mobileone_s0", num_classes=3, **backbone).eval()
    if task == "detect":
        size = {"size": 64}
        return phonecv.create_detector("ssdlite320", "mobileone_s0", num_classes=3, options=size, **backbone).eval()
    if task == "generate":
        return phonecv.create_generator("d_emov2_digits", num_classes=3, width=32, depth=1).eval()
    if task == "video":
        return phonecv.create_video_classifier("v_emov2_1m", num_classes=3, **TINY["emov2_1m"]).eval()
    options = {"channels": 8, "neck_channels": 8}
    return phonecv.create_segmenter("semantic_fpn", "mobileone_s0", num_classes=3, options=options, **backbone).eval()


@pytest.mark.parametrize("task", TASKS)
def test_a_network_and_its_checkpoint_become_the_same_runner(task: str, tmp_path: Path) -> None:
    network = network_of(task)
    network.class_names = ("a", "b", "c")
    path = phonecv.save_checkpoint(network, tmp_path / "model.safetensors")
    for model in (network, path, str(path)):
        runner = open_runner(model, task, Opening("cpu"))
        assert isinstance(runner, Runner)
        assert task_of(model) == task_of(runner) == runner.task == task
        assert (runner.num_classes, runner.classes, runner.class_names) == (3, ("a", "b", "c"), ("a", "b", "c"))
        assert runner.description.endswith("training form, PyTorch on cpu")
        assert runner.preprocessing == network.preprocessing
        assert open_runner(runner, task) is runner
    assert record_of(path) == json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_what_is_for_another_task_is_refused(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(name for name in TASKS if name != task)
    network = network_of(other)
    runner = open_runner(network, other, Opening("cpu"))
    noun, wanted = TASKS[other].noun, TASKS[task].title
    for model in (network, phonecv.save_checkpoint(network, tmp_path / "a.safetensors"), runner):
        with pytest.raises(UserError, match=f"is {noun}.* a {wanted}"):
            open_runner(model, task)
    file = tmp_path / "a.tflite"
    file.write_bytes(b"")
    record_path(file).write_text(json.dumps({"task": other}))
    monkeypatch.setattr(sessions, "open_session", lambda path: Session(lambda x: [x], "none", record=read_record(path)))
    with pytest.raises(UserError, match=f"a.tflite is for the task '{other}'; this needs '{task}'"):
        open_runner(file, task)


def test_a_file_gets_pixels_where_it_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def run(images: np.ndarray) -> list[np.ndarray]:
        seen.append(images)
        return [np.zeros((len(images), 3), np.float32)]

    record = {"model": "m", "preprocessing": {"size": 8}, "input_range": "pixels 0..255"}
    path = tmp_path / "m.onnx"
    record_path(path).write_text(json.dumps(record))
    monkeypatch.setattr(sessions, "open_session", lambda file: Session(run, "none", record=read_record(file)))
    runner = open_runner(path, "classify")
    spec = runner.preprocessing
    pixels = torch.randint(0, 256, (2, 3, 8, 8)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    runner((pixels / 255 - mean) / std)
    np.testing.assert_allclose(seen[-1], pixels.numpy(), atol=1e-3)
    assert runner.description == "m, unknown form, none"


def test_nothing_else_says_anything(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, foreign := tmp_path / "foreign.safetensors")
    save_file({"a": torch.zeros(1)}, broken := tmp_path / "broken.safetensors", {"phonecv": "{"})
    (noise := tmp_path / "noise.safetensors").write_bytes(b"noise")
    (torch_file := tmp_path / "a.pth").write_bytes(b"noise")
    record_path(torch_file).write_text(json.dumps({"task": "detect"}))
    for path in (foreign, broken, noise, torch_file):
        assert record_of(path) == {}
        assert task_of(path) == "classify"
    assert record_of(tmp_path / "absent.onnx") == record_of(tmp_path) == {}
    with pytest.raises(UserError, match=r"is a folder; give a checkpoint in it: .*/a.pth' or .*/broken.safetensors'"):
        task_of(tmp_path)
    with pytest.raises(UserError, match="there is no file"):
        task_of(tmp_path / "absent.onnx")


def test_what_to_take_of_a_checkpoint() -> None:
    loading = Loading.of({"ema": True, "strict": True, "window": 10})
    assert loading == Loading(ema=True, overrides={"window": 10})
    assert loading.given == ["ema", "window"]
    assert Loading().given == []


def test_a_name_that_is_no_checkpoint_says_what_is_wanted() -> None:
    with pytest.raises(UserError, match="is a classifier, not a detector; give the path of a detector's checkpoint"):
        load_network("emo_1m", task="detect")
    with pytest.raises(UserError, match="is a Linear; this needs a classifier of ours"):
        load_network(nn.Linear(1, 1))  # type: ignore[call-overload]
