"""Pictures that exported files are checked and calibrated on: the person's, the embedded ones, or synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from phonecv.data.pictures.opening import find_images, open_image
from phonecv.data.pictures.reading import eval_transform, planes
from phonecv.data.samples import photographs
from phonecv.errors import UserError
from phonecv.exporting.inputs import Arrays, Input, made_up
from phonecv.preprocessing import RGB

#: Pictures a file is compared on.
COUNT = 8


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures as they come, before any preprocessing.

    Attributes:
        images: RGB.
        names: of the files, or of the embedded photographs.
        source: for people.
        folders: names of the folders that they lie in; empty names for pictures that lie in none.
    """

    images: tuple[Image.Image, ...]
    names: tuple[str, ...]
    source: str
    folders: tuple[str, ...]


def check_pictures(source: Path | str | Sequence[Path] | None, count: int = COUNT) -> Pictures:
    """At most `count` pictures to compare on, evenly picked.

    They come from a folder, a file, a pattern or a list of files; for None they are the embedded photographs, or
    synthetic ones where the extra `samples` is not installed.
    """
    if source is None:
        return _embedded(count)
    paths = find_images(source) if isinstance(source, Path | str) else [Path(path) for path in source]
    if not paths:
        raise UserError(f"{source}: no pictures there; give a folder of photographs like those the app will see")
    step = max(1, len(paths) // count)
    chosen = paths[::step][:count]
    where = f"{len(chosen)} of {len(paths)} pictures of {source}" if isinstance(source, Path | str) else "given files"
    names, folders = (tuple(part) for part in zip(*((path.name, path.parent.name) for path in chosen), strict=True))
    return Pictures(tuple(open_image(path) for path in chosen), names, where, folders)


def _embedded(count: int) -> Pictures:
    found = photographs()
    if found:
        names = list(found)[:count]
        images = tuple(found[name] for name in names)
        return Pictures(images, tuple(names), f"{len(names)} embedded photographs", ("",) * len(names))
    pixels = (probe_images(256, 320) * 64 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    synthetic = [Image.fromarray(image.contiguous().numpy(), "RGB") for image in pixels]
    names = tuple(f"synthetic {number}" for number in range(len(synthetic)))
    source = "synthetic pictures (the extra `samples` brings photographs)"
    return Pictures(tuple(synthetic), names, source, ("",) * len(names))


def cropped_batch(network: Any, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """Pictures for a network with a `Preprocessing`, ``N C height width``: square ones are cut as at evaluation."""
    spec = replace(network.preprocessing, size=height)
    transform = eval_transform(spec)
    if height == width:
        return torch.stack([transform(image) for image in images])
    return torch.stack([transform.normalise(planes(image.resize((width, height)))[None])[0] for image in images])


def probe_images(height: int, width: int, channels: int = RGB) -> Tensor:
    """Three normalised inputs: noise, smooth colours, and a step, as different in statistics as pictures are."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, channels, height, width, generator=generator)
    coarse = torch.randn(1, channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    step = torch.where(torch.arange(width) < width / 2, -1.5, 1.5).expand(1, channels, height, width)
    return torch.cat([noise, smooth, step])


def probe_rows(inputs: Sequence[Input]) -> Arrays:
    """Three rows of every input: noise, smooth colours and a step where it is one picture, else made-up values."""
    if [one.kind for one in inputs] == ["pictures"]:
        channels, height, width = inputs[0].shape
        return (probe_images(height, width, channels).numpy(),)
    return tuple(one.numpy() for one in made_up(inputs, 3))
