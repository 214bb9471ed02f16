"""Lists of clips as other programs write them, and what an audit says of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import phonecv
from phonecv.data.clips.listing import read_clips
from video.conftest import bar, save_frames

NAMES = ("jump 1", "jump 2", "wave one", "wave 7")
RIGHT = ([*NAMES], [0, 0, 1, 1], [6] * 4)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of six frames, of the last of which one is missing from the middle."""
    root = tmp_path_factory.mktemp("frames")
    for name in NAMES:
        save_frames(bar(0, right=True, frames=6 + (name == NAMES[-1])), root / name)
    (root / NAMES[-1] / "3.png").unlink()
    return root


def listed(root: Path, frames: Path, *lines: str, name: str = "train.txt") -> Path:
    """A data set whose two lists have these lines."""
    root.mkdir(exist_ok=True)
    (root / "clips").symlink_to(frames)
    for split in ("train", "val"):
        (root / name.replace("train", split)).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("blank", [" ", "\t", ",", ", ", ";"])
@pytest.mark.parametrize("header", ["", "path{0}frames{0}label", "Folder{0}num_frames{0}class"])
@pytest.mark.parametrize("labels", [(0, 0, 1, 1), ("jumping jacks",) * 2 + ("waving",) * 2])
def test_folder_frames_label(
    tmp_path: Path, frames: Path, blank: str, header: str, labels: tuple[int | str, ...]
) -> None:
    lines = [f"clips/{name}{blank}6{blank}{label}" for name, label in zip(NAMES, labels, strict=True)]
    head = [header.format(blank)] if header else []
    listing = read_clips(listed(tmp_path / "data", frames, *head, *lines))
    names = [sample.path.name for sample in listing.samples]
    assert (names, listing.labels.tolist(), [*(listing.frames or ())]) == RIGHT
    assert listing.classes == (("jumping jacks", "waving") if isinstance(labels[0], str) else ("0", "1"))


def test_names_that_end_in_numbers_are_no_frames(tmp_path: Path, frames: Path) -> None:
    listing = read_clips(listed(tmp_path / "data", frames, '"clips/jump 1" 0', "clips/wave 7 1"))
    assert ([sample.path.name for sample in listing.samples], listing.frames) == (["jump 1", "wave 7"], None)


def test_lists_of_kinetics_name_files_by_video_and_times(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for name in ("a_b_000001_000011", "-c_000010_000020"):
            (tmp_path / split / f"{name}.mp4").write_bytes(b"no video")
        lines = f"label,youtube_id,time_start,time_end,split\nbrush teeth,a_b,1,11,{split}\nwave,-c,10.0,20,{split}\n"
        (tmp_path / f"{split}.csv").write_text(lines)
    listing = read_clips(tmp_path)
    assert [sample.path.name for sample in listing.samples] == ["a_b_000001_000011.mp4", "-c_000010_000020.mp4"]
    assert listing.classes == ("brush teeth", "wave")
    report = phonecv.audit(tmp_path)
    assert report.layouts == ("lists of clips (video)",)
    assert {finding.kind for finding in report.findings} == {"unreadable"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["clips/jump 1 9 0", "clips/wave one 6 1"], ("frames", "the list says 9 frames, there are 6")),
        (["clips/jump 1 6 0", "clips/wave 7 6 1"], ("gap", "1 frame is missing, the first after 2.png")),
        (["clips/jump 1 6 0", "clips/none 6 1"], ("list", "no such file: clips/none")),
        (["clips/jump 1 6 0", "clips/wave one 6 x"], ("list", "label x is not a whole number")),
        (["clips/jump 1 6 1", "clips/wave one 6 2"], ("one-based", "they seem to be counted from 1")),
        (["clips/jump 1 6 0", "clips/wave one 6 1", "clips/wave one 6 1"], ("repeated-line", "is already on line 2")),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, frames: Path, lines: list[str], said: tuple[str, str]) -> None:
    report = phonecv.audit(listed(tmp_path / "data", frames, *lines), task="video")
    kind, message = said
    assert {finding.kind for finding in report.findings} == {kind}
    assert all(message in finding.message for finding in report.findings)
