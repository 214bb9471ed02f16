"""Clips from videos, folders of frames and lists: which frames are taken, how they are prepared, what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import phonecv
from phonecv.data.audit import audit
from phonecv.data.clips.augment import ClipAugment
from phonecv.data.clips.listing import read_clips
from phonecv.data.clips.reading import find_clips, places, read_frames, scan_clips
from phonecv.data.clips.transforms import EvalClips, TrainClips
from phonecv.data.loading.loader import seeded
from phonecv.data.pictures.opening import ImageError
from phonecv.data.samples import DIRECTIONS, save_clip, write_clips
from phonecv.errors import UserError
from phonecv.preprocessing import Preprocessing
from video.conftest import FRAMES, SIDE, bar, save_frames

SPEC = Preprocessing(SIDE, 1.0, "bilinear", mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))


def test_one_frame_of_each_part() -> None:
    assert places(100, 4, shaken=False) == [12, 37, 62, 87]
    assert places(4, 4, shaken=False) == [0, 1, 2, 3]
    assert places(2, 4, shaken=False) == [0, 0, 1, 1]
    random.seed(0)
    taken = np.array([places(100, 4, shaken=True) for _ in range(300)])
    assert (taken // 25 == np.arange(4)).all()
    assert len(np.unique(taken)) > 90


def test_videos_and_folders_give_the_same_frames(tmp_path: Path) -> None:
    frames = bar(0, right=True, frames=11, width=48)
    save_clip(frames, tmp_path / "film.mp4")
    save_frames(frames, tmp_path / "frames")
    for path in (tmp_path / "film.mp4", tmp_path / "frames"):
        taken = read_frames(path, 4)
        for picture, place in zip(taken, places(11, 4, shaken=False), strict=True):
            difference = np.abs(np.asarray(picture, int)[..., 1] - np.asarray(frames[place], int)[..., 1])
            assert difference.mean() < (16 if path.suffix else 0.01)


def test_short_clips_repeat_frames(tmp_path: Path) -> None:
    save_frames(bar(0, right=True, frames=2), tmp_path / "two")
    one, other, *_ = (np.asarray(picture) for picture in read_frames(tmp_path / "two", 4))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "an empty file"), (b"no video" * 20, "not a video that can be read"), (None, "no frame|without frames")],
)
def test_what_is_no_clip_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / ("bad.mp4" if content is not None else "empty")
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_frames(path, 4)


def test_a_video_that_is_cut_off_is_said(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    random_frames = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)) for i in range(30)
    ]
    save_clip(random_frames, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut off|cannot be read|damaged"):
        read_frames(path, 4)
    # The index at the front, as of videos from the web: all frames are promised, half of them are there.
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        for frame in random_frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut off|cannot be read|damaged"):
        read_frames(path, 4)


def test_crops_lie_evenly_along_the_long_side(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 3 * SIDE).astype(np.uint8)[None, :, None], (SIDE, 1, 3))
    save_frames([Image.fromarray(ramp)] * 4, tmp_path / "wide")
    views = EvalClips(SPEC, 4, 3).read(tmp_path / "wide").image
    assert views.shape == (3, 12, SIDE, SIDE)
    for view, start in zip(views.chunk(3, 1), (0, SIDE, 2 * SIDE), strict=True):
        wanted = torch.from_numpy(ramp[:, start : start + SIDE]).permute(2, 0, 1)
        assert all(torch.equal(frame, wanted) for frame in view.unbind(1))
    assert torch.equal(EvalClips(SPEC, 4).read(tmp_path / "wide").image, views[:, 4:8])
    normalised = EvalClips(SPEC, 4).normalise(views[None])
    torch.testing.assert_close(normalised, (views[None].float() - 114.75) / 57.375, atol=1e-5, rtol=1e-5)


def train_clip(path: Path, augment: ClipAugment, number: int) -> Tensor:
    with seeded(0, number):
        return TrainClips(augment, SPEC, 4).read(path).image


def test_all_frames_are_changed_alike_and_by_the_seed(tmp_path: Path) -> None:
    still = bar(3, right=True)[:1] * 6
    save_frames(still, tmp_path / "still")
    for number in range(6):
        clip = train_clip(tmp_path / "still", ClipAugment(), number)
        assert clip.shape == (3, 4, SIDE, SIDE)
        assert clip.dtype == torch.uint8
        assert all(torch.equal(frame, clip[:, 0]) for frame in clip.unbind(1))
        assert torch.equal(clip, train_clip(tmp_path / "still", ClipAugment(), number))
    assert not torch.equal(clip, train_clip(tmp_path / "still", ClipAugment(), 9))


def test_without_flips_right_stays_right(tmp_path: Path) -> None:
    save_frames(bar(3, right=True), tmp_path / "clip")
    augment = ClipAugment(resize=1.0, rand_augment=None, scale=(0.9, 1.0), hflip=0.0)
    for number in range(5):
        clip = train_clip(tmp_path / "clip", augment, number).float().mean((0, 2))
        found = clip.argmax(1)
        assert (found.diff() >= 0).all()
        assert found[-1] > found[0]


@pytest.mark.parametrize(
    "bad", [{"scale": (0.5, 0.2)}, {"hflip": 2.0}, {"resize": 0.5}, {"rand_augment": (0, 7)}, {"ratio": (0.0, 1.0)}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(UserError, match=f"clips.{next(iter(bad))}"):
        ClipAugment(**bad)  # type: ignore[arg-type]


def test_folders_and_lists_name_the_same_clips(clips: Path, tmp_path: Path) -> None:
    listing = read_clips(clips, "train")
    assert (len(listing), listing.classes) == (12, ("left", "right"))
    root = tmp_path / "listed"
    (root / "data").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "data" / split).symlink_to(clips / split)
        samples = read_clips(clips, split).samples
        lines = [f"data/{sample.path.relative_to(clips).as_posix()} {sample.label}\n" for sample in samples]
        (root / f"{split}.txt").write_text("".join(lines))
    listed = read_clips(root, "train")
    assert [sample.path.name for sample in listed.samples] == [sample.path.name for sample in listing.samples]
    assert listed.labels.tolist() == listing.labels.tolist()
    assert phonecv.audit(root).layouts == ("lists of clips (video)",)


def test_find_and_scan(clips: Path) -> None:
    assert len(list(scan_clips(clips))) == 18
    assert find_clips(clips / "val" / "left" / "00") == [clips / "val" / "left" / "00"]
    assert len(find_clips(clips / "val")) == 6
    with pytest.raises(UserError, match="no such file"):
        find_clips(clips / "absent")


def test_audit_names_what_is_wrong(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("left", "right"):
            save_frames(bar(0, right=True, frames=5), tmp_path / split / name / "good")
    save_frames(bar(1, right=True, frames=2), tmp_path / "train" / "left" / "short")
    (tmp_path / "val" / "right" / "bad.mp4").write_bytes(b"nothing" * 9)
    for quick in (True, False):
        report = phonecv.audit(tmp_path, task="video", quick=quick)
        found = {(finding.kind, finding.severity, Path(finding.path).name) for finding in report.findings}
        assert found == {("short", "note", "short"), ("unreadable", "error", "bad.mp4")}
        assert report.splits["train"] == {"clips": 3, "classes": 2, "smallest": 1, "largest": 2}


def test_samples_move_where_their_class_says(tmp_path: Path) -> None:
    root = write_clips(tmp_path / "moving", train=0, val=8, size=48)
    listing = read_clips(root, "val", classes=tuple(DIRECTIONS))
    for sample in listing.samples:
        first, *_, last = (np.asarray(picture, float) for picture in read_frames(sample.path, FRAMES))
        # What has changed lies where the digit was and where it is now: brightness alone tells neither.
        changed = np.abs(last - first).max(2) > 60
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        tall, wide = np.ptp(rows), np.ptp(columns)
        assert (tall > wide) == (sample.path.parent.name in ("up", "down"))
    assert write_clips(root, train=0, val=8, size=48) == root


def test_pictures_that_lie_like_clips_are_audited_as_pictures(tmp_path: Path, clips: Path) -> None:
    """Pictures in folders of their classes, for which --task asks all the same; and a film among photographs."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for place in ("garden/a.png", "garden/b.png", "house/c.png"):
                path = tmp_path / "sorted" / split / name / place
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), len(str(path)) % 200, np.uint8)).save(path)
            (tmp_path / "phone" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "phone" / split / name / f"{split}{name}.png")
    save_clip(bar(0, right=True), tmp_path / "phone" / "train" / "cat" / "IMG_1.mp4")
    for folder in ("sorted", "phone"):
        assert audit(tmp_path / folder).layouts == ("class folders (classify)",)
    assert audit(tmp_path / "sorted", task="video").layouts == ("class folders of clips (video)",)
    (problem,) = audit(tmp_path / "phone", task="video").findings
    assert "no lists of clips or class folders of clips here, but class folders" in str(problem)
    assert "class folders of clips (video)" in audit(clips).layouts
