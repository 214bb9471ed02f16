"""What a mistake on the command line costs: no mistake in arguments waits for torch to be imported."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import phonecv

#: Each ends with status 2, or prints what needs no network.
LINES = (
    "train finetune --epocs 3", "train fintune --data .", "train finetune --data nowhere --out run",
    "train finetune --data . schedule.epochs=many", "train finetune", "train finetune --show", "distill fintune",
    "eval none.pth --data .", "eval emov2_1m --data nowhere", "eval emov2_1m --dat .",
    "predict none.pth a.jpg", "predict emov2_1m none.jpg", "predict emov2_1m --topp 3",
    "export none.pth a.onnx", "export emov2_1m a.xyz", "export emov2_1m phone --to onx",
    "quantize none.pth phone --to onnx --data .", "quantize emov2_1m phone --to onnx --data nowhere",
    "bundle none.pth phone", "fuse none.pth a.safetensors", "convert none.pth a.safetensors", "bench none.pth",
    "audit nowhere", "info none.pth", "info emov2_5", "models", "models --heads segment", "train", "info file.onnx",
)  # fmt: skip


def test_mistakes_do_not_wait_for_torch(tmp_path: Path) -> None:
    (tmp_path / "file.onnx").touch()
    record = {"version": phonecv.__version__, "task": "classify", "model": "emov2_1m", "form": "deploy"}
    (tmp_path / "file.onnx.json").write_text(json.dumps(record), encoding="utf-8")
    code = (
        "import json, sys; from phonecv.cli import main\n"
        "heavy = {'torch', 'torchvision', 'timm', 'onnx', 'onnxruntime', 'cv2'}\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    status = main(line.split())\n"
        "    print('@', line, status, *sorted(heavy & set(sys.modules)), sep='|')\n"
        "main(['info', 'emov2_1m'])\n"
        "print('#', *sorted({'torch._dynamo', 'sympy', 'torchvision', 'timm'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(LINES)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = [line.split("|")[1:] for line in done.stdout.splitlines() if line.startswith("@|")]
    fine = ("info file.onnx", "models", "models --heads segment", "train", "train finetune --show")
    assert done.stdout.splitlines()[-1] == "#", "counting a network does not need torch's compiler"
    expected = [[line, "0" if line in fine else "2"] for line in LINES]
    expected[-1].append("onnx")  # which operators are in it
    assert found == expected, done.stderr[-3000:]


def test_an_exported_classifier_predicts_without_torch(tmp_path: Path) -> None:
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    write_mean_colour(tmp_path / "mean.onnx")
    Image.new("RGB", (40, 32), (0, 102, 255)).save(tmp_path / "blue.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code = (
        "import sys; from phonecv.cli import main\n"
        "status = main(['predict', 'mean.onnx', 'blue.png', 'torn.png', '--json'])\n"
        "print('#', status, *sorted({'torch', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    text, last = done.stdout.rsplit("# ", 1)
    assert last == "1\n", done.stderr[-3000:]
    blue, torn = json.loads(text)
    shares = {one["label"]: one["probability"] for one in blue["predictions"]}
    total = sum(math.exp(value) for value in (0, 0.4, 1))
    assert list(shares) == ["blue", "green", "red"]
    assert shares == pytest.approx({"blue": math.e / total, "green": math.exp(0.4) / total, "red": 1 / total}, rel=1e-6)
    assert torn["predictions"] == []
    assert torn["error"]


def write_mean_colour(path: Path) -> None:
    """A classifier whose logits are the mean red, green and blue of its picture, and its record."""
    from onnx import TensorProto, helper, save

    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 32])
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "mean", [taken], [given])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    record = {"preprocessing": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}, "classes": ["red", "green", "blue"]}
    path.with_name(f"{path.name}.json").write_text(json.dumps(record), encoding="utf-8")
