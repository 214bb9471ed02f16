"""What can be wrong with the training of a classifier of clips, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.clips.listing import read_clips
from phonecv.data.folders.listing import Listing
from phonecv.training.checks import data_folder, read_listings
from phonecv.video.config import VideoConfig

DATA = "a folder with train/<class>/<clip> and val/<class>/<clip>, or with train.txt and val.txt"


def check_training(config: VideoConfig, *, keep: bool) -> None:
    """Check that the clips can be listed."""
    del keep
    read_splits(config)


def read_splits(config: VideoConfig) -> tuple[Listing, Listing]:
    """Both splits, with the same classes."""
    return read_listings(config, data_folder(config, DATA), read_clips)
