"""What a generator sees of its pictures, made once and kept on disk: bytes of pixels, or an autoencoder's latents.

Kept in parts of some thousand pictures, each a file that is whole or not there: a training that was stopped while they
were made goes on with what is there, several processes make different parts, and other trainings of the same pictures
find them all. The folder's name is a digest of the pictures' names, sizes and times, of how they are read, and of the
autoencoder, so that nothing old is taken for what it is not.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.data.folders.listing import Listing
from phonecv.data.loading.loader import ClassificationDataset, SampleKey, make_loader
from phonecv.data.pictures.reading import eval_transform
from phonecv.files import atomic_path
from phonecv.generation.autoencoder import Autoencoder
from phonecv.preprocessing import Preprocessing
from phonecv.training.interrupt import Interrupted
from phonecv.training.loaders import UnderWay
from phonecv.training.world import World

#: Pictures in a file.
PART = 4096
#: Pictures that pass through an autoencoder at once.
TOGETHER = 16
#: Shares of red, green and blue in gray.
LUMINANCE = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


class KeptPictures:
    """The pictures of a split, kept in a folder: pixels, or latents where there is an autoencoder.

    Pixels may be kept as `gray`. With `flips` latents of the flipped pictures are kept, too; flipped latents are not
    those of flipped pictures.
    """

    def __init__(
        self,
        listing: Listing,
        preprocessing: Preprocessing,
        autoencoder: Autoencoder | None,
        *,
        gray: bool,
        flips: bool,
        folder: Path,
    ) -> None:
        self.listing, self.preprocessing, self.autoencoder = listing, preprocessing, autoencoder
        self.gray = gray
        self.views = 2 if flips and autoencoder is not None else 1
        self.folder = folder / self._digest()
        self.parts: list[np.ndarray] = []
        self.errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.listing)

    def prepare(self, run: UnderWay, world: World, title: str, workers: int) -> None:
        """Make what is not there yet, and open it all.

        Raises:
            Interrupted: somebody asked to stop; what was made is kept.
            NoRoom: the disk is full.
        """
        starts = range(0, len(self), PART)
        missing = [start for start in starts if not self._path(start).is_file()][world.rank :: world.size]
        show = run.log.bar_for(title, len(missing) * PART)
        for done, start in enumerate(missing):
            self._make(start, workers, run, lambda count, done=done: show(done * PART + count))
        world.barrier()
        self.parts = [np.load(self._path(start), mmap_mode="r") for start in starts]
        for start in starts:
            errors = json.loads(self._path(start).with_suffix(".json").read_text(encoding="utf-8"))
            self.errors |= {start + int(place): error for place, error in errors.items()}

    def __getitem__(self, index: int) -> np.ndarray:
        """Bytes ``3 S S`` (gray ``1 S S``), or mean and deviation of latents ``views 2 C S S`` in half precision."""
        return self.parts[index // PART][index % PART]

    def readable(self, index: int) -> int:
        """The picture itself, or the next one that can be read where it can not."""
        for step in range(len(self)):
            if (other := (index + step) % len(self)) not in self.errors:
                return other
        return index

    def _make(self, start: int, workers: int, run: UnderWay, show: Any) -> None:
        keys = [SampleKey(index) for index in range(start, min(start + PART, len(self)))]
        batches = [keys[first : first + TOGETHER] for first in range(0, len(keys), TOGETHER)]
        dataset = ClassificationDataset(self.listing, eval_transform(self.preprocessing), substitute=False)
        made: list[np.ndarray] = []
        errors: dict[int, str] = {}
        for batch in make_loader(dataset, batches, workers):
            if run.interrupts.requested:
                raise Interrupted
            made.append(self._seen(batch.images))
            places = (batch.indices - start).tolist()
            errors |= {place: error for place, error in zip(places, batch.errors, strict=True) if error}
            show(len(made) * TOGETHER)
        whole = np.concatenate(made)
        path = self._path(start)
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(errors), encoding="utf-8")
        with atomic_path(path, needs=whole.nbytes) as temporary:
            np.save(temporary, whole)

    def _seen(self, images: torch.Tensor) -> np.ndarray:
        if self.autoencoder is None:
            images = (images * LUMINANCE).sum(1, keepdim=True) if self.gray else images
            return ((images + 1) * 127.5).round().to(torch.uint8).numpy()
        views = [images, images.flip(3)][: self.views]
        moments = [torch.stack(self.autoencoder.moments(view), 1) for view in views]
        return torch.stack(moments, 1).half().numpy()

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:09d}.npy"

    def _digest(self) -> str:
        """Of everything that what is kept follows from."""
        digest = hashlib.sha256(json.dumps(self.preprocessing.to_dict(), sort_keys=True).encode())
        by = self.autoencoder.identity if self.autoencoder is not None else f"pixels {self.gray}"
        digest.update(f"{by} {self.views} {PART}".encode())
        for sample in self.listing.samples:
            there = sample.path.stat() if sample.path.is_file() else None
            digest.update(f"{sample.path}\0{there and (there.st_size, there.st_mtime_ns)}\0".encode())
        return digest.hexdigest()[:32]
