"""What a command costs before it does anything: processor time of whole processes, bytecode compiled.

    python benchmarks/startup.py

Seconds of processor time, the system's included, which other work on the machine disturbs less than the clock: the
least of several rounds, in which the commands take turns. "import torch" stands beside, below which nothing that runs
a network can fall.

Writes benchmarks/results/startup.json: the part of this kind of processor, those of others stay. About two minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import phonecv
from kinds import write_kind
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import disturbances

RESULTS = Path(__file__).parent / "results" / "startup.json"

#: Group -> what is typed after `phonecv`; "-c" is Python's.
COMMANDS = {
    "Python": ("-c pass", "-c import torch"),
    "no network": ("--version", "--help", "train --help", "models", "train probe --about", "doctor"),
    "mistakes": (
        "train finetune --epocs 3", "train fintune --data .", "train finetune --data nowhere --out run",
        "train finetune --data . schedule.epochs=many", "eval none.pth --data .", "predict net.pth none.jpg",
        "export net.pth net.xyz", "quantize none.pth phone --to onnx --data .", "bench none.pth",
    ),
    "info": ("info emov2_1m", "info net.safetensors", "info net.pth", "info net.onnx"),
    "one picture": ("predict net.safetensors picture.jpg", "predict net.onnx picture.jpg"),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """A checkpoint in our layout and in another, an exported file, a picture."""
    torch.manual_seed(0)
    network = settle(phonecv.create_model("emov2_1m", num_classes=10), size=224).eval()
    phonecv.save_checkpoint(network, folder / "net.safetensors")
    torch.save({"state_dict": network.state_dict()}, folder / "net.pth")
    phonecv.export(network, folder / "net.onnx")
    Image.effect_noise((640, 480), 60).convert("RGB").save(folder / "picture.jpg")


def processor_seconds(command: str, folder: Path) -> float:
    """Of the whole process."""
    arguments = ["-c", command[3:]] if command.startswith("-c ") else ["-m", "phonecv", *command.split()]
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 2):
        sys.exit(f"{command} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the rounds, and write the part of this processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each command (default 3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    if sys.dont_write_bytecode:
        sys.exit("Python keeps no bytecode here (PYTHONDONTWRITEBYTECODE), which would be timed instead")
    warnings = disturbances()
    seconds: dict[str, list[float]] = {command: [] for group in COMMANDS.values() for command in group}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        for command in seconds:
            processor_seconds(command, folder)  # compiles what is not yet
        for _ in range(chosen.rounds):
            for command, times in seconds.items():
                times.append(processor_seconds(command, folder))
    for command, times in seconds.items():
        print(f"{command:45} {min(times):6.2f} s")
    found = {command: round(min(times), 3) for command, times in seconds.items()}
    part = {"warnings": warnings, "rounds": chosen.rounds, "seconds": found}
    write_kind(chosen.out, {"command": "python benchmarks/startup.py", "groups": COMMANDS}, part)


if __name__ == "__main__":
    main()
