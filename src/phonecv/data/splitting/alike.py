"""Which samples belong together: copies, pictures saved anew, copies by their names, frames of one film."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image

from phonecv.data.folders.class_names import natural_key
from phonecv.data.pictures.crops import open_part
from phonecv.data.pictures.lookalikes import NOTHING, Joined, Known, alike_pairs, known_by
from phonecv.data.pictures.opening import ImageError
from phonecv.devices import usable_cores

#: Side that pictures are decoded at for this, at least: a photograph at a quarter or an eighth of its own.
_SIDE = 64
#: Groups of more samples, and of a larger share of all, are cut: a film, or one camera that looks at one thing.
_MOST, _MOST_SHARE = 10, 0.05
#: Copies by name that a file has at most: "cat (1).jpg" to "cat (500).jpg" are no copies of "cat.jpg".
_COPIES = 3

_COPY = re.compile(r"(?P<base>.+?)(?:[ _-]*\(\d\)|[ _-]+copy(?:[ _-]?\d)?)", re.IGNORECASE)
#: Names of what was made of one source: Roboflow's augmented copies, frames of a film, cuts of one film as in Kinetics
#: (id, start, end) and UCF101 (group and clip).
_SOURCES = (
    re.compile(r"(.+)\.rf\.[0-9A-Za-z]{8,}"),
    re.compile(r"(.+?)[ _.-]*frame[ _.-]*\d+", re.IGNORECASE),
    re.compile(r"([\w-]{11})_\d{6}_\d{6}"),
    re.compile(r"(v_\w+_g\d+)_c\d+"),
)


@dataclass(frozen=True, slots=True)
class Together:
    """Numbers of the groups, one for each sample, and what people should know about them."""

    groups: list[int]
    notes: tuple[str, ...] = ()


def small_picture(path: Path) -> Image.Image:
    """A picture, decoded at no more of its size than is needed here.

    Raises:
        ImageError: it can't be read.
    """
    part = open_part(path, lambda size: (0, 0, *size), side=_SIDE)
    image, box = Image.fromarray(part.pixels), part.box
    left, top, right, bottom = (round(edge) for edge in box)
    return image if box == (0, 0, *image.size) else image.crop((left, top, right, bottom))


def _look_at(path: Path, picture: Callable[[Path], Image.Image]) -> Known:
    try:
        return known_by(picture(path))
    except ImageError:  # whoever trains on it tells
        return NOTHING


def together(
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    picture: Callable[[Path], Image.Image] | None = small_picture,
    progress: Callable[[int, int], None] | None = None,
) -> Together:
    """Which of the samples belong together.

    Args:
        paths: of the samples.
        names: of the samples, relative to the data folder.
        picture: of one of them; None goes by the names alone.
        progress: called with the number of files done and their total.
    """
    joined = Joined(len(names))
    joined.all_of(_named_alike(names))
    notes: list[str] = []
    equal: list[list[int]] = []
    if picture is not None:
        looks = []
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="looks") as pool:
            for done, one in enumerate(pool.map(partial(_look_at, picture=picture), paths), 1):
                looks.append(one)
                if progress is not None:
                    progress(done, len(paths))
        equal = _equal([one.digest for one in looks])
        joined.all_of(equal)
        again = lru_cache(maxsize=2048)(picture)
        if not alike_pairs(paths, [one.reduced for one in looks], joined, again):
            notes.append(f"{len(paths):,} samples are too many to compare all with all: only copies were looked for")
    groups = joined.groups()
    most = max(_MOST, round(_MOST_SHARE * len(names)))
    large = [places for places in _equal(groups) if len(places) > most]
    for places in large:
        groups = _cut(groups, places, names, equal, most)
    if large:
        count = sum(map(len, large))
        notes.append(
            f"{count} of {len(names)} samples are too much alike to keep them together (one film, one camera?); they"
            " were dealt out by name, in runs, so new pictures may do worse than those held out"
        )
    return Together(groups, tuple(notes))


def _equal(keys: Sequence[object]) -> list[list[int]]:
    """Places of equal keys, where there are several; empty keys are equal to none."""
    places: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        if key != b"":
            places.setdefault(key, []).append(place)
    return [found for found in places.values() if len(found) > 1]


def _named_alike(names: Sequence[str]) -> list[list[int]]:
    """Places of names that say that they are of one source."""
    there = {name.rpartition(".")[0] for name in names}
    keys: list[object] = []
    for name in names:
        folder, slash, leaf = name.rpartition("/")
        stem = leaf.rpartition(".")[0] or leaf
        found = next((match for pattern in _SOURCES if (match := pattern.fullmatch(stem))), None)
        copy = _COPY.fullmatch(stem)
        if found is None and copy and f"{folder}{slash}{copy['base']}" in there:
            stem = copy["base"]
        keys.append((folder, "source", found[1]) if found else (folder, stem))
    counts = Counter(keys)
    return _equal([key if len(key) == 3 or counts[key] <= 1 + _COPIES else b"" for key in keys])  # type: ignore[arg-type]


def _cut(
    groups: Sequence[int], places: Sequence[int], names: Sequence[str], equal: Sequence[Sequence[int]], most: int
) -> list[int]:
    """The groups with a large one cut into runs by name; equal samples stay together."""
    cut = list(groups)
    copies = {place: same[0] for same in equal for place in same}
    units: dict[int, list[int]] = {}
    for place in sorted(places, key=lambda place: natural_key(names[place])):
        units.setdefault(copies.get(place, place), []).append(place)
    run: list[int] = []
    for unit in units.values():
        if len(run) + len(unit) > most:
            run = []
        run += unit
        for place in unit:
            cut[place] = run[0]
    return cut
