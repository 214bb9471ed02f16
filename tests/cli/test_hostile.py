"""Hostile and broken files through every verb that opens a checkpoint: one clear line, and nothing in them runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cli.conftest import Run
from conftest import extract, mostly_long

VERBS = {
    "info": "info {file}",
    "eval": "eval {file} --data {data}",
    "predict": "predict {file} {data}/val/red",
    "fuse": "fuse {file} {out}/fused.safetensors",
    "convert": "convert {file} {out}/converted.safetensors",
    "export": "export {file} {out}/exported.onnx",
    "bench": "bench {file} --rounds 1 --seconds 0.1 --threads 1 --runtime eager --no-memory",
    "train": "train finetune --data {data} --out {out}/run model.weights={file} data.batch_size=8 run.progress=false",
    "distill": "distill from_scratch_small --teacher {file} --data {data} --out {out}/run {small}",
}
#: Files that are fine, at least as far as the names match: only `info` has something to say about those alone.
CONTROLS = {"good_zip.pth", "good_legacy.pth", "good.pdparams", "module_prefix.pth", "half.pth", "wrong_shape.pth"}


@pytest.mark.parametrize("verb", mostly_long(VERBS, "info", "eval", "train"))
def test_no_verb_runs_what_a_checkpoint_holds(
    verb: str, run: Run, shared_dir: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("HOSTILE_MARKER", str(marker))
    monkeypatch.chdir(tmp_path)
    files = sorted(path for path in (shared_dir / "data" / "hostile" / "ckpt").iterdir() if path.is_file())
    assert len(files) > 20
    for file in files:
        places = {"file": file, "data": pictures, "out": tmp_path / "out", "small": "data.batch_size=8"}
        done = run(*(word.format(**places) for word in VERBS[verb].split()))
        assert not marker.exists(), file
        assert not (tmp_path / "HOSTILE_MARKER_EXECUTED").exists(), file
        assert "Traceback" not in done.err, file
        if file.name in CONTROLS or (verb == "info" and file.name == "nan_weights.pth"):
            assert done.status in (0, 2), (file, done)
        else:
            assert done.status == 2, (file, done)
        if done.status == 2:
            *told, error = re.split(r"^phonecv: error: ", done.err, flags=re.MULTILINE)
            assert told, (file, done.err)
            assert file.name in error, (file, done.err)


@pytest.mark.slow
def test_odd_names_go_through_predict_and_audit(shared_dir: Path, checkpoints: Path, tmp_path: Path) -> None:
    """In a locale that knows only ASCII, in a process of its own, because the names are bytes."""
    with tarfile.open(shared_dir / "data" / "hostile" / "names" / "odd_names.tar") as archive:
        extract(archive, tmp_path)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    model = checkpoints / "emo_1m.safetensors"
    for argv in (["predict", model, tmp_path, "--out", tmp_path / "out"], ["audit", tmp_path / "data"]):
        done = subprocess.run([sys.executable, "-m", "phonecv", *argv], capture_output=True, env=environment)
        assert b"Traceback" not in done.stderr, done.stderr
        assert b"\x1b" not in done.stdout
        if argv[0] == "predict":
            assert done.returncode == 0, done.stderr
            assert len(done.stdout.splitlines()) == 11
            assert rb"line\x0abreak.jpg" in done.stdout
