"""Pictures, videos and a camera, through one detector and into one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from phonecv.data.pictures.opening import scan_images
from phonecv.dense.model import DenseModel
from phonecv.detect.judging import THRESHOLD
from phonecv.detect.opening import DetectRunner, open_detector
from phonecv.detect.predict import PictureDetections, predict_detector
from phonecv.detect.video import VideoDetections, is_video, output_name, predict_video
from phonecv.errors import UserError
from phonecv.options import Count, Share, Workers, checked
from phonecv.text import printable, unique_names


@checked
def detect_all(
    model: DenseModel | DetectRunner | Path | str,
    sources: Sequence[Path | str],
    *,
    camera: str | None = None,
    out: Path | str | None = None,
    threshold: Share | None = None,
    batch_size: Count | None = None,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    on_frame: Callable[[dict[str, Any]], None] | None = None,
    **loading: Any,
) -> list[PictureDetections | VideoDetections]:
    """Find objects in everything that is named.

    Args:
        model: a detector, the path of a checkpoint or exported file of one, or a `DetectRunner`.
        sources: pictures, folders of pictures, patterns, videos, and folders with videos and no pictures.
        camera: number or device of a camera.
        out: folder for tables, drawn pictures and videos, see `write_detections` and `predict_video`.
        threshold: least score, 0.3 if None.
        batch_size: pictures per step; None chooses.
        workers: threads that decode pictures; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        on_frame: called with {"frame", "time", "detections"} of each frame of a video or camera.
        **loading: arguments of `load_checkpoint`.

    Returns:
        One entry per picture, then one per video, then the camera's.

    Raises:
        UserError: unusable model or source, or a number out of range.
    """
    sources = [inner for source in sources for inner in _videos_of(Path(source)) or [source]]
    streams = [(str(source), False) for source in sources if is_video(source)]
    pictures = [source for source in sources if not is_video(source)]
    if camera is not None:
        streams.append((camera, True))
    missing = [name for name, live in streams if not live and not Path(name).is_file()]
    if missing:
        what = "a folder, not a video" if Path(missing[0]).is_dir() else "no such file"
        raise UserError(f"{printable(missing[0])}: {what}")
    least = THRESHOLD if threshold is None else threshold
    runner = open_detector(model, device=device, amp=amp, threshold=least, **loading)
    done: list[PictureDetections | VideoDetections] = []
    if pictures:
        done += predict_detector(runner, pictures, threshold=threshold, out=out, batch_size=batch_size, workers=workers)

    def tell(number: int, moment: float, entries: list[dict[str, Any]]) -> None:
        if on_frame is not None:
            on_frame({"frame": number, "time": round(moment, 4), "detections": entries})

    names = unique_names([output_name(name, camera=live) for name, live in streams])
    for (source, live), name in zip(streams, names, strict=True):
        done.append(
            predict_video(runner, source, camera=live, out=out, threshold=threshold, file_name=name, on_frame=tell)
        )
    return done


def _videos_of(folder: Path) -> list[Path]:
    """The videos of a folder that holds no pictures."""
    if not folder.is_dir() or next(scan_images(folder), None) is not None:
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and is_video(path))
