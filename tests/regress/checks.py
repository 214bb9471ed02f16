from __future__ import annotations

from phonecv.training.checks import data_folder
from regress.config import RegressConfig
from regress.data import read_split

DATA = "a folder with train.csv and val.csv"


def check_training(config: RegressConfig, *, keep: bool) -> None:
    del keep
    root = data_folder(config, DATA)
    for split in ("train", "val"):
        read_split(root, split)
