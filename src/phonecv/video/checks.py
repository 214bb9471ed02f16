"""What can be wrong with the training of a classifier of clips, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.clips.listing import CLIPS
from phonecv.data.clips.reading import read_frames
from phonecv.data.folders.listing import Listing
from phonecv.training.checks import data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing
from phonecv.video.config import VideoConfig

DATA = "a folder with train/<class>/<clip> and val/<class>/<clip>, with <class>/<clip>, or with train.txt and val.txt"


def check_training(config: VideoConfig, *, keep: bool) -> None:
    """Check that the clips can be listed."""
    read_listings(config, data_folder(config, DATA), CLIPS)


def read_splits(config: VideoConfig) -> Divided[Listing]:
    """Both splits, with the same classes."""
    listed = read_listings(config, data_folder(config, DATA), CLIPS)
    return divide_listing(config, *listed, picture=lambda path: read_frames(path, 1)[0], noun=CLIPS.noun)
