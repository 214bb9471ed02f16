"""The guides' training commands, run one after the other in one folder, as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest

from documented import lay_out, shortened, shrink_catalog, training_commands
from phonecv.cli.app import main
from training.conftest import pictures, scenes

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/train.md", "docs/detection.md", "docs/segmentation.md")

#: Commands that need what no test has, by a word of theirs.
ELSEWHERE = {"emov2_224_kd": "a teacher of timm with public weights", "timm:resnet50": "the same"}

__all__ = ["pictures", "scenes"]  # fixtures


@pytest.mark.parametrize("page", PAGES)
def test_training_commands_run(
    page: str, pictures: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_catalog(monkeypatch, tmp_path / "cache")
    folder = tmp_path / "work"
    folder.mkdir()
    lay_out(folder, pictures, scenes)
    monkeypatch.chdir(folder)
    commands = training_commands(ROOT / page)
    ran = [tokens for tokens in commands if not ELSEWHERE.keys() & set(tokens)]
    assert ran
    for tokens in ran:
        assert main(shortened(tokens)) == 0, " ".join(tokens)
        if "--out" in tokens:
            assert (folder / tokens[tokens.index("--out") + 1] / "best.safetensors").is_file()
