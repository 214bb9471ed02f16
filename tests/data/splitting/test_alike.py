"""What belongs together: equal pictures, those saved anew, copies by name, frames of one film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from phonecv.data.samples import write_scenes
from phonecv.data.splitting.alike import together


def photograph(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Smooth colours with some structure: different seeds, different pictures."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def groups_of(files: dict[str, Image.Image], folder: Path) -> tuple[list[set[str]], tuple[str, ...]]:
    for name, image in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    found = together([folder / name for name in files], [*files])
    groups: dict[int, set[str]] = {}
    for name, group in zip(files, found.groups, strict=True):
        groups.setdefault(group, set()).add(name)
    return [group for group in groups.values() if len(group) > 1], found.notes


def test_copies_however_they_were_saved(tmp_path: Path) -> None:
    files = {f"{seed}.png": photograph(seed) for seed in range(12)}
    files |= {
        "a/same.bmp": photograph(0),
        "half.jpg": photograph(1).resize((80, 60)),
        "jpeg.jpg": photograph(2),
        "brighter.png": ImageEnhance.Brightness(photograph(3)).enhance(1.01),
        "white.png": Image.new("RGB", (40, 40), "white"),
        "gray.png": Image.new("RGB", (40, 40), "gray"),
    }
    groups, notes = groups_of(files, tmp_path)
    pairs = [{"0.png", "a/same.bmp"}, {"1.png", "half.jpg"}, {"2.png", "jpeg.jpg"}, {"3.png", "brighter.png"}]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, pairs))
    assert notes == ()


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["IMG_1.png", "IMG_1 (1).png", "IMG_1 copy.png", "IMG_2.png"],
         [{"IMG_1.png", "IMG_1 (1).png", "IMG_1 copy.png"}]),
        (["cat (1).png", "cat (2).png"], []),  # Windows numbers what is renamed at once like this
        (["a_jpg.rf.0123456789ab.png", "a_jpg.rf.ba9876543210.png", "b_jpg.rf.0123456789ab.png"],
         [{"a_jpg.rf.0123456789ab.png", "a_jpg.rf.ba9876543210.png"}]),
        (["x/film1_frame_01.png", "x/film1_frame_02.png", "x/film2_frame_01.png"],
         [{"x/film1_frame_01.png", "x/film1_frame_02.png"}]),
        (["v_Jump_g01_c01.png", "v_Jump_g01_c02.png", "v_Jump_g02_c01.png"],
         [{"v_Jump_g01_c01.png", "v_Jump_g01_c02.png"}]),
        (["x/1.png", "y/1.png"], []),
    ],
)  # fmt: skip
def test_names_tell(names: list[str], groups: list[set[str]], tmp_path: Path) -> None:
    assert groups_of({name: photograph(seed) for seed, name in enumerate(names)}, tmp_path)[0] == groups


def test_one_camera_is_cut_into_runs(tmp_path: Path) -> None:
    """100 pictures of one thing can't be all on one side; copies among them still are."""
    files = {f"{number}.png": photograph(0) for number in range(3)}
    still = np.asarray(photograph(1)).astype(int)
    for number in range(3, 100):
        noise = np.random.default_rng(number).integers(-3, 4, still.shape)
        files[f"{number}.png"] = Image.fromarray((still + noise).clip(0, 255).astype(np.uint8))
    files["200.png"] = files["50.png"]
    groups, notes = groups_of(files, tmp_path)
    assert max(map(len, groups)) <= 11
    assert any({"50.png", "200.png"} <= group for group in groups)
    assert any({"0.png", "1.png", "2.png"} == group for group in groups)
    assert "too much alike" in notes[0]


def test_unlike_pictures_stay_apart(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=40, val=0)
    files = sorted((tmp_path / "images").rglob("*.jpg"))
    assert len(files) == 40
    found = together(files, [path.name for path in files])
    assert len(set(found.groups)) == 40
    assert together(files, [path.name for path in files], picture=None).groups == list(range(40))
