"""Damaged checkpoints of every layout and container."""

from __future__ import annotations

import argparse
import collections
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import phonecv
from fuzz.mutations import CASES, ODD, damaged, damaged_pickle, mutated, survive
from phonecv.inspection import info
from phonecv.models import VisionModel
from phonecv.weights import from_phonecv
from phonecv.weights.fill import open_source
from phonecv.weights.recognise import recognise
from weights.helpers import TINY, key_table
from weights.test_timm_layout import Network

Content = dict[str, Any]


def small(table: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these shapes without their memory: each side is at most 3."""
    return {name: torch.zeros([min(side, 3) for side in shape]) for name, shape in table.items()}


@pytest.fixture(scope="module")
def tiny() -> dict[str, VisionModel]:
    return {name: phonecv.create_model(name, num_classes=3, **TINY[name]).eval() for name in TINY}


@pytest.fixture(scope="module")
def layouts(tiny: dict[str, VisionModel]) -> dict[str, tuple[str, dict[str, Tensor]]]:
    """Layout -> network that it goes into, and tensors under its names."""
    states = {name: model.state_dict() for name, model in tiny.items()}
    fused = phonecv.fuse(tiny["mobileone_s0"]).state_dict()
    timm_like = Network("emov2_1m").state_dict()
    return {
        "emo": ("emo_1m", from_phonecv(states["emo_1m"], "emo")),
        "emov2": ("emov2_1m", states["emov2_1m"]),
        "apple": ("mobileone_s0", states["mobileone_s0"]),
        "apple, fused": ("mobileone_s0", fused),
        "timm": ("mobileone_s0", from_phonecv(states["mobileone_s0"], "timm")),
        "timm's EMO": ("emov2_1m", small({name: tuple(value.shape) for name, value in timm_like.items()})),
        "mmpretrain": ("mobileone_s0", small(key_table("mmpretrain", "s1", "deploy"))),
        "paddlevit": ("mobileone_s0", small(key_table("paddlevit", "s1", "fused"))),
    }


def prefixed(state: Content, prefix: str) -> Content:
    return {f"{prefix}{name}": value for name, value in state.items()}


WRAP: tuple[Callable[[Content], Content], ...] = (
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"net": state, "net_E": state, "optimizer": {"state": {}}},
    lambda state: {"state_dict": state, "ema_state_dict": prefixed(state, "module."), "meta": {}},
    lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {"classes": ["a"]}},
    lambda state: prefixed(state, "module._orig_mod.") | {"n_averaged": torch.tensor(3)},
    lambda state: state | prefixed(state, "ema."),
    lambda state: {"model": state, "class_to_idx": {"a": 0, "b": 1, "c": 2}, "args": argparse.Namespace(a=1)},
)

TENSORS: tuple[Callable[[], Any], ...] = (
    lambda: torch.tensor(1.0), lambda: torch.zeros(0), lambda: torch.zeros(3), lambda: torch.zeros(2, 2, 2),
    lambda: torch.zeros(1, 1, 1, 1), lambda: torch.zeros(1, 1, 1, 1, 1), lambda: torch.zeros(3, 0),
    lambda: torch.full((2, 2), float("nan")), lambda: torch.zeros(2, dtype=torch.float16),
    lambda: torch.zeros(2, dtype=torch.bool), lambda: torch.zeros(2, dtype=torch.int8),
    lambda: torch.zeros(2).to(torch.float8_e4m3fn), lambda: torch.zeros(2, dtype=torch.complex64),
    lambda: torch.eye(2).to_sparse(), lambda: torch.zeros(2, device="meta"), lambda: torch.zeros(1).expand(10**9),
    lambda: np.zeros(3), lambda: np.array(["a"]), lambda: np.zeros((), dtype="f4"), lambda: None, lambda: "a", dict,
)  # fmt: skip


def mutated_state(rng: random.Random, state: dict[str, Any]) -> Content:
    """Some tensors lost, renamed or replaced, and the whole wrapped as somebody's program does."""
    made: Content = dict(state)
    for _ in range(rng.randint(1, 4)):
        name = rng.choice(list(made)) if made else "a"
        what = rng.randrange(6)
        if what == 0:
            made.pop(name, None)
        elif what == 1:
            made[name] = rng.choice(TENSORS)()
        elif what == 2 and made:
            part = rng.choice(name.split("."))
            made[name.replace(part, rng.choice(["99", "9999", "-1", "x", "norm", "", "stage1"]))] = made.pop(name)
        elif what == 3:
            start = rng.choice(["stage", "stages.0", "head", "norm", "linear"])
            made = {key: value for key, value in made.items() if not key.startswith(start)}
        elif what == 4:
            made[rng.choice(["criterion.weight", "total_ops", "steps", "a", "head.0.weight", "stage5.0.x"])] = (
                rng.choice(TENSORS)()
            )
        else:
            made[name] = rng.choice(TENSORS)()
    content = rng.choice(WRAP)(made)
    if rng.random() < 0.2:
        places = [key for key, value in content.items() if isinstance(value, dict)]
        if places:
            content[rng.choice(places)]["state_dict"] = content
    return content


def test_states_of_every_layout(layouts: dict[str, Any], tiny: dict[str, VisionModel]) -> None:
    def case(rng: random.Random) -> None:
        name, state = layouts[rng.choice(list(layouts))]
        content = mutated_state(rng, state)
        recognise(content)
        if rng.random() < 0.9:
            open_source(content, rng.choice([None, True, False]))
        else:
            phonecv.load_checkpoint(tiny[name], content, ema=False, strict=False, head="auto")

    assert 0 < survive("state", case) < CASES  # some are refused, some read


def beside() -> Content:
    """A small checkpoint with what people keep in theirs."""
    state = {"stage0.reparam_conv.weight": torch.ones(2, 3, 3, 3), "linear.bias": torch.zeros(3, dtype=torch.float16)}
    return {
        "state_dict": state,
        "classes": ["a", "b", "c"],
        "class_to_idx": {"a": 0, "b": 1, "c": 2},
        "args": argparse.Namespace(path=Path("x"), lr=0.1),
        "best": collections.defaultdict(list, {"a": [1]}),
        "scores": [np.float64(0.5), np.zeros(2), np.array(["a"])],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "order": collections.OrderedDict(a=1),
        "random": np.random.default_rng(0).bit_generator.state,
    }


def saved(content: Any, *, legacy: bool = False, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return out.getvalue()


def program_of(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The pickle of a torch file, and its other records."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    program = next(name for name in records if name.endswith("/data.pkl"))
    return records.pop(program), {name.partition("/")[2]: value for name, value in records.items()}


def zipped(program: bytes, records: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, value in {"data.pkl": program, **records}.items():
            archive.writestr(f"archive/{name}", value)
    return out.getvalue()


def safetensors_header(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file with a changed header over the same data."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(mutated(rng, header)).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize("kind", ["zip", "zip's pickle", "legacy", "pickle", "protocol 4", "safetensors", "header"])
def test_files(kind: str, tiny: dict[str, VisionModel], tmp_path: Path) -> None:
    target = tmp_path / "a.pth"
    arrays = {"stages.0.0.dw_3x3.conv.weight": np.ones((2, 1, 3, 3), "f4"), "fc.bias": np.zeros(3), "a@@": {"b": "c"}}
    whole = saved(beside())
    program, records = program_of(whole)
    own = tmp_path / "own.safetensors"
    phonecv.save_checkpoint(phonecv.fuse(tiny["mobileone_s0"]), own)
    tensors = own.read_bytes()
    legacy = saved(beside(), legacy=True)
    pickles = [pickle.dumps({**arrays, **beside()}, protocol) for protocol in (2, 3, 4, 5)]
    newer, newer_records = program_of(saved(beside(), protocol=4))
    made: dict[str, Callable[[random.Random], bytes]] = {
        "zip": lambda rng: damaged(rng, whole),
        "zip's pickle": lambda rng: zipped(damaged_pickle(rng, program), records),
        "legacy": lambda rng: damaged(rng, legacy),
        "pickle": lambda rng: damaged_pickle(rng, rng.choice(pickles)),
        "protocol 4": lambda rng: zipped(damaged_pickle(rng, newer), newer_records),
        "safetensors": lambda rng: damaged(rng, tensors),
        "header": lambda rng: safetensors_header(rng, tensors),
    }

    def case(rng: random.Random) -> None:
        target.write_bytes(made[kind](rng))
        phonecv.read_checkpoint(target)
        if rng.random() < 0.2:
            open_source(target, None)

    assert 0 < survive(kind, case) < CASES


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_records_of_our_own_files(task: str, tmp_path: Path) -> None:
    models: dict[str, Callable[[], Any]] = {
        "classify": lambda: phonecv.create_model("emo_1m", num_classes=3, form="deploy", **TINY["emo_1m"]),
        "detect": lambda: phonecv.create_detector(
            "ssdlite320", "mobileone_s0", num_classes=3, form="deploy", **TINY["mobileone_s0"]
        ),
        "segment": lambda: phonecv.create_segmenter(
            "segformer", "mobileone_s0", num_classes=3, form="deploy", **TINY["mobileone_s0"]
        ),
    }
    path = phonecv.save_checkpoint(models[task](), tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["phonecv"])
    tensors, target = load_file(path), tmp_path / "b.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    assert len(tensors) > 20

    def case(rng: random.Random) -> None:
        header["__metadata__"]["phonecv"] = json.dumps(mutated(rng, record, (*ODD, 99, 16384, [256] * 4, [0, 0, 0, 0])))
        text = json.dumps(header).encode()
        target.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
        phonecv.read_checkpoint(target)
        if rng.random() < 0.1:  # these build networks
            assert info(str(target)).fields()
            phonecv.load_checkpoint(None, target)

    assert survive(f"record of {task}", case, CASES // 3) > 0
