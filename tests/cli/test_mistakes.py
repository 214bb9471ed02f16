"""Three mistakes or more that a person would make with each verb: one clear line, status 2, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Run

#: argv (with {folder} of checkpoints, {data} of pictures, {tmp}) and words that the message must hold.
MISTAKES = [
    # models
    ("models emo_7m", ["'emo_7m'", "emo_"]),
    ("models a b", ["unexpected argument 'b'"]),
    ("models --weight", ["--weight", "--weights"]),
    # info
    ("info", ["NAME|FILE"]),
    ("info emov2_5", ["'emov2_5'", "did you mean"]),
    ("info {tmp}/none.pth", ["there is no file", "none.pth"]),
    ("info {data}", ["is a folder"]),
    ("info emo_1m --form fused", ["fused", "deploy"]),
    ("info emo_1m --size small", ["--size", "small"]),
    ("info emo_1m --size 0", ["0", "224"]),
    # train
    ("train fintune --data {data} --out {tmp}/run", ["'fintune'", "did you mean 'finetune'"]),
    ("train finetune --data {data}", ["--out"]),
    ("train finetune --data {data} --out {tmp}/run schedule.epoch=3", ["schedule.epoch", "epochs"]),
    ("train finetune --data {data} --out {tmp}/run schedule.epochs=many", ["schedule.epochs", "many"]),
    ("train finetune --data {tmp}/nothing --out {tmp}/run", ["nothing"]),
    ("train finetune --data {data} --out {tmp}/run --devices two", ["--devices", "two"]),
    # distill
    ("distill finetune --data {data} --out {tmp}/run", ["no teacher", "--teacher"]),
    ("distill finetune --teacher emo_1m --kind medium", ["medium", "soft", "hard"]),
    ("distill finetune --teacher emo_1m --temperature 0 --show", ["temperature"]),
    # eval
    ("eval {folder}/emo_1m.safetensors", ["--data"]),
    ("eval {folder}/emo_1m.safetensor --data {data}", ["emo_1m.safetensor"]),
    ("eval {folder}/emo_1m.safetensors --data {tmp}/nothing", ["nothing"]),
    ("eval {folder}/emo_1m.safetensors --data {data} --split test", ["test", "val"]),
    ("eval {folder}/emo_1m.safetensors --data {data} --batch-size 0", ["batch_size=0"]),
    ("eval {folder}/emo_1m.safetensors --data {data} --device gpu", ["'gpu'"]),
    ("eval emo_1m --data {data} --ema", ["--ema", "checkpoint"]),
    # predict
    ("predict {folder}/emo_1m.safetensors", ["no pictures"]),
    ("predict {folder}/emo_1m.safetensors {tmp}/none.jpg", ["none.jpg"]),
    ("predict {tmp}/none.safetensors {data}", ["none.safetensors"]),
    ("predict {folder}/emo_1m.safetensors {data} --topk 0", ["topk=0"]),
    # fuse
    ("fuse {folder}/emo_1m.safetensors", ["TARGET"]),
    ("fuse {folder}/emo_1m.safetensors {tmp}/x.pth", [".safetensors"]),
    ("fuse {folder}/emo_1m.safetensors {folder}/emo_1m.safetensors", ["source and destination"]),
    ("fuse {folder}/emo_1m.safetensors {folder}/emov2_1m.safetensors", ["exists already", "--force"]),
    ("fuse {folder}/emo_1m.safetensors {tmp}/x.safetensors --model mobileone_s0", ["emo", "mobileone"]),
    # convert
    ("convert {folder}/emo_1m.safetensors {tmp}/x.pth --to appel", ["appel", "apple"]),
    ("convert {folder}/emo_1m.safetensors {tmp}/x.pth --to apple", ["emo", "apple"]),
    ("convert {folder}/emo_1m.safetensors {tmp}/x.pth", [".safetensors"]),
    ("convert {folder}/mobileone_s0.safetensors {tmp} --to apple", ["is a folder", "name the file"]),
    # export
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --to onyx", ["'onyx'", "did you mean 'onnx'"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.tflit", [".onnx"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --to onnx,pt2", ["2 formats", "give a folder"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.pt2 --to onnx", ["does not end in .onnx"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --to ,", ["names no format"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --precision int8", ["int8", "fp16"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --max-diff 3", ["max_diff 3"]),
    ("export {folder}/emo_1m.safetensors {tmp}/x.onnx --size 64by64", ["64by64", "224x320"]),
    ("export {tmp}/none.pth {tmp}/x.onnx", ["none.pth"]),
    # audit
    ("audit", ["DATA"]),
    ("audit {tmp}/nothing", ["nothing"]),
    ("audit {data} --quik", ["--quik", "--quick"]),
    # doctor
    ("doctor all", ["unexpected argument 'all'"]),
    ("doctor --jsn", ["--jsn", "--json"]),
    ("doctor --json=maybe", ["maybe"]),
    # demo
    ("demo runs", ["unexpected argument 'runs'"]),
    ("demo --seed none", ["--seed", "none"]),
    ("demo --epoch 3", ["--epoch", "--epochs"]),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gets_one_clear_line(
    line: str, words: list[str], run: Run, checkpoints: Path, pictures: Path, tmp_path: Path
) -> None:
    places = {"folder": checkpoints, "data": pictures, "tmp": tmp_path}
    done = run(*(word.format(**places) for word in line.split()))
    message = done.err.splitlines()
    assert done.status == 2, done
    assert len(message) == 1, done.err
    assert message[0].startswith("phonecv: error: ")
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word.format(**places) in message[0]
