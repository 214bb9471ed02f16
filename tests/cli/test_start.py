"""What a mistake on the command line costs: no mistake in arguments waits for torch to be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    "audit nowhere", "info none.pth", "info emov2_5", "info file.onnx", "models", "models --heads segment", "train",
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
    assert found == [[line, "0" if line in fine else "2"] for line in LINES], done.stderr[-3000:]
