from __future__ import annotations

import contextlib
import csv
import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.picture_files import noise
from phonecv.data.pictures.opening import (
    MAX_PIXELS,
    VARIABLE,
    ImageError,
    find_images,
    most_pixels,
    open_image,
    printable,
    probe_image,
)
from phonecv.errors import UserError


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(parts)


def header(width: int, height: int, depth: int = 8, color: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore
    return buffer.getvalue()


GOOD = encoded(noise(), "JPEG")

REFUSED = {
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"hello\nworld\n", "text, not a picture"),
    "page.jpg": (b"<!DOCTYPE html><html></html>", "web page"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
    "noise.jpg": (bytes(range(128, 256)) * 9, "not a picture in a format"),
    "cut.jpg": (GOOD[: len(GOOD) // 2], "damaged"),
    "start.jpg": (GOOD[:20], "damaged"),
    "huge.png": (png(header(65535, 65535), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")), "too large"),
    "big.png": (png(header(12000, 12000, 1, 0), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")), "too large"),
    "over.png": (png(header(MAX_PIXELS + 1, 1), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")), "too large"),
    "bomb.png": (
        png(header(1, 1), (b"zTXt", b"a\0\0" + zlib.compress(b"a" * 20_000_000)), (b"IDAT", zlib.compress(bytes(4)))),
        "damaged",
    ),
    "float.tiff": (encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "floating point"),
    "wide.tiff": (encoded(Image.fromarray(np.full((4, 4), -5, np.int32)), "TIFF"), "outside 0..65535"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    data, words = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        open_image(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_files_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, words in {
        "absent": "no such file",
        "folder": "a folder",
        "dangling": "points nowhere",
        "loop": "read",
    }.items():
        with pytest.raises(ImageError, match=words):
            open_image(tmp_path / f"{name}.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_content_decides_the_type(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(encoded(noise(), kind))
    image = open_image(path)
    assert (image.mode, image.size, image.info) == ("RGB", (40, 32), {})
    assert probe_image(path) == (kind, 40, 32)
    if kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(np.asarray(image), np.asarray(noise()))


def test_transparency_is_composed_onto_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    rgba.putpixel((1, 0), (200, 0, 0, 0))
    rgba.save(tmp_path / "rgba.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette_bytes.png", transparency=b"\xff\x00")
    gray = Image.new("LA", (2, 1), (200, 255))
    gray.putpixel((1, 0), (7, 0))
    gray.save(tmp_path / "gray.png")
    for name in ("rgba", "palette", "palette_bytes"):
        image = open_image(tmp_path / f"{name}.png")
        assert [image.getpixel((x, 0)) for x in (0, 1)] == [(200, 0, 0), (255, 255, 255)]
    assert [open_image(tmp_path / "gray.png").getpixel((x, 0)) for x in (0, 1)] == [(200,) * 3, (255,) * 3]


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None]
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert np.array_equal(np.asarray(open_image(tmp_path / "ramp.png"))[0, :, 0], ramp[0] >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.asarray(noise())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        path = tmp_path / f"picture.{kind}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, kind, exif=exif)
        image = open_image(path)
        assert np.array_equal(np.asarray(image), upright)
        assert not image.getexif()


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(np.random.default_rng(0).integers(0, 256, 300).tolist()))
    noise().save(tmp_path / "b.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 9)
    assert open_image(tmp_path / "a.jpg").size == open_image(tmp_path / "b.jpg").size == (40, 32)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_programs_are_never_started(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ImageError, match="text"):
        open_image(tmp_path / "a.jpg")


def test_errors_survive_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Path("a b.jpg"), "empty file")))
    assert (str(error), error.path, error.reason) == ("a b.jpg: empty file", Path("a b.jpg"), "empty file")


def test_damaged_files_raise_nothing_else(tmp_path: Path) -> None:
    """Flip bytes of good files at random: always a picture or an ImageError."""
    random, path = np.random.default_rng(0), tmp_path / "fuzz"
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        good = np.frombuffer(encoded(noise((16, 12)), kind), np.uint8)
        for _ in range(60):
            data = good.copy()
            places = random.integers(0, min(len(data), 200), random.integers(1, 5))
            data[places] = random.integers(0, 256, len(places))
            path.write_bytes(data[: random.integers(1, len(data) + 1)].tobytes())
            with contextlib.suppress(ImageError):
                assert open_image(path, max_pixels=1_000_000).mode == "RGB"


def test_printable() -> None:
    assert printable("plain ü 日本.jpg") == "plain ü 日本.jpg"
    assert printable("line\nbreak\x1b[0m.jpg") == "line\\x0abreak\\x1b[0m.jpg"
    assert printable("caf\udce9.jpg") == "caf\\xe9.jpg"
    printable("caf\udce9.jpg").encode()


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.JPEG", "sub/c.png", ".hidden.jpg", ".cache/d.jpg", "notes.txt", "bare", "[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "loop").symlink_to("..")
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert names == ["[1].jpg", "a.JPEG", "b.jpg", "sub/c.png"]
    assert find_images(tmp_path / "bare") == [tmp_path / "bare"]
    assert find_images(tmp_path / "[1].jpg") == [tmp_path / "[1].jpg"]
    assert [path.name for path in find_images(f"{tmp_path}/**/*")] == ["[1].jpg", "a.JPEG", "b.jpg", "c.png"]
    assert [path.name for path in find_images(f"{tmp_path}/**/sub/*.png")] == ["c.png"]
    assert [path.name for path in find_images(f"{tmp_path}/*.[jJ]*")] == ["[1].jpg", "a.JPEG", "b.jpg"]
    for pattern in ("*.txt", "none*", "absent.jpg"):
        with pytest.raises(UserError):
            find_images(tmp_path / pattern)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        find_images(tmp_path / "empty")


def test_opening_needs_no_torch() -> None:
    names = ("pictures.opening", "folders.listing", "audit", "folders.augment", "samples")
    modules = ", ".join(f"phonecv.data.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def outcome(path: Path) -> Image.Image | ImageError:
    try:
        return open_image(path)
    except ImageError as error:
        return error


def test_hostile_pictures(shared_dir: Path) -> None:
    folder = shared_dir / "data/hostile"
    with (folder / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith("images/")]
    assert len(rows) >= 35
    expected_sizes = {
        "exif_orientation_6": (120, 160),
        "one_by_one": (1, 1),
        "one_by_n": (1, 300),
        "n_by_one": (3000, 1),
    }
    scanned = {path.name for path in find_images(folder / "images")}
    for row in rows:
        path, wanted = folder / row["path"], row["expected"]
        if "folder scan" in wanted:
            assert (path.name in scanned) == ("found by folder scan" in wanted), row
        if "ignored by folder scan" in wanted:
            continue
        result = outcome(path)
        if isinstance(result, ImageError):
            assert path.name in str(result)
            assert any(word in wanted for word in ("report", "refused", "message")), (row, result)
            continue
        assert not wanted.startswith(("report", "refused quickly")), row
        assert result.mode == "RGB"
        assert result.size == expected_sizes.get(path.stem, (160, 120))
        if path.stem == "gray16":
            assert np.asarray(result).std() > 20, "neither black nor white"


def test_orientation_changes_no_reference_picture(shared_dir: Path) -> None:
    paths = find_images(shared_dir / "data/imagenet-samples/val")
    assert len(paths) == 200
    for path in paths:
        with Image.open(path) as image:
            assert image.getexif().get(0x0112, 1) in (0, 1)


def test_the_limit_of_pixels_is_the_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert most_pixels() == 89_478_485
    monkeypatch.setenv(VARIABLE, "200e6")
    assert most_pixels() == 200_000_000
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(UserError, match="PHONECV_MAX_PIXELS='many' is not a number of pixels"):
        most_pixels()


@pytest.mark.long
def test_a_picture_beyond_the_usual_limit(tmp_path: Path) -> None:
    """In a process of its own, since the limit is settled when the package is imported."""
    Image.new("L", (14000, 13500)).save(tmp_path / "a.png")  # twice Pillow's own limit, and more
    script = "import sys; from phonecv.data.pictures.opening import open_image; print(open_image(sys.argv[1]).size)"
    for limit, said in (("", "too large"), ("190e6", "(14000, 13500)")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "a.png")],
            env=os.environ | {VARIABLE: limit},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said in done.stdout + done.stderr
