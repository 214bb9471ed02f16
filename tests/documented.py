"""What makes the guides' training commands run offline in about a second each: tiny networks, weights and data.

The commands run as they are written, with settings appended that only make them short. The catalog's networks are tiny
under their own names, and so are their public files, which lie in the download cache.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import phonecv
from conftest import TINY
from phonecv.catalog import MODELS, get_record
from phonecv.weights.translate import from_phonecv

#: Appended to every training: a step or two on few, small pictures.
SHORT = (
    "schedule.epochs=1",
    "schedule.warmup_epochs=0",
    "data.batch_size=4",
    "data.eval_batch_size=5",
    "data.workers=0",
    "data.passes=1",
    "run.threads=1",
    "run.amp=none",
)

#: Names of data folders in the guides, by what they hold.
PICTURES = ("photos", "imagenet", "pets")
SCENES = ("cells", "streets")


def shrink_catalog(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make every network of the catalog tiny, and put its public training-form file into the download cache."""
    cache.mkdir(parents=True)
    monkeypatch.setenv("PHONECV_CACHE", str(cache))
    tiny = {name.partition("_")[0]: config for name, config in TINY.items()}
    for number, name in enumerate(MODELS):
        record = get_record(name)
        public = tuple(replace(weights, digest=None, min_bytes=0) for weights in record.weights)
        small = dict(record.config) | tiny[record.family]
        small["widths"] = (*small["widths"][:3], small["widths"][3] + 8 * number)  # told apart by their shapes
        if "se_pairs" in small:
            small["se_pairs"] = (0, 0, 1, 1)
        monkeypatch.setitem(MODELS, name, replace(record, config=small, weights=public))
        if not public:
            continue
        file = get_record(name).find_weights("official", form="training")
        net = phonecv.create_model(name)
        torch.save({"state_dict": from_phonecv(dict(net.state_dict()), file.layout)}, cache / file.filename)


def lay_out(folder: Path, pictures: Path, scenes: Path) -> None:
    """The files that the guides' commands name: data sets, a fused public file, a teacher, a recipe of one's own."""
    for names, source in ((PICTURES, pictures), (SCENES, scenes)):
        for name in names:
            (folder / name).symlink_to(source, target_is_directory=True)
    net = phonecv.fuse(phonecv.create_model("mobileone_s0").eval())
    torch.save(from_phonecv(dict(net.state_dict()), "apple"), folder / "mobileone_s0.pth")
    teacher = phonecv.create_model("emov2_5m", num_classes=3)
    phonecv.save_checkpoint(teacher, folder / "runs" / "large" / "best.safetensors")
    (folder / "my-recipe.yaml").write_text("model: {name: emo_1m}\noptimizer: {lr: 1.0e-3}\n", encoding="utf-8")


def shortened(tokens: list[str]) -> list[str]:
    """A training command with settings that make it short; one process in the place of several."""
    tokens = list(tokens)
    if "--devices" in tokens:
        place = tokens.index("--devices")
        del tokens[place : place + 2]
    if "--data" not in tokens:  # it lists, shows, or goes on with what a run folder says
        return tokens
    dense = tokens[tokens.index("--data") + 1] in SCENES
    more = ["data.size=64", "run.eval_every=1"] if dense else ["data.size=32"]
    longest = ["data.longest=96"] if any(token.startswith("data.longest=") for token in tokens) else []
    return [*tokens, *SHORT, *more, *longest]


def training_commands(page: Path) -> list[list[str]]:
    """The words of every `phonecv train` and `phonecv distill` in a page's shell blocks, in their order."""
    found, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```sh"
        words = shlex.split(line, comments=True) if inside else []
        if "phonecv" in words:
            tokens = words[words.index("phonecv") + 1 :]
            found += [tokens] if tokens[0] in ("train", "distill") else []
    return found
