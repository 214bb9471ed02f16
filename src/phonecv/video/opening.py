"""Classifiers of clips ready to run: networks of ours, checkpoints, exported files of any runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.fields import require
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, own_names
from phonecv.preprocessing import Preprocessing
from phonecv.video.create import create_headed
from phonecv.video.network import OPTIONS
from phonecv.whole.opening import WholeRunner, in_parts

#: How weights make the network of a file.
create = create_headed
#: See `phonecv.opening.OpeningRoom`.
names_in = own_names


@dataclass(frozen=True, slots=True)
class VideoRunner(WholeRunner):
    """A classifier of clips ready to run: float32 ``B 3 views*T H W`` in main memory -> logits ``B C``.

    Several views of a clip follow one another in time; the probabilities of all are averaged.

    Attributes:
        frames: of a clip, T.
    """

    task: ClassVar[str] = "video"

    frames: int = 4

    def __call__(self, given: Tensor) -> Tensor:
        """Logits of a batch of any size."""
        views = given.shape[2] // self.frames
        if views <= 1:
            return WholeRunner.__call__(self, given)
        clips = torch.cat(given.chunk(views, 2))
        found = WholeRunner.__call__(self, clips).unflatten(0, (views, -1))
        return found.log_softmax(2).logsumexp(0) - torch.tensor(float(views)).log()


def network_runner(placed: Placed, options: None) -> VideoRunner:
    """See `phonecv.opening.OpeningRoom`."""
    frames = placed.network.frames
    return VideoRunner.of_network(placed, in_parts(placed, frames), frames=frames)


def file_runner(file: OpenedFile, options: None) -> VideoRunner:
    """See `phonecv.opening.OpeningRoom`."""
    record = file.record
    require(record, ("preprocessing", "num_classes"), file.path, "nobody knows how clips become its input")
    spec = Preprocessing.from_dict(record["preprocessing"])
    frames = (record.get("options") or {}).get("frames", OPTIONS["frames"])
    if not isinstance(frames, int) or frames < 1:
        raise UserError(f"the record of {file.path} says clips have {frames!r} frames; export it again")
    return VideoRunner.of_file(
        file,
        lambda clips: file.outputs(clips, spec)[0].float(),
        record["num_classes"],
        preprocessing=spec,
        batch=file.session.batch,
        frames=frames,
    )
