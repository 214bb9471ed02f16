"""Partial decoding against decoding all: the same pixels, and the same complaints."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.picture_files import noise
from phonecv.data.pictures import turbojpeg as turbo
from phonecv.data.pictures.crops import MARGIN, open_part, turn_box
from phonecv.data.pictures.opening import ImageError, find_images, open_image

BOXES = [(0, 0, 200, 150), (0, 0, 1, 1), (199, 149, 200, 150), (31, 17, 130, 60), (8, 16, 24, 32), (0, 100, 200, 101)]


@pytest.fixture(params=["pillow", "turbojpeg"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test runs with Pillow alone, and with TurboJPEG where this machine has it."""
    turbo.load.cache_clear()
    if request.param == "pillow":
        monkeypatch.setenv(turbo.VARIABLE, "")
    elif turbo.load() is None:
        pytest.skip("no TurboJPEG 3 here")
    yield request.param
    turbo.load.cache_clear()


def picture(size: tuple[int, int] = (200, 150), mode: str = "RGB") -> Image.Image:
    """Smooth colours with grain, so that no two places look alike."""
    grain = np.random.default_rng(1).integers(-30, 31, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(noise(size)).astype(int) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def check(path: Path, boxes: list[tuple[int, int, int, int]] = BOXES) -> None:
    whole = open_image(path)
    for box in boxes:
        seen: list[tuple[int, int]] = []

        def choose(
            size: tuple[int, int],
            box: tuple[int, int, int, int] = box,
            seen: list[tuple[int, int]] = seen,
        ) -> tuple[int, int, int, int]:
            seen.append(size)
            return box

        part = open_part(path, choose)
        assert seen == [whole.size], "asked once, about the upright picture"
        assert part.box == (0, 0, box[2] - box[0], box[3] - box[1])
        assert np.array_equal(part.pixels, np.asarray(whole.crop(box))), box


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 20}])
def test_jpeg_equals_full_decoding(tmp_path: Path, subsampling: str, options: dict[str, object]) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, "JPEG", subsampling=subsampling, **options)  # type: ignore
    check(path)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpeg_modes(tmp_path: Path, mode: str) -> None:
    picture(mode=mode).save(tmp_path / "a.jpg", "JPEG")
    check(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_other_formats(tmp_path: Path, kind: str) -> None:
    picture().save(tmp_path / "a.dat", kind)
    check(tmp_path / "a.dat")


def test_transparency_and_sixteen_bits(tmp_path: Path) -> None:
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    rgba.save(tmp_path / "a.png")
    check(tmp_path / "a.png")
    Image.fromarray(np.linspace(0, 65535, 30000).astype(np.uint16).reshape(150, 200)).save(tmp_path / "b.png")
    check(tmp_path / "b.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (200, 150) if orientation < 5 else (150, 200)
    picture(size).save(tmp_path / "a", kind, exif=exif)
    check(tmp_path / "a")


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_turning_a_box(turn: Image.Transpose) -> None:
    image, box = picture(), (20, 30, 90, 70)
    turned = image.transpose(turn).crop(tuple(map(int, turn_box(box, image.size, turn))))  # pyrefly: ignore[bad-argument-type]
    assert np.array_equal(np.asarray(turned), np.asarray(image.crop(box).transpose(turn)))


def test_black_pictures_are_read_to_the_end(tmp_path: Path) -> None:
    Image.new("RGB", (200, 150)).save(tmp_path / "a.jpg")
    check(tmp_path / "a.jpg")


def test_bytes_after_the_picture(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    for extra in (b"camera data", bytes(100_000)):
        (tmp_path / "a.jpg").write_bytes(buffer.getvalue() + extra)
        check(tmp_path / "a.jpg")


@pytest.mark.parametrize("keep", [0.02, 0.4, 0.7, 0.98])
def test_a_file_that_breaks_off_is_reported_wherever_the_crop_lies(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ImageError) as whole:
        open_image(path)
    with pytest.raises(ImageError) as part:
        open_part(path, lambda _: (0, 0, 10, 150))
    assert str(part.value).split("(")[0] == str(whole.value).split("(")[0]


def test_damage_raises_nothing_else(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "a.jpg"
    picture((64, 48)).save(path, "JPEG")
    good = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        data = good.copy()
        places = random.integers(2, len(data), random.integers(1, 5))
        data[places] = random.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            part = open_part(path, lambda size: (0, 0, min(20, size[0]), min(20, size[1])))
        except ImageError:
            continue
        assert part.pixels.dtype == np.uint8


def test_large_crops_are_reduced_and_small_ones_are_not(tmp_path: Path) -> None:
    path, side = tmp_path / "a.jpg", 32
    image = noise((800, 600))
    image.save(path, "JPEG", quality=95)
    whole = open_image(path)
    for box in ((0, 0, 800, 600), (101, 53, 500, 451), (10, 20, 150, 200), (3, 5, 100, 69)):
        part = open_part(path, lambda _, box=box: box, side=side)
        least = min(box[2] - box[0], box[3] - box[1])
        reduced = (box[2] - box[0]) / (part.box[2] - part.box[0])
        assert reduced == max(scale for scale in (1, 2, 4, 8) if scale == 1 or least >= scale * MARGIN * side)
        small = Image.fromarray(part.pixels).resize((side, side), Image.Resampling.BILINEAR, box=part.box)
        exact = whole.resize((side, side), Image.Resampling.BILINEAR, box=box)
        assert np.abs(np.asarray(small).astype(int) - np.asarray(exact)).mean() < 1.5


def test_pillow_stops_reading_below_the_crop(tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if decoder != "pillow":
        pytest.skip("TurboJPEG stops by itself")
    from phonecv.data.pictures import crops as parts

    path, handed = tmp_path / "a.jpg", [0]
    picture((600, 600)).save(path, "JPEG", quality=95)
    read = parts._Feed.read

    def counting(self: parts._Feed, size: int | None = -1) -> bytes:
        data = read(self, size)
        handed[0] += len(data)
        return data

    monkeypatch.setattr(parts._Feed, "read", counting)
    open_part(path, lambda _: (0, 0, 600, 150))
    assert 0 < handed[0] < 0.4 * path.stat().st_size


def test_real_pictures(shared_dir: Path) -> None:
    random = np.random.default_rng(0)
    for path in find_images(shared_dir / "data/imagenet-samples/val")[::4]:
        whole = open_image(path)
        left, top = (int(random.integers(0, side // 2)) for side in whole.size)
        right, bottom = (int(random.integers(side // 2 + 1, side + 1)) for side in whole.size)
        check(path, [(left, top, right, bottom)])


def test_hostile_pictures_are_judged_alike(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "data/hostile/images").iterdir()):
        try:
            size, problem = open_image(path).size, ""
        except ImageError as error:
            size, problem = (1, 1), str(error)
        if problem:
            with pytest.raises(ImageError) as caught:
                open_part(path, lambda _: (0, 0, 1, 1))
            assert str(caught.value) == problem
        else:
            check(path, [(0, 0, *size)])  # pyrefly: ignore[bad-argument-type]


def test_a_damaged_file_leaves_the_decoder_whole(decoder: str) -> None:
    if decoder == "pillow":
        return
    file = io.BytesIO()
    picture((96, 80)).save(file, "JPEG")
    good = file.getvalue()
    header = turbo.read_header(good)
    assert header is not None
    wanted = turbo.decode_box(header, (8, 8, 60, 60))
    random, failures = np.random.default_rng(0), 0
    for _ in range(40):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[random.integers(2, 700, 4)] = random.integers(0, 256, 4)
        begun = turbo.read_header(damaged.tobytes())
        failures += begun is None or turbo.decode_box(begun, (0, 0, 8, 8)) is None
        again = turbo.decode_box(header, (8, 8, 60, 60))
        assert np.array_equal(again, wanted), "an intact file was left to Pillow"  # pyrefly: ignore
    assert failures > 10
