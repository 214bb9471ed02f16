"""Mistakes that are found before torch is loaded and before other processes start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phonecv.classify.checks import read_splits
from phonecv.classify.config import ClassifyConfig
from phonecv.errors import UserError
from phonecv.training import checks, launch, load_config, train
from training.conftest import Configure

CASES = [
    ("data.path=/none", 1, "'/none': no such folder"),
    ("data.path=/none", 2, "'/none': no such folder"),
    ("data.path=", 1, "no data set was given"),
    ("data.train_list=absent.txt", 2, "absent.txt: no such list file"),
    ("model.weights=absent.pth", 2, "model.weights='absent.pth': no such file"),
    ("model.weights=oficial", 2, "did you mean 'official'"),
    ("model.weights={folder}", 1, "is a folder; name the checkpoint file in it"),
    ("model.name=emo_1", 2, "did you mean 'emo_1m'"),
    ("distill.teacher=absent.pth", 1, "distill.teacher='absent.pth': no such file"),
    ("data.batch_size=63", 2, "data.batch_size=63 does not divide by 2 processes"),
    ("run.device=cpu", 0, "devices=0 is not a number of processes"),
    ("run.device=cpu", 4096, "devices=4096, but there is no GPU here"),
    ("run.out=", 1, "no run folder was given"),
    ("run.out={file}/x", 2, "is not a folder"),
    ("run.out={file}", 1, "nothing can be written to the run folder"),
]


@pytest.mark.parametrize(("override", "devices", "message"), CASES)
def test_mistakes_are_found_before_anything_is_started(
    override: str, devices: int, message: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("too late")

    monkeypatch.setattr(launch, "launch", started)
    (tmp_path / "file").write_text("x")
    config = configure(override.format(folder=tmp_path, file=tmp_path / "file"))
    with pytest.raises(UserError) as caught:
        train(config, devices=devices)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("detect_small", "no annotations of 'train' here"), ("segment_small", "no"), ("finetune", "")],
)
def test_data_of_another_task(recipe: str, message: str, pictures: Path, tmp_path: Path) -> None:
    config = load_config(recipe, [f"data.path={pictures}", f"run.out={tmp_path / 'run'}", "data.batch_size=4"])
    if not message:
        checks.check_before(config)
        assert isinstance(config, ClassifyConfig)
        listed = read_splits(config)  # the listing of the check, handed on once
        assert read_splits(config) is not listed
        return
    with pytest.raises(UserError, match=message):
        checks.check_before(config, 2)


def test_nothing_heavy_is_loaded_for_it(pictures: Path) -> None:
    code = (
        "import sys\nfrom phonecv.cli import main\n"
        f"words = ['--data', {str(pictures)!r}, '--out', 'x', 'model.weights=none.pth']\n"
        "assert main(['train', 'finetune', *words]) == 2\n"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1


def test_cores_count_only_without_a_gpu(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "usable_cores", lambda: 4)
    monkeypatch.setattr(checks, "_may_have_gpu", lambda device: device != "cpu")
    checks.check_processes("auto", 8)
    with pytest.raises(UserError, match="may use 4 cores; use devices=4 or fewer"):
        checks.check_processes("cpu", 8)
    monkeypatch.setattr(checks, "usable_cores", lambda: 1)
    checks.check_processes("cpu", 2)
    assert os.environ.get("WORLD_SIZE") is None
