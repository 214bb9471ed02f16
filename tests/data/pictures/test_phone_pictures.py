"""HEIC and AVIF, which phones and web sites write: read by content, or named and counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.folders.listing import read_split
from phonecv.data.pictures import opening as images
from phonecv.data.pictures.opening import ImageError, open_image, probe_image


def save(path: Path, picture: Image.Image, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(picture).save(path, quality=95, chroma=444, format="HEIF")
    else:
        picture.save(path, kind, quality=95)
    return path


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the package."""
    monkeypatch.setattr(images, "_HEIF_READERS", ("no_such_package",))
    images.can_read_heif.cache_clear()


@pytest.fixture(autouse=True)
def looked_for_again() -> Iterator[None]:
    yield
    images.can_read_heif.cache_clear()


@pytest.mark.parametrize(("kind", "name"), [("HEIF", "IMG_1.HEIC"), ("HEIF", "lies.jpg"), ("AVIF", "a.avif")])
def test_they_are_read_whatever_they_are_called(tmp_path: Path, kind: str, name: str) -> None:
    picture = noise((64, 48))
    path = save(tmp_path / name, picture, kind)
    assert probe_image(path) == (kind, 64, 48)
    found = open_image(path)
    assert (found.mode, found.info) == ("RGB", {})
    assert np.abs(np.asarray(found).astype(int) - np.asarray(picture)).mean() < 3


def test_turned_pictures_stand_upright_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise((64, 48))
    picture.save(tmp_path / "a.avif", exif=exif)
    assert open_image(tmp_path / "a.avif").size == (48, 64)
    heif = pytest.importorskip("pillow_heif")
    picture.info["exif"] = exif.tobytes()
    heif.from_pillow(picture).save(tmp_path / "a.heic")
    size = open_image(tmp_path / "a.heic").size
    with Image.open(tmp_path / "a.heic") as whole:
        assert size == whole.size, "libheif has turned it already"


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    for kind, name in (("HEIF", "a.heic"), ("AVIF", "a.avif")):
        path = save(tmp_path / name, noise(), kind)
        for keep in (300, len(path.read_bytes()) - 100):
            (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[:keep])
            with pytest.raises(ImageError, match="damaged"):
                open_image(tmp_path / "cut.jpg")


@pytest.mark.usefixtures("without_heif")
def test_without_the_package_they_are_counted_and_refused(tmp_path: Path) -> None:
    heic = save(tmp_path / "a.heic", noise(), "HEIF")
    with pytest.raises(ImageError, match=r"HEIC picture, which needs one more package: pip install 'phonecv\[heic\]'"):
        open_image(heic)
    for split in ("train", "val"):
        for name in ("a", "b"):
            save(tmp_path / f"data/{split}/{name}/1.jpg", noise(seed=len(split) + ord(name)), "JPEG")
    for number in range(3):
        shutil.copy(heic, tmp_path / f"data/train/a/{number}.HEIC")
    (problem,) = read_split(tmp_path / "data", "train").problems
    assert problem.severity == "error"
    assert "3 of 5 pictures are HEIC" in problem
    assert any("3 of 5 pictures" in finding.message for finding in audit(tmp_path / "data", quick=True).errors)
    # The name alone is no reason.
    for number in range(3):
        shutil.copy(tmp_path / "data/train/a/1.jpg", tmp_path / f"data/train/a/{number}.HEIC")
    assert read_split(tmp_path / "data", "train").problems == ()
    assert len(read_split(tmp_path / "data", "train")) == 5


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture, not"),
        (b"\xff\x0a\xfa\x1f\x41\x91\x08\x06\x01\0", "a bare JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\x01" + bytes(20), "Photoshop"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01", "RAW picture of a camera"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "a video"),
        (b"\x93NUMPY\x01\0v\0", "NumPy"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
    ],
)
def test_other_kinds_are_called_by_their_name(tmp_path: Path, start: bytes, words: str) -> None:
    (tmp_path / "a.jpg").write_bytes(start + bytes(range(128, 256)))
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_header_that_announces_more_than_the_file_holds(tmp_path: Path, progressive: bool) -> None:
    picture = tmp_path / "a.jpg"
    noise().save(picture, progressive=progressive)
    data = bytearray(picture.read_bytes())
    place = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[place + 5 : place + 9] = (9000).to_bytes(2) * 2
    picture.write_bytes(data)
    with pytest.raises(ImageError, match=r"damaged picture \(its header announces 9000 x 9000 pixels in"):
        open_image(picture)
    # The emptiest intact file is far from that.
    Image.new("L", (4000, 4000)).save(picture, optimize=True, progressive=progressive)
    assert open_image(picture).size == (4000, 4000)


def test_endless_passes_are_refused(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    Image.new("L", (3000, 3000)).save(picture, progressive=True)
    data = picture.read_bytes()
    last = data.rindex(b"\xff\xda")
    picture.write_bytes(data[:last] + data[last:-2] * 400 + data[-2:])
    with pytest.raises(ImageError, match="passes over 9,000,000 pixels would take too long"):
        open_image(picture)
