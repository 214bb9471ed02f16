"""Opening files: every container, and everything that only looks like one."""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import phonecv
from phonecv.errors import UserError
from phonecv.weights import torch_files
from phonecv.weights.reader import as_mapping, read_file
from weights.helpers import Payload

STATE = {
    "stage0.reparam_conv.weight": torch.randn(48, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
    "stage0.reparam_conv.bias": torch.zeros(48),
    "count": torch.tensor(3),
}


def torch_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def paddle(content: Any, path: Path) -> None:
    arrays = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in content.items()}
    path.write_bytes(pickle.dumps(arrays, protocol=4))


CONTAINERS: dict[str, tuple[str, Callable[[Any, Path], object]]] = {
    "torch-zip": ("a.pth", torch.save),
    "torch-legacy": ("a.pth.tar", torch_legacy),
    "safetensors": ("a.safetensors", save_file),
    "pickle": ("a.pdparams", paddle),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_same_tensors(kind: str, tmp_path: Path) -> None:
    name, write = CONTAINERS[kind]
    path = tmp_path / name
    write(STATE, path)
    # The content decides, not the name.
    for place in (path, path.rename(tmp_path / "weights")):
        if not place.exists():
            continue
        raw = read_file(place)
        assert raw.kind == kind
        assert raw.bytes == place.stat().st_size
        assert raw.content.keys() == STATE.keys()
        assert all(torch.equal(raw.content[key], STATE[key]) for key in STATE)


def test_numpy_scores_and_parsed_arguments_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "train.pth"
    content = {
        "net": STATE,
        "topk_recorder": {"net_top1": [np.float64(71.5), np.float32(72.0)], "best": np.array([1.0, 2.0])},
        "args": argparse.Namespace(lr=0.1, name="x"),
        "epoch": 3,
    }
    torch.save(content, path)
    raw = read_file(path)
    assert torch.equal(raw.content["net"]["stage0.reparam_conv.bias"], torch.zeros(48))
    assert raw.content["topk_recorder"]["net_top1"] == [71.5, 72.0]


def test_the_loss_history_of_an_mmengine_checkpoint_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "mmengine.logging.history_buffer"
    module = ModuleType(name)

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history, self.max_length = np.zeros(3), 10

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = name, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer  # pyrefly: ignore
    for parent in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": STATE, "message_hub": {"log_scalars": {"train/loss": HistoryBuffer()}}}, path)
    monkeypatch.undo()
    assert torch.equal(read_file(path).content["state_dict"]["count"], torch.tensor(3))


def payloads(marker: Path) -> dict[str, Callable[[Path], object]]:
    evil = Payload(marker)
    return {
        "zip.pth": lambda path: torch.save({**STATE, "x": evil}, path),
        "legacy.pth": lambda path: torch_legacy({**STATE, "x": evil}, path),
        "epoch.pth.tar": lambda path: torch.save({"state_dict": STATE, "epoch": evil}, path),
        "optimizer.pth": lambda path: torch.save(
            {"net": STATE, "optimizer": {"state": {0: {"exp_avg": [evil]}}}}, path
        ),
        "raw.pth": lambda path: path.write_bytes(pickle.dumps([evil, {}], protocol=2)),
        "paddle.pdparams": lambda path: paddle({**STATE, "x": evil}, path),
        "objects.pdparams": lambda path: paddle({"x": np.array([evil], dtype=object)}, path),
        "array.npy": lambda path: np.save(path, np.array([evil], dtype=object), allow_pickle=True),
        "arrays.npz": lambda path: np.savez(path, w=np.array([evil], dtype=object)),
        "config.yaml": lambda path: path.write_text(f"a: !!python/object/apply:os.system ['touch {marker}']\n"),
        "protocol0.pth": lambda path: path.write_bytes(pickle.dumps(evil, protocol=0)),
    }


@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_a_payload_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / name
    payloads(marker)[name](path)
    for action in (read_file, phonecv.read_checkpoint, lambda p: phonecv.load_checkpoint("mobileone_s0", p)):
        with pytest.raises(UserError, match=name):
            action(path)
    assert not marker.exists()


def not_checkpoints() -> dict[str, tuple[str, bytes]]:
    """Name -> (part of the message, content)."""
    zero_dim = json.dumps({"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 16]}}).encode()
    overlap = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
        }
    ).encode()
    deep = b'{"__metadata__":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
    return {
        "empty.pth": ("empty", b""),
        "page.pth": ("web page", b"<!DOCTYPE html><html>Quota exceeded</html>"),
        "lfs.pth": ("git-lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "text.pth": ("text file", b"hello\n"),
        "noise.pth": ("not a checkpoint of a known format", random.Random(1).randbytes(600)),
        "noise.onnx": ("ONNX", random.Random(1).randbytes(600)),
        "packed.pth": ("gzip", gzip.compress(b"x" * 100)),
        "long.safetensors": ("header claims", struct.pack("<Q", 2**62) + b"{}"),
        "text.safetensors": ("not JSON", struct.pack("<Q", 8) + b"not json"),
        "list.safetensors": ("not a mapping", struct.pack("<Q", 2) + b"[]"),
        "short.safetensors": ("only 3 bytes", b"abc"),
        "lies.safetensors": ("claims shape", struct.pack("<Q", len(zero_dim)) + zero_dim + b"\0" * 16),
        "overlap.safetensors": ("overlaps", struct.pack("<Q", len(overlap)) + overlap + b"\0" * 24),
        "deep.safetensors": ("JSON|metadata", struct.pack("<Q", len(deep)) + deep),
        "half.safetensors": ("incomplete", struct.pack("<Q", 14) + b'{"w":{"a": 1}}'),
    }


@pytest.mark.parametrize("name", list(not_checkpoints()))
def test_what_is_no_checkpoint_is_said_in_one_line(name: str, tmp_path: Path) -> None:
    expected, content = not_checkpoints()[name]
    path = tmp_path / name
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(UserError, match=expected) as error:
        read_file(path)
    assert time.perf_counter() - start < 2.0
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_folders_and_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_file(tmp_path / "none.pth")
    with pytest.raises(UserError, match="folder"):
        read_file(tmp_path)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="zip archive"):
        read_file(archive)
    packed = tmp_path / "b.pth"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", b"\x80\x02}.")
        made.writestr("archive/data/0", b"\0" * 10_000_000)
    with pytest.raises(UserError, match="compressed"):
        read_file(packed)
    tar = tmp_path / "c.pth.tar"
    with tarfile.open(tar, "w") as made_tar:
        made_tar.add(archive, "a.zip")
    with pytest.raises(UserError, match="tar archive"):
        read_file(tar)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {0: torch.zeros(1)}, torch.zeros(1), 3])
def test_other_content_than_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"a\.pth"):
        read_file(path)


def test_tensors_that_are_not_what_they_seem_are_refused() -> None:
    huge = torch.zeros(1).expand(10**6, 10**6)  # a copy would take 4 TB
    for tensor in (
        huge,
        torch.zeros(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.zeros(2, dtype=torch.complex64),
    ):
        with pytest.raises(UserError, match="weight"):
            as_mapping({"weight": tensor}, "it")
        with pytest.raises(UserError, match="weight"):
            as_mapping({"net": {"weight": tensor}}, "it")


def test_a_stretched_tensor_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"weight": torch.zeros(1).expand(10**6, 10**6)}, path)
    with pytest.raises(UserError, match="more than are stored"):
        read_file(path)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_damaged_files_give_tensors_or_a_message(kind: str, tmp_path: Path) -> None:
    name, write = CONTAINERS[kind]
    path = tmp_path / name
    write(STATE, path)
    good = path.read_bytes()
    rng = random.Random(3)
    messages = []
    for i in range(150):
        damaged = bytearray(good)
        if i % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            # Mostly in the structure: at the start, and at the end where a zip has its list.
            for _ in range(3):
                place = rng.randrange(min(900, len(good)))
                damaged[place if i % 3 == 1 else -1 - place] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_file(path)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert max(map(len, messages)) < 600


def hostile_rows() -> list[str]:
    folder = os.environ.get("PHONECV_SHARED", Path(__file__).resolve().parents[3] / "shared")
    manifest = Path(folder) / "data" / "hostile" / "MANIFEST.csv"
    if not manifest.is_file():
        return ["none"]
    with manifest.open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file) if row and row[0].startswith("ckpt/")]


#: Manifest outcomes other than a refusal when the file is loaded, as far as the names match, into MobileOne-S0.
LOADS = {"good_zip.pth", "good_legacy.pth", "good.pdparams", "module_prefix.pth", "half.pth"}
SAYS = {
    "wrong_shape.pth": r"stage0\.reparam_conv\.weight is \(64, 3, 3, 3\) in the file, \(48, 3, 3, 3\)",
    "nan_weights.pth": "not finite",
    "html.pth": "web page",
    "lfs_pointer.pth": "git-lfs",
    "list.pth": "list",
    "empty_dict.pth": "empty mapping",
    "int_keys.pth": "key 0",
    "zero.pth": "empty",
    "truncated.pth": "damaged",
    "huge_header.safetensors": "header claims",
    "shape_lies.safetensors": "claims shape",
    "bad_header.safetensors": "not JSON",
}


@pytest.mark.parametrize("row", hostile_rows())
def test_every_shared_hostile_file_gets_the_outcome_of_its_manifest(
    row: str, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("HOSTILE_MARKER", str(marker))
    monkeypatch.chdir(tmp_path)
    path = shared_dir / "data" / "hostile" / row
    name = path.name
    start = time.perf_counter()
    if name in LOADS:
        info = phonecv.read_checkpoint(path)
        assert info.family == "mobileone"
        assert info.problems == ()
        assert info.num_classes == 10
        model = phonecv.load_checkpoint("mobileone_s0", path, strict=False, head="drop")
        assert model.get_parameter("stage0.reparam_conv.weight").dtype == torch.float32
        raw = read_file(path).content
        key = "stage0.reparam_conv.weight"
        stored = raw[key] if key in raw else raw["module." + key]
        assert torch.equal(model.get_parameter(key), stored.float())
    else:
        if name in ("nan_weights.pth", "wrong_shape.pth"):
            info = phonecv.read_checkpoint(path)
            assert bool(info.problems) == (name == "nan_weights.pth")
        else:
            with pytest.raises(UserError, match=name):
                phonecv.read_checkpoint(path)
        with pytest.raises(UserError, match=SAYS.get(name, name)) as error:
            phonecv.load_checkpoint("mobileone_s0", path, num_classes=10)
        assert name in str(error.value)
        if name.startswith("evil") and not name.endswith((".npy", ".yaml")):
            assert "unsafe content" in str(error.value)
    assert time.perf_counter() - start < 5.0
    assert not marker.exists()
    assert not list(tmp_path.iterdir())


def test_a_record_at_a_place_that_no_file_has(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("archive/byteorder")
    member.header_offset = 2**64 - 1
    (path := tmp_path / "a.pt").write_bytes(b"PK\x03\x04" + bytes(40))
    with path.open("rb") as file, pytest.raises(UserError, match="a record is not where it should be"):
        torch_files._record(file, member)
