"""What a detector or segmenter finds in files, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from phonecv.data.pictures.ahead import read_pictures
from phonecv.verbs import Steps


class Answer(NamedTuple):
    """What was found in one picture (``3 H W`` bytes), or why it could not be read."""

    index: int
    path: Path
    error: str
    picture: Any
    found: Any


def answers(
    paths: Sequence[Path],
    steps: Steps,
    *,
    batch_size: int,
    bits: int | None,
    find: Callable[[Sequence[Tensor]], Iterable[Any]],
) -> Iterator[list[Answer]]:
    """What is found in pictures that are decoded ahead, those of a step at a time; `find` takes the pictures of one."""
    share = {"rank": steps.world.rank, "size": steps.world.size}
    for batch in read_pictures(paths, steps.batch_size or batch_size, steps.workers, bits=bits, **share):
        found = iter(zip(batch.tensors, find(batch.tensors), strict=True))
        rows = zip(batch.indices.tolist(), batch.errors, strict=True)
        yield [Answer(index, paths[index], bad, *((None, None) if bad else next(found))) for index, bad in rows]
