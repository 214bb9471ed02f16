"""Predictions of detectors: pictures, files, videos, and the face that finds them all."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import phonecv
from conftest import TINY, mostly_long
from detect.scenes import CLASSES, COLOURS, colour_runner
from phonecv.api import predict
from phonecv.data.clips.streams import is_video
from phonecv.data.pictures.ahead import read_pictures
from phonecv.detect import video
from phonecv.detect.detections import decode_masks
from phonecv.detect.opening import DetectRunner
from phonecv.detect.predict import write_predictions
from phonecv.detect.video import predict_video
from phonecv.errors import UserError
from settle import settle


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of two folders, two with one name, one broken."""
    folder = tmp_path / "photos"
    for number, name in enumerate(("a/one.png", "b/one.png", "b/two.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((80, 120, 3), 255, dtype=np.uint8)
        pixels[10:30, 20 : 60 + number] = COLOURS[0]
        pixels[50:70, 5:25] = COLOURS[2]
        Image.fromarray(pixels).save(folder / name, quality=100, subsampling=0)
    (folder / "b" / "broken.png").write_bytes(b"no picture at all")
    return folder


def test_objects_are_found_and_a_broken_picture_costs_no_other(photos: Path) -> None:
    predictions = predict(colour_runner(masks=True), photos)
    assert [prediction.path.name for prediction in predictions] == ["one.png", "broken.png", "one.png", "two.jpg"]
    first, broken = predictions[0], predictions[1]
    assert first.size == (120, 80)
    assert first.found.boxes.tolist() == [[20, 10, 60, 30], [5, 50, 25, 70]]
    assert [first.names[label] for label in first.found.labels] == ["ball", "cat"]
    assert first.found.masks is not None
    assert decode_masks(first.found.masks).sum((1, 2)).tolist() == [800, 400]
    assert "1 ball, 1 cat" in str(first)
    assert "text, not a picture" in broken.error
    assert broken.error in str(broken)
    assert broken.row()[-1] == broken.error
    assert first.row() == (str(first.path), 2, "0.90", "1 ball, 1 cat")


def test_the_threshold(photos: Path) -> None:
    path = photos / "a" / "one.png"
    for threshold, count in ((None, 2), (0.5, 2), (0.6, 1), (0.95, 0)):
        given: Any = threshold  # None stands for what is by default
        (prediction,) = predict(colour_runner(), path, threshold=given)
        assert len(prediction) == count
    assert str(prediction).endswith("nothing")
    with pytest.raises(UserError, match="threshold=-1"):
        predict(colour_runner(), path, threshold=-1)


@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "mask_rcnn_fpn"], "ssdlite320"))
def test_the_threshold_inside_a_network_changes_nothing_above(architecture: str, photos: Path) -> None:
    """A network told the threshold finds what remains of all it would find."""
    torch.manual_seed(0)
    backbone = phonecv.create_model("emov2_1m", num_classes=3, **TINY["emov2_1m"])
    options = {} if architecture == "ssdlite320" else {"size": 96, "longest": 128}
    model = phonecv.create_detector(architecture, "emov2_1m", num_classes=3, options=options, **TINY["emov2_1m"])
    model.backbone.load_state_dict(settle(backbone, size=64).state_dict(), strict=False)
    model.eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if not name.startswith("backbone"):  # fresh heads give nearly equal scores, whose order is anyone's guess
                values += 0.03 * torch.randn_like(values)
    path = photos / "a" / "one.png"
    (everything,) = predict(model, path, threshold=0.0)
    limit = float(np.median(everything.found.scores))
    (strong,) = predict(model, path, threshold=limit)
    rows = everything.found.scores >= limit
    assert 3 < rows.sum() < len(rows)
    np.testing.assert_allclose(strong.found.boxes, everything.found.boxes[rows], atol=1e-4)
    assert strong.found.labels.tolist() == everything.found.labels[rows].tolist()
    if strong.found.masks is not None:
        assert strong.found.masks == everything.found[rows].masks


def test_scores_that_are_no_numbers_are_left_out(photos: Path) -> None:
    def run(pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        found = [dict(one) for one in colour_runner().run(pictures)]
        for one in found:
            one["boxes"][0, 0] = torch.nan
        return found

    (prediction,) = predict(DetectRunner("broken", run, CLASSES), photos / "a" / "one.png")
    assert [prediction.names[label] for label in prediction.found.labels] == ["cat"]


def test_the_files(photos: Path, tmp_path: Path) -> None:
    predictions = predict(colour_runner(masks=True), [photos])
    out = write_predictions(predictions, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "coco.json", "coco_results.json", "one-2.jpg", "one.jpg", "predictions.csv", "predictions.json", "two.jpg",
    ]  # fmt: skip
    content = json.loads((out / "predictions.json").read_text())
    assert content["classes"] == list(CLASSES)
    entries = content["images"]
    assert [entry["drawn"] for entry in entries] == ["one.jpg", None, "one-2.jpg", "two.jpg"]
    assert entries[0]["detections"][0] | {"segmentation": None} == {
        "label": 0, "category": "ball", "bbox": [20, 10, 40, 20], "score": 0.9, "segmentation": None,
    }  # fmt: skip
    assert entries[0]["detections"][0]["segmentation"]["size"] == [80, 120]
    assert entries[1]["error"]
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows[:3]] == ["ball", "cat", ""]
    assert rows[2]["error"]
    with Image.open(out / "one.jpg") as drawn, Image.open(photos / "a" / "one.png") as plain:
        assert drawn.size == plain.size
        difference = np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max(2) > 60
    assert difference[10, 25:55].any()  # the edge of the first box
    assert not difference[:, 75:].any()


def test_names_are_told_apart_also_where_case_does_not_count(tmp_path: Path) -> None:
    for name in ("A.png", "a.bmp", "a-2.gif"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    out = write_predictions(predict(colour_runner(), tmp_path), tmp_path / "out")
    drawn = [entry["drawn"] for entry in json.loads((out / "predictions.json").read_text())["images"]]
    assert len({name.casefold() for name in drawn}) == 3


def test_the_public_function_goes_by_the_model(photos: Path, tmp_path: Path) -> None:
    predictions = phonecv.predict(colour_runner(), photos, threshold=0.6, out=tmp_path / "out")
    assert [len(prediction) for prediction in predictions] == [1, 0, 1, 1]
    assert (tmp_path / "out" / "predictions.json").is_file()
    with pytest.raises(UserError, match="topk is for a classifier"):
        phonecv.predict(colour_runner(), photos, topk=3)  # type: ignore[call-overload]
    with pytest.raises(UserError, match="no pictures"):
        phonecv.predict(colour_runner(), [])


def test_a_camera_is_for_detectors(tmp_path: Path) -> None:
    classifier = phonecv.create_model("emo_1m", num_classes=3, **TINY["emo_1m"])
    saved = phonecv.save_checkpoint(classifier, tmp_path / "classifier.safetensors")
    with pytest.raises(UserError, match="camera is for a detector"):
        predict(saved, [], camera="0")


# -------------------------------------------------------------------------------------------- videos

FRAMES = 12


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A ball that moves to the right, 7 pixels in each of 12 frames, 90 x 61 pixels, 10 frames per second."""
    return write_film(tmp_path / "film.mp4")


def write_film(path: Path, frames: int = FRAMES, codec: str = "mpeg4") -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 90, 62, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number in range(frames):
            pixels = np.full((62, 90, 3), 240, dtype=np.uint8)
            pixels[20:40, 7 * number : 7 * number + 10] = 20
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def dark_runner() -> DetectRunner:
    """Finds what is dark."""

    def run(pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for picture in pictures:
            inside = (picture < 100).all(0)
            if not inside.any():
                found.append({"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0).long()})
                continue
            rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
            boxes = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=torch.float32)
            found.append({"boxes": boxes, "scores": torch.tensor([0.8]), "labels": torch.tensor([0])})
        return found

    return DetectRunner("dark", run, ("ball",))


def read_film(path: Path) -> list[tuple[float, np.ndarray]]:
    import av

    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_every_frame_is_searched_written_and_drawn(film: Path, tmp_path: Path) -> None:
    told: list[int] = []
    result = predict_video(
        dark_runner(), film, out=tmp_path / "out", on_frame=lambda frame: told.append(frame["frame"])
    )
    assert result.frames == FRAMES
    assert result.objects == {"ball": FRAMES}
    assert not result.error
    assert told == list(range(FRAMES))
    assert result.lines is not None
    assert result.video is not None
    lines = [json.loads(line) for line in result.lines.read_text().splitlines()]
    assert [line["frame"] for line in lines] == told
    assert [line["time"] for line in lines] == pytest.approx([number / 10 for number in range(FRAMES)])
    lefts = [line["detections"][0]["bbox"][0] for line in lines]
    assert lefts == pytest.approx([7 * number for number in range(FRAMES)], abs=2)
    written = read_film(result.video)
    assert [time for time, _ in written] == pytest.approx([number / 10 for number in range(FRAMES)], abs=1e-3)
    for (_, before), (_, after) in zip(read_film(film), written, strict=True):
        assert after.shape == before.shape
        assert (np.abs(after.astype(int) - before).max(2) > 60).sum() > 20  # box and name
    assert f"{FRAMES} frames" in str(result)
    assert json.dumps(result.to_dict())


def test_only_one_frame_is_held(film: Path) -> None:
    """The decoder runs no further than what was asked for."""
    sizes: list[int] = []
    runner = dark_runner()
    counting = DetectRunner("one", lambda pictures: (sizes.append(len(pictures)), runner.run(pictures))[1], ("ball",))

    def stop(frame: dict[str, Any]) -> None:
        if frame["frame"] == 4:
            raise KeyboardInterrupt

    assert predict_video(counting, film, on_frame=stop).frames == 5
    assert sizes == [1] * 5


def test_odd_sides_are_filled_up(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "odd.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 91, 61, "bgr0"
        pixels = np.full((61, 91, 3), 240, dtype=np.uint8)
        pixels[20:40, 30:50] = 20
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    result = predict_video(dark_runner(), path, out=tmp_path / "out")
    assert result.video is not None
    assert read_film(result.video)[0][1].shape == (62, 92, 3)


def test_a_cut_file_keeps_what_can_be_read(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "whole.ts", 40, "mpeg2video")
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = predict_video(dark_runner(), cut, out=tmp_path / "out")
    assert 5 < result.frames < 40
    assert result.lines is not None
    assert len(result.lines.read_text().splitlines()) == result.frames


def test_ctrl_c_keeps_what_was_written(film: Path, tmp_path: Path) -> None:
    def stop(frame: dict[str, Any]) -> None:
        if frame["frame"] == 3:
            raise KeyboardInterrupt

    result = predict_video(dark_runner(), film, out=tmp_path / "out", on_frame=stop)
    assert "stopped" in result.error
    assert result.video is not None
    assert len(read_film(result.video)) == 4


def test_mistakes_with_videos(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    cases: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (tmp_path / "absent.mp4", {}, "no such file"),
        ("http://127.0.0.1:9/a.mp4", {}, "no such file"),
        (text, {}, "not a video that can be read"),
        ("/dev/video97", {"camera": True}, "no camera"),
        ("97", {"camera": True}, "no camera"),
    )
    for source, options, message in cases:
        with pytest.raises(UserError, match=message):
            predict_video(dark_runner(), source, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"phonecv\[video\]"):
        predict_video(dark_runner(), film)


def test_a_file_without_a_single_frame_leaves_nothing(tmp_path: Path, film: Path) -> None:
    content = bytearray(film.read_bytes())
    start = content.index(b"mdat") + 8
    end = content.find(b"moov")
    stop = end - 4 if end > start else len(content)
    content[start:stop] = bytes(stop - start)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mp4"):
        predict_video(dark_runner(), broken, out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_turned_films_stand_upright(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this av cannot write turned videos")
        stream.set_display_rotation(90)
        pixels = np.full((64, 96, 3), 240, dtype=np.uint8)
        pixels[5:15, 5:25] = 20  # upper left, lying
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    boxes: list[list[float]] = []
    predict_video(dark_runner(), path, on_frame=lambda frame: boxes.append(frame["detections"][0]["bbox"]))
    # Turned by a quarter against the clock: the upper left corner comes to the lower left, and lying to standing.
    assert boxes[0] == pytest.approx([5, 71, 10, 20], abs=2)


def write_frames(path: Path, times: Sequence[float], codec: str = "mpeg4") -> Path:
    """One frame at each of the times."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for moment in times:
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 240, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    """A screen recording, a phone in the dark: frames come when they come."""
    times = [0, 0.033, 0.066, 1, 1.033, 3, 3.033, 5]
    result = predict_video(dark_runner(), write_frames(tmp_path / "uneven.mp4", times), out=tmp_path / "out")
    assert result.lines is not None
    assert result.video is not None
    lines = [json.loads(line)["time"] for line in result.lines.read_text().splitlines()]
    assert lines == pytest.approx(times, abs=2e-3)
    assert [time for time, _ in read_film(result.video)] == pytest.approx(times, abs=2e-3)
    assert result.error == ""


def test_what_is_wrong_with_a_video_is_said(tmp_path: Path, film: Path) -> None:
    av = pytest.importorskip("av")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = film.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: content.index(b"moov") - 4])
    strange = write_frames(tmp_path / "strange.mkv", [0, 0.1])
    strange.write_bytes(strange.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_NEVER/HEARD/OF"[:15]))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    cases = {
        "sound.mp4": "no picture in this file, only sound or data",
        "cut.mp4": "index of the video is missing .* cut off; copy it again",
        "strange.mkv": "coded in a way that this build of av does not know; convert it to H.264",
        "empty.mp4": "an empty file",
        "folder.mp4": "a folder, not a video",
    }
    for name, message in cases.items():
        for run in (predict_video, lambda runner, source, out: predict(runner, [source], out=out)):
            with pytest.raises(UserError, match=rf"{name}: .*{message}"):
                run(dark_runner(), tmp_path / name, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    """Half of a file whose header gives the whole length."""
    whole = write_frames(tmp_path / "whole.mkv", [number / 5 for number in range(40)], "mpeg4")
    assert predict_video(dark_runner(), whole).error == ""
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = predict_video(dark_runner(), cut)
    assert 5 < result.frames < 35
    assert "s of 7.8 s: it is cut off or damaged" in result.error or "s of 8.0 s: it is cut off" in result.error


def test_videos_of_one_name_and_a_folder_of_videos(film: Path, tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "film.mp4").write_bytes(film.read_bytes())
    done = predict(dark_runner(), [tmp_path / "one/film.mp4", tmp_path / "two"], out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "film-detections.mp4", "film-detections.jsonl", "film-detections-2.mp4", "film-detections-2.jsonl",
    }  # fmt: skip
    assert [one.frames for one in done if isinstance(one, video.VideoDetections)] == [FRAMES, FRAMES]


def test_a_video_is_no_picture(film: Path) -> None:
    (batch,) = read_pictures([film], 1)
    assert batch.errors[0].startswith("a video, which `phonecv predict` reads with a detector")


def test_pictures_and_videos_together(photos: Path, film: Path, tmp_path: Path) -> None:
    done = predict(dark_runner(), [photos / "a", film], out=tmp_path / "out")
    assert [type(one).__name__ for one in done] == ["PictureDetections", "VideoDetections"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "one.jpg", "predictions.csv", "predictions.json", "coco.json", "coco_results.json",
        "film-detections.mp4", "film-detections.jsonl",
    }  # fmt: skip
    with pytest.raises(UserError, match=r"absent\.mp4"):
        predict(dark_runner(), [photos, tmp_path / "absent.mp4"])


def test_a_camera_is_opened_by_its_number(film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no camera here: a film stands in for it where it would be opened."""
    opened: list[tuple[str, dict[str, Any]]] = []

    def open_(av: Any, source: str, *, camera: bool) -> Any:
        opened.append((source, {"camera": camera}))
        return av.open(str(film))

    monkeypatch.setattr(video, "open_stream", open_)
    frames: list[dict[str, Any]] = []
    (result,) = predict(dark_runner(), [], camera="0", out=tmp_path / "out", on_frame=frames.append)
    assert opened == [("0", {"camera": True})]
    assert len(frames) == FRAMES
    assert (tmp_path / "out" / "camera-0-detections.mp4").is_file()
    assert not result.error


def test_videos_go_by_their_names() -> None:
    assert is_video("a/b.MP4")
    assert not is_video(Path("a.jpg"))
