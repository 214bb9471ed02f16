"""A classifier of clips through every verb of the command line: train, eval, predict, watch, fuse, info, report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

import phonecv
from conftest import mostly_long
from exporting.fake_formats import fake
from phonecv.create import load_network
from phonecv.data.clips.transforms import EvalClips
from phonecv.data.samples import save_clip
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS
from phonecv.training import load_config, train
from phonecv.training.schedule import Schedule
from phonecv.video import predict as video_predict
from phonecv.video.opening import VideoRunner
from video.conftest import CLASSES, SIDE, TINY, bar

SETTINGS = {
    "model": {"name": "emov2_1m", "drop_path": 0.0, "overrides": TINY | {"layer_scale": 0.1}},
    "video": {"architecture": "v_emov2", "dropout": 0.0},
    "clips": {"rand_augment": None, "scale": [0.9, 1.0], "hflip": 0.0, "resize": 1.0},
    "data": {"size": SIDE, "batch_size": 4, "workers": 0},
    "optimizer": {"lr": 0.01, "lr_batch": 0},
    "schedule": {"epochs": 10, "warmup_epochs": 1, "scale_ends": False},
    "ema": {"enabled": False},
    # Thirty steps leave BatchNorm far from settled.
    "run": {"device": "cpu", "threads": 1, "amp": "none", "log_every": 1, "precise_bn": 24},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(json.dumps(SETTINGS))
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training by the command line."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", str(recipe), "--data", str(clips), "--out", str(out)]) == 0
    return out


def main(arguments: Sequence[str]) -> int:
    from phonecv.cli import main as run

    return run(arguments)


def test_training_leaves_a_page_and_a_file_that_says_what_it_is(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "report.html" in {path.name for path in trained.iterdir()}
    assert main(["info", str(trained / "best.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "video classifier, v_emov2" in said
    assert "left, right" in said


def test_eval_averages_crops_and_leaves_a_page(trained: Path, clips: Path, tmp_path: Path) -> None:
    best, out = str(trained / "best.safetensors"), tmp_path / "out"
    assert main(["eval", best, "--data", str(clips), "--out", str(out), "--crops", "2"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["task"], summary["count"]) == ("video", 6)
    assert {"report.html", "confusion.png", "worst.png", "per_class.csv"} <= {path.name for path in out.iterdir()}
    assert summary["top1"] >= 5


def test_crops_are_averaged_as_probabilities(trained: Path, clips: Path) -> None:
    from phonecv.opening import open_runner

    runner = open_runner(trained / "best.safetensors", "video")
    assert isinstance(runner, VideoRunner)
    reader = EvalClips(runner.preprocessing, runner.frames, 3)
    batch = reader.normalise(reader.read(clips / "val" / "left" / "00").image[None])
    views = torch.cat([runner(view).softmax(1) for view in batch.chunk(3, 2)])
    torch.testing.assert_close(runner(batch).softmax(1), views.mean(0, keepdim=True))


def test_predict_videos_and_folders(trained: Path, clips: Path, tmp_path: Path) -> None:
    best = trained / "best.safetensors"
    one, other = phonecv.predict(best, [clips / "val" / "right" / "01.mp4", clips / "val" / "left" / "00"], topk=1)
    assert (one.labels, other.labels) == (("right",), ("left",))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (bad,) = phonecv.predict(best, tmp_path / "bad.mp4", out=tmp_path / "out")
    assert "not a video" in bad.error
    assert len(phonecv.predict(best, clips / "val", out=tmp_path / "out")) == 6
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "predictions.csv", "predictions.json", "predictions.png",
    }  # fmt: skip


def test_a_camera_is_watched(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no camera here: a film stands in for it where it would be opened."""
    way = bar(7, right=True, frames=17)  # two seconds, as long as is looked back; then it stands
    save_clip([*way, *way[-1:] * 7], tmp_path / "film.mp4")
    monkeypatch.setattr(video_predict, "open_stream", lambda av, source, camera: av.open(str(tmp_path / "film.mp4")))
    answers: list[dict[str, Any]] = []
    (watched,) = phonecv.predict(
        trained / "best.safetensors",
        [],
        camera="0",
        span=2.0,
        every=0.25,
        out=tmp_path / "out",
        on_frame=answers.append,
    )
    assert [answer["time"] for answer in answers] == [2.0, 2.25, 2.5, 2.75]
    assert answers[0]["predictions"][0]["label"] == "right"
    lines = (tmp_path / "out" / "camera-0-classes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == answers
    assert watched.answers == 4


def test_fuse(trained: Path, clips: Path, tmp_path: Path) -> None:
    fused = tmp_path / "fused.safetensors"
    assert main(["fuse", str(trained / "best.safetensors"), str(fused)]) == 0
    one, other = (phonecv.predict(path, clips / "val", topk=2) for path in (trained / "best.safetensors", fused))
    for mine, theirs in zip(one, other, strict=True):
        assert dict(zip(mine.labels, mine.probabilities, strict=True)) == pytest.approx(
            dict(zip(theirs.labels, theirs.probabilities, strict=True)), abs=1e-4
        )


def test_a_run_that_stopped_goes_on_to_the_same_weights(
    recipe: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, settings = tmp_path / "whole", [f"data.path={clips}", "schedule.epochs=2"]
    train(load_config(str(recipe), [*settings, f"run.out={whole}"]))
    parts = tmp_path / "parts"
    config = load_config(str(recipe), [*settings, f"run.out={parts}", "run.save_every=1"])
    calls = iter(range(100))
    original = Schedule.set

    def stopping(self: Schedule, step: int) -> float:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(Schedule, "set", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    train(config)
    one, other = (phonecv.load_checkpoint(None, folder / "last.safetensors").state_dict() for folder in (whole, parts))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"video.frames": 6}, "video.frames=6 is not 1, 2 or a multiple of 4"),
        ({"data.longest": 99}, "data.longest"),
        ({"clips.hflip": 2}, "clips.hflip"),
        ({"model.name": "mobileone_s0", "model.overrides": "{}"}, "v_mobileone_s0"),
    ],
)
def test_mistakes_are_said_before_work(
    recipe: Path, clips: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    overrides = [
        f"data.path={clips}",
        f"run.out={tmp_path / 'out'}",
        *(f"{name}={one}" for name, one in changed.items()),
    ]
    with pytest.raises(UserError, match=message):
        train(load_config(str(recipe), overrides))
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_clips_that_cannot_be_read_are_told_and_passed_over(recipe: Path, clips: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(clips, data)
    (data / "val" / "left" / "bad.mp4").write_bytes(b"no video at all" * 4)
    overrides = [f"data.path={data}", f"run.out={tmp_path / 'out'}", "schedule.epochs=1", "schedule.warmup_epochs=0"]
    train(load_config(str(recipe), [*overrides, "data.max_bad=0.2", "run.audit=false"]))
    assert "bad.mp4" in (tmp_path / "out" / "bad_images.csv").read_text()


def test_classes_are_named_by_the_data(trained: Path) -> None:
    assert phonecv.read_checkpoint(trained / "best.safetensors").classes == CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("suffix", mostly_long(["fake", "pt2", "onnx", "tflite", "mlpackage"], "fake"))
def test_export_is_checked_and_evaluated(
    trained: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setitem(EXPORTERS, "fake", fake())
    best, file = trained / "best.safetensors", tmp_path / f"clips.{suffix}"
    assert main(["export", str(best), str(file)]) == 0
    record = json.loads((tmp_path / f"clips.{suffix}.json").read_text())
    assert (record["task"], record["outputs"], record["inputs"][0]["shape"]) == (
        "video",
        ["logits"],
        [3, 4, SIDE, SIDE],
    )
    assert record["checked"]["difference"] < 1e-4
    mine, theirs = (phonecv.predict(path, clips / "val", topk=2) for path in (best, file))
    for one, other in zip(mine, theirs, strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-3)
    assert phonecv.evaluate(file, clips, crops=2).count == 6


@pytest.mark.slow
@pytest.mark.long
def test_bundle(trained: Path, tmp_path: Path) -> None:
    best = str(trained / "best.safetensors")
    assert main(["bundle", best, str(tmp_path / "app"), "--to", "onnx", "--licence", "ours"]) == 0
    readme = (tmp_path / "app" / "README.md").read_text()
    assert "4, the middle ones of 4 equal parts" in readme
    assert "prepare every frame by the steps above" in readme
    expected = json.loads((tmp_path / "app" / "expected.json").read_text())
    clip = torch.from_numpy(load_file(tmp_path / "app" / expected["inputs"])["clip"])
    with torch.inference_mode():
        shares = load_network(best, task="video").eval()(clip).softmax(1)[0].tolist()
    assert {one["label"]: one["probability"] for one in expected["best"]} == pytest.approx(
        dict(enumerate(shares)), abs=1e-5
    )


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_take_the_same_clips(recipe: Path, clips: Path, tmp_path: Path) -> None:
    arguments = ["train", str(recipe), "--data", str(clips), "schedule.epochs=1", "schedule.warmup_epochs=0"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--devices", "2"]) == 0
    assert phonecv.read_checkpoint(tmp_path / "out" / "last.safetensors").task == "video"
