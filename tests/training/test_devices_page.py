"""The commands of docs/devices.md, as they are written, with two processes on this machine."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.conftest import Configure
from training.test_resume import wait_for_rows

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"

pytestmark = [pytest.mark.long, pytest.mark.slow]

#: In the place of Slurm's: what it starts on two machines is started twice here, and its numbers are kept for signals.
SRUN = """#!/bin/bash
"$@" & echo $! >> "$PIDS"
"$@" & echo $! >> "$PIDS"
wait $(sed -n 1p "$PIDS"); first=$?
wait $(sed -n 2p "$PIDS"); second=$?
exit $((first > second ? first : second))
"""


def blocks() -> list[str]:
    """The commands of the page, block by block."""
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


class Machines:
    """Where the page's folders, tools and machines are stood in for."""

    def __init__(self, folder: Path, recipe: Path, data: Path) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.words = {
            "emov2_224": str(recipe),
            "/data/imagenet": str(data),
            "/shared": str(folder),
            "node1:29500": f"127.0.0.1:{port}",
            "$first:29500": f"$first:{port}",
            "--devices 8": "--devices 2",
            " photos ": f" {data / 'val'} ",
            "predicted": str(folder / "predicted"),
        }
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PIDS": str(folder / "pids"),
            "SLURM_NNODES": "2",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "node[1-2]",
        }

    def start(self, script: str, processes: int = 1) -> subprocess.Popen[str]:
        for word, place in {**self.words, "--nproc-per-node 8": f"--nproc-per-node {processes}"}.items():
            script = script.replace(word, place)
        self.folder.joinpath("pids").unlink(missing_ok=True)
        return subprocess.Popen(
            ["bash", "-e", "-c", script],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture
def machines(configure: Configure, pictures: Path, tmp_path: Path) -> Machines:
    recipe = tmp_path / "recipe.yaml"
    settings = configure("model.mode=eval", "augment.hflip=0", "run.device=cpu", "data.path=", "run.out=")
    recipe.write_text(settings.to_yaml(), encoding="utf-8")
    return Machines(tmp_path, recipe, pictures)


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_one_machine_several_machines_and_slurm_compute_the_same(machines: Machines, tmp_path: Path) -> None:
    single, several, slurm, evaluating = blocks()
    out, found = tmp_path / "runs" / "emov2", {}
    for name, script in (("one", single), ("two", f"({several}) & ({several}); wait"), ("slurm", slurm)):
        output = ended(machines.start(script))
        assert output.count("finished in") == 1, output  # one process speaks
        assert "2 processes on cpu" in output
        found[name] = losses(out)
        out.rename(tmp_path / name)
    assert found["one"] == pytest.approx(found["two"], rel=1e-6)
    assert found["one"] == pytest.approx(found["slurm"], rel=1e-6)
    (tmp_path / "one").rename(out)
    output = ended(machines.start(evaluating, processes=2))
    summary = json.loads((out / "summary.json").read_text())
    shares = re.findall(r"(\d+)/10 top-1 \(([\d.]+) ", output)
    assert len(shares) == 2  # by --devices and by torchrun, once each
    assert all(float(percent) == pytest.approx(summary["best_score"]) for _, percent in shares)
    assert len(json.loads((tmp_path / "predicted" / "predictions.json").read_text())) == 10


def test_a_job_whose_time_is_over_goes_on(machines: Machines, configure: Configure, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "emov2"
    slurm = blocks()[2].replace("--out", "schedule.epochs=200 --out")
    job = machines.start(slurm)
    wait_for_rows(configure(f"run.out={out}"), 3)
    for pid in (tmp_path / "pids").read_text().split():
        os.kill(int(pid), signal.SIGTERM)
    output, _ = job.communicate(timeout=120)
    assert "The same command goes on from here" in output, output
    done = len(losses(out))
    time.sleep(0.1)
    output = ended(machines.start(blocks()[2].replace("--out", f"schedule.epochs={done // 6 + 2} --out")))
    assert f"going on from {out / 'state.pt'}" in output
    assert len(losses(out)) == 6 * (done // 6 + 2)
