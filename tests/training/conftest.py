"""Tiny pictures, scenes of digits, and configurations of trainings that take about a second."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import TINY
from phonecv.data.samples import write_scenes
from phonecv.training import TrainConfig, load_config

CLASSES = ("blue", "green", "red")


#: What a training shows as well in fewer layers.
TINIER: dict[str, dict[str, Any]] = {
    "emo_1m": TINY["emo_1m"] | {"depths": (1, 1, 1, 2)},
    "emov2_1m": TINY["emov2_1m"] | {"depths": (1, 1, 1, 2)},
    "mobileone_s0": TINY["mobileone_s0"] | {"branches": 1},
}


def tiny_overrides(name: str) -> str:
    """The override that makes a network of the catalog tiny."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in TINIER[name].items()}
    return f"model.overrides={plain}"


#: Settings that make any recipe tiny: 24 pictures in steps of 4, two epochs.
SMALL = (
    "model.name=mobileone_s0",
    tiny_overrides("mobileone_s0"),
    "data.batch_size=4",
    "data.eval_batch_size=4",
    "data.size=16",
    "data.workers=0",
    "augment.auto_augment=null",
    "optimizer.lr=0.01",
    "optimizer.lr_batch=0",
    "schedule.epochs=2",
    "schedule.warmup_epochs=0",
    "schedule.scale_ends=false",
    "run.threads=1",
    "run.log_every=1",
    "run.amp=none",
    "run.audit=false",
    "run.loggers=[]",
)

#: The same for detectors and segmenters: 8 scenes in steps of 4, two epochs.
SMALL_DENSE = (
    "model.name=emov2_1m",
    tiny_overrides("emov2_1m"),
    "model.weights=null",
    "data.batch_size=4",
    "data.eval_batch_size=3",
    "data.workers=0",
    "optimizer.lr=0.002",
    "optimizer.lr_batch=0",
    "optimizer.clip=1",
    "schedule.epochs=2",
    "schedule.warmup_epochs=0.5",
    "schedule.scale_ends=false",
    "run.eval_every=1",
    "run.threads=1",
    "run.log_every=1",
    "run.amp=none",
    "run.loggers=[]",
)

#: Architectures at sizes that take little time, by name.
DENSE = {
    "ssdlite320": ("data.size=64",),
    "retinanet_fpn": ("data.size=48", "detect.options={channels: 16}"),
    "mask_rcnn_fpn": (
        "data.size=48",
        "detect.options={channels: 16, hidden: 16, proposals: 40, candidates: 40, train_candidates: 40}",
    ),
    "deeplabv3": ("data.size=48", "segment.options={channels: 16, aux_channels: 16}"),
    "segformer": ("data.size=48", "segment.options={channels: 16}"),
}
SEGMENTERS = ("deeplabv3", "segformer")

#: What a test starts as a process of its own: this file with a YAML file and a number of devices.
SCRIPT = """
import sys
from phonecv import plots
from phonecv.timm_bridge import defer
defer("wandb")  # as the command line does
plots.save_curves = lambda *_, **__: None
import torch
from phonecv.training import load_config, train
if __name__ == "__main__":
    result = train(load_config(sys.argv[1]), devices=int(sys.argv[2]))
    print("finished" if result.finished else "stopped")
"""

#: Gives a configuration of the recipe's task.
Configure = Callable[..., Any]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training and 10 validation pictures of three classes, told apart by their colour."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10)):
        for i in range(count):
            pixels = rng.integers(0, 120, (18, 18, 3), dtype=np.uint8)
            pixels[..., 2 - i % 3] += 100
            path = root / split / CLASSES[i % 3] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture
def configure(pictures: Path, tmp_path: Path) -> Configure:
    """A function from overrides to a tiny configuration; it writes below the test's folder."""

    def make(*overrides: str, out: str = "run", recipe: str = "from_scratch_small") -> TrainConfig:
        paths = (f"data.path={pictures}", f"run.out={tmp_path / out}")
        return load_config(recipe, [*SMALL, *paths, *overrides])

    return make


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and five validation scenes with digits, some with boxes, masks and label maps."""
    root = tmp_path_factory.mktemp("scenes") / "scenes"
    return write_scenes(root, train=8, val=5, width=80, height=60, most_digits=3)


@pytest.fixture
def configure_dense(scenes: Path, tmp_path: Path) -> Configure:
    """A function from an architecture and overrides to a tiny configuration; it writes below the test's folder."""

    def make(architecture: str, *overrides: str, out: str = "run") -> TrainConfig:
        task = "segment" if architecture in SEGMENTERS else "detect"
        own = (f"{task}.architecture={architecture}", *DENSE[architecture])
        paths = (f"data.path={scenes}", f"run.out={tmp_path / out}")
        return load_config(f"{task}_small", [*SMALL_DENSE, *own, *paths, *overrides])

    return make


def start(config: TrainConfig, folder: Path, devices: int = 1, torchrun: int = 0) -> subprocess.Popen[str]:
    """The training as a process of its own, or as so many under torchrun."""
    folder.mkdir(parents=True, exist_ok=True)
    script, recipe = folder / "script.py", folder / f"{Path(config.run.out).name}.yaml"
    script.write_text(SCRIPT, encoding="utf-8")
    recipe.write_text(config.to_yaml(), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={torchrun}", "--rdzv-backend=c10d"]
    launcher += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return subprocess.Popen(
        [sys.executable, *(launcher if torchrun else []), str(script), str(recipe), str(devices)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
