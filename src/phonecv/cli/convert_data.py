"""`phonecv convert-data`: a data set in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from phonecv.cli.output import progress, say


def convert_data(
    source: Path,
    destination: Path,
    /,
    *,
    to: Annotated[Literal["shards", "folders", "coco"], Parameter(help="What to write.")] = "shards",
    shard_size: int = 256,
    seed: int = 0,
) -> None:
    """Write a data set in another layout; pictures keep their bytes.

    Pictures with a class each (class folders, lists, shards) become shards, tar files as WebDataset has them, or class
    folders. Boxes and outlines in any layout that is read (YOLO, VOC, CVAT and so on) become COCO's files. All of
    these are trained on as they are, too: shards are for folders too large for a file system, COCO for other programs.

    For example:

    - `phonecv convert-data imagenet shards`
    - `phonecv convert-data shards photos --to folders`
    - `phonecv convert-data yolo-export coco --to coco`

    Args:
        source: Data folder.
        destination: Folder to make.
        to: What to write.
        shard_size: Megabytes of a shard.
        seed: Of the order of pictures in shards.
    """
    from phonecv.data.rewriting import convert_data as run

    say(run(source, destination, to=to, shard_size=shard_size, seed=seed, on_progress=progress("converted")))
