"""Training from shards: a run that was killed goes on bit-equally, and learns what it would from single files."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonecv.data.rewriting import convert_data
from phonecv.training import train
from phonecv.training.setup import open_setup
from training.conftest import Configure
from training.test_resume import assert_same, crash


@pytest.mark.slow
def test_a_run_on_shards_goes_on_where_it_stopped(
    configure: Configure, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))
    convert_data(pictures, tmp_path / "shards")
    data = (f"data.path={tmp_path / 'shards'}", "run.save_every=1")
    whole, broken = configure(*data, out="whole"), configure(*data, out="broken")
    assert train(whole).finished
    crash(broken, 4, monkeypatch)
    assert train(broken).finished
    assert_same(whole, broken)
    # The same pictures as single files, in the same order.
    setup, plain = open_setup(whole), tmp_path / "plain"
    lists = []
    for split in ("train", "val"):
        names = [name.partition(".tar/")[2] for name in getattr(setup, split).names]
        lines = [f"{name}\t{name.split('/')[-2]}" for name in names]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
        lists.append(f"data.{split}_list={tmp_path / f'{split}.txt'}")
    files = configure(f"data.path={pictures}", *lists, "run.save_every=1", out=str(plain))
    assert train(files).finished
    assert_same(whole, files)
