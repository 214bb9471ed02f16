"""Pictures in order, decoded ahead by threads, each at its own size."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from phonecv.data.pictures.opening import ImageError, open_image, printable
from phonecv.data.pictures.reading import planes
from phonecv.devices import default_workers


class Pictures(NamedTuple):
    """Pictures of one step; those that could not be read are left out of `tensors` but not of the other columns.

    Attributes:
        indices: places in the list of paths.
        errors: why a picture could not be read, empty where all is well.
        tensors: ``3 H W`` bytes of each readable one.
    """

    indices: Tensor
    errors: list[str]
    tensors: list[Tensor]


def read_pictures(
    paths: Sequence[Path],
    batch_size: int,
    workers: int | None = None,
    *,
    bits: int | None = None,
    rank: int = 0,
    size: int = 1,
) -> Generator[Pictures, None, None]:
    """Pictures in order, decoded ahead by threads (Pillow's decoders let others run meanwhile); none with 0 `workers`.

    Of `size` processes that share them the one numbered `rank` takes each `size`-th picture. Never more than three
    batches are in memory.
    """
    workers = max(1, default_workers()) if workers is None else workers
    own = range(rank, len(paths), size)
    steps = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    if not workers:
        for step in steps:
            yield _gathered(step, [_read(paths[index], bits) for index in step])
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:

        def order(step: range) -> tuple[range, list[Future[Tensor | str]]]:
            return step, [pool.submit(_read, paths[index], bits) for index in step]

        waiting = iter(steps)
        ordered = deque(order(step) for step in islice(waiting, 2))
        try:
            while ordered:
                step, futures = ordered.popleft()
                following = next(waiting, None)
                if following is not None:
                    ordered.append(order(following))
                yield _gathered(step, [future.result() for future in futures])
        finally:
            pool.shutdown(cancel_futures=True)


def _read(path: Path, bits: int | None) -> Tensor | str:
    try:
        return planes(open_image(path, bits=bits))
    except ImageError as error:
        return error.reason or printable(path)


def _gathered(step: range, read: Sequence[Tensor | str]) -> Pictures:
    return Pictures(
        torch.tensor(list(step), dtype=torch.int64),
        [item if isinstance(item, str) else "" for item in read],
        [item for item in read if isinstance(item, Tensor)],
    )
