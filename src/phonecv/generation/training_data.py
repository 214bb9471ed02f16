"""What a generator learns from: folders of pictures, one for each class. Imports no torch."""

from __future__ import annotations

from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError
from phonecv.generation.config import GenerateConfig
from phonecv.training.checks import data_folder

DATA = "a folder with train/<class>/<picture> and val/<class>/<picture>"


def read_splits(config: GenerateConfig) -> tuple[Listing, Listing]:
    """Both splits, with the same classes.

    Raises:
        UserError: no data folder was given, or it cannot be used.
    """
    root = data_folder(config, DATA)
    train = read_split(root, "train", list_file=config.data.train_list)
    for problem in train.problems:
        if problem.severity == "error":
            raise UserError(problem)
    return train, read_split(root, "val", list_file=config.data.val_list, classes=train.classes)
