"""Pictures of classes by a generator, and the folder that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from phonecv.data.class_mapping import name_key
from phonecv.data.json_file import read_json_file
from phonecv.data.pictures.opening import is_image_name
from phonecv.errors import UserError, did_you_mean
from phonecv.files import atomic_path, check_writable, write_json
from phonecv.generating import Generation
from phonecv.generation.autoencoder import Autoencoder
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.pictures import save_grid, to_bytes, to_images
from phonecv.generation.sampling import sample
from phonecv.generation.verbs import GenerateOptions, Sampling
from phonecv.text import counted, printable_name, some_names
from phonecv.verbs import Steps

RECORD, GRID = "samples.json", "grid.png"

#: Pictures per step, of pixels and of latents on the way through an autoencoder.
BATCH, LATENT_BATCH = 32, 8


@dataclass(frozen=True, slots=True)
class Samples(Generation):
    """Pictures that a generator has made.

    Attributes:
        pictures: ``N 3 H W`` uint8.
        classes: number of each picture's class.
        names: of all classes.
        model: what made them, for people.
        options: that they were made with.
        seconds: that it took.
    """

    pictures: Tensor
    classes: tuple[int, ...]
    names: tuple[str, ...]
    model: str
    options: GenerateOptions
    seconds: float

    @property
    def images(self) -> list[Image.Image]:
        """The pictures, in order."""
        return to_images(self.pictures)

    def to_dict(self) -> dict[str, Any]:
        """See `Generation`."""
        options = {key: getattr(self.options, key) for key in ("sampler", "steps", "guidance", "seed")}
        if self.options.autoencoder is not None:
            options["autoencoder"] = str(self.options.autoencoder)
        made = [
            {"file": f"{number:06d}.png", "number": number, "class": label, "name": self.names[label]}
            for number, label in enumerate(self.classes)
        ]
        return {"model": self.model, **options, "seconds": round(self.seconds, 3), "pictures": made}

    def __str__(self) -> str:
        options, (height, width) = self.options, self.pictures.shape[2:]
        return (
            f"{counted(len(self.classes), 'pictures')} of {width} x {height} by {self.model}: {options.sampler},"
            f" {counted(options.steps, 'steps')}, guidance {options.guidance:g}, seed {options.seed};"
            f" {self.seconds:.1f} s"
        )


def generated(
    runner: GenerateRunner, steps: Steps, options: GenerateOptions, on_progress: Callable[[int, int], None] | None
) -> Samples:
    """See `phonecv.generating.GenerateRoom`."""
    if options.out is not None:
        _check_folder(Path(options.out))
    start, numbers = time.perf_counter(), chosen_classes(options.classes, runner)
    classes = tuple(numbers[place % len(numbers)] for place in range(options.count))
    autoencoder = runner.autoencoder(options.autoencoder)
    parts: list[Tensor] = []
    for part in made_pictures(runner, autoencoder, classes, options, options.seed, steps.batch_size):
        parts.append(part)
        if on_progress is not None:
            on_progress(sum(map(len, parts)), len(classes))
    seconds = time.perf_counter() - start
    return Samples(torch.cat(parts), classes, runner.classes, runner.description, options, seconds)


def made_pictures(
    runner: GenerateRunner,
    autoencoder: Autoencoder | None,
    classes: Sequence[int],
    sampling: Sampling,
    seed: int,
    batch_size: int | None = None,
) -> Iterator[Tensor]:
    """Pictures of these classes, a batch at a time, ``B 3 H W`` uint8; number i has the same noise in any batch."""
    places, first = iter(classes), 0
    while part := list(islice(places, batch_size or (LATENT_BATCH if autoencoder else BATCH))):
        values = sample(
            runner.denoise,
            torch.tensor(part, device=runner.device),
            shape=(runner.channels, runner.size, runner.size),
            no_class=runner.num_classes,
            sampling=sampling,
            clip=not runner.latent,
            seed=seed,
            first=first,
        )
        yield to_bytes(values if autoencoder is None else autoencoder.decode(values))
        first += len(part)


def chosen_classes(wanted: str | Sequence[int | str], runner: GenerateRunner) -> list[int]:
    """Numbers of the classes that a person names: by name, letter case and "_" for blanks apart, or by number."""
    if wanted == "all":
        return list(range(runner.num_classes))
    known = {name_key(name): number for number, name in reversed(list(enumerate(runner.classes)))}
    if isinstance(wanted, str):  # a name may hold a comma itself
        wanted = [wanted] if name_key(wanted) in known else [word.strip() for word in wanted.split(",") if word.strip()]
    return [_class_number(word, known, runner) for word in wanted] or list(range(runner.num_classes))


def _class_number(word: int | str, known: dict[str, int], runner: GenerateRunner) -> int:
    number = known.get(name_key(word)) if isinstance(word, str) else None
    if number is None and str(word).isdecimal():
        number = int(word)
    if number is None or not 0 <= number < runner.num_classes:
        raise UserError(
            f"there is no class {word!r}{did_you_mean(str(word), runner.classes)} (classes, numbered from 0 to"
            f" {runner.num_classes - 1}: {some_names(runner.classes, 10)})"
        )
    return number


def _check_folder(out: Path) -> None:
    """Refuse, before pictures are made, a folder that is not for them."""
    check_writable(out / GRID)
    if is_image_name(out.name):
        raise UserError(f"{out} is named like a picture; give a folder, {out.with_suffix('')} for example")
    if out.is_dir() and not (out / RECORD).is_file() and (found := sorted(path.name for path in out.iterdir())):
        raise UserError(f"{out} holds other things ({some_names(found, 3)}); give a new or empty folder")


def write_generated(made: Samples, out: Path) -> None:
    """See `phonecv.generating.GenerateRoom`."""
    _check_folder(out)
    record = made.to_dict()
    for name in _left(out) - {picture["file"] for picture in record["pictures"]}:
        (out / name).unlink(missing_ok=True)
    for picture, image in zip(record["pictures"], made.images, strict=True):
        with atomic_path(out / picture["file"]) as path:
            image.save(path)
    captions = [printable_name(made.names[label]) for label in made.classes]
    save_grid(made.pictures, out / GRID, captions=captions)
    write_json(out / RECORD, record)


def _left(out: Path) -> set[str]:
    """Names of pictures that an earlier call wrote into the folder."""
    if not (out / RECORD).is_file():
        return set()
    try:
        found = read_json_file(out / RECORD)["pictures"]
        names = {str(picture["file"]) for picture in found}
    except (UserError, KeyError, TypeError):  # somebody else's
        return set()
    return {name for name in names if len(name) == len("000000.png") and name[:6].isdecimal() and name[6:] == ".png"}
