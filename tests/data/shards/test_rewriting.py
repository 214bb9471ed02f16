"""Data sets written in another layout: shards that WebDataset reads too, folders, COCO."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import phonecv
from data.picture_files import noise
from data.shards.test_shards import _cache as _cache
from phonecv.data.coco.paths import undivided
from phonecv.data.coco.reader import read_coco
from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, count in (("train", 5), ("val", 2)):
        for kind, name in enumerate(("n01 cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise(seed=100 * kind + number + (50 if split == "val" else 0)).save(
                    root / split / name / f"{number}.x.PNG"
                )
    return root


def contents(listing: Listing) -> dict[bytes, str]:
    from phonecv.data.pictures.opening import open_image

    return {open_image(sample.path).tobytes(): listing.classes[sample.label] for sample in listing.samples}


def test_to_shards_and_back(photos: Path, tmp_path: Path) -> None:
    done = phonecv.convert_data(photos, tmp_path / "shards")
    assert done.pictures == {"train": 10, "val": 4}
    assert sorted(path.name for path in done.folder.iterdir()) == ["classes.txt", "train-00000.tar", "val-00000.tar"]
    back = phonecv.convert_data(done.folder, tmp_path / "folders", to="folders")
    assert back.files == 15
    for split in ("train", "val"):
        wanted = contents(read_split(photos, split))
        assert contents(read_split(done.folder, split)) == contents(read_split(back.folder, split)) == wanted
    names = read_split(done.folder, "train").names
    assert names != sorted(names), "shuffled"
    with pytest.raises(UserError, match="not empty"):
        phonecv.convert_data(photos, tmp_path / "shards")
    with pytest.raises(UserError, match="no boxes"):
        phonecv.convert_data(photos, tmp_path / "coco", to="coco")


def test_shards_have_a_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number + 9 * (name == "b")).integers(0, 256, (400, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    done = phonecv.convert_data(tmp_path / "data", tmp_path / "shards", shard_size=1)
    assert [path.name for path in sorted(done.folder.glob("*.tar"))] == [f"data-{n:05}.tar" for n in range(3)]
    assert done.files == 4
    assert len(read_split(done.folder, "all")) == 8


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves the file open
def test_webdataset_reads_ours_and_we_read_its(photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    done = phonecv.convert_data(photos, tmp_path / "shards")
    urls = str(done.folder / "train-00000.tar")
    theirs = {}
    for one in webdataset.WebDataset(urls, shardshuffle=False):
        picture = Image.open(io.BytesIO(one["png"])).convert("RGB")
        theirs[picture.tobytes()] = read_split(done.folder, "train").classes[int(one["cls"])]
    assert theirs == contents(read_split(photos, "train"))
    with webdataset.ShardWriter(
        str(tmp_path / "w" / "x-train-%04d.tar").replace("/w/", "/"), maxcount=4, verbose=0
    ) as sink:
        listing = read_split(photos, "train")
        for place, sample in enumerate(listing.samples):
            sink.write({"__key__": f"s{place:03}", "png": sample.path.read_bytes(), "cls": sample.label})
    (tmp_path / "classes.txt").write_text("\n".join(listing.classes) + "\n")
    ours = read_split(tmp_path, "train", list_file="x-train-{0000..0002}.tar")
    assert contents(ours) == contents(listing)


def test_boxes_become_coco(tmp_path: Path) -> None:
    """A CSV of boxes; pictures keep their bytes, boxes their numbers."""
    root = tmp_path / "csv"
    (root / "images").mkdir(parents=True)
    for number in range(2):
        noise((64, 48), seed=number).save(root / "images" / f"{number}.png")
    lines = [
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        "images/0.png,64,48,cat,1,2,11,22",
        "images/1.png,64,48,dog,5,5,25,15",
    ]
    (root / "annotations.csv").write_text("\n".join(lines) + "\n")
    whole = undivided(root)
    assert whole is not None
    done = phonecv.convert_data(root, tmp_path / "coco", to="coco")
    assert done.pictures == {"all": 2}
    content = json.loads((done.folder / "annotations.json").read_text())
    assert sorted(one["bbox"] for one in content["annotations"]) == [[1, 2, 10, 20], [5, 5, 20, 10]]
    again = undivided(done.folder)
    assert again is not None
    assert read_coco(again).class_counts.tolist() == [1, 1]
    assert all(path.is_file() for path in (read_coco(again).path(place) for place in range(2)))
