"""Pictures in tar files: found, read like files of their own, the same in WebDataset; odd ones refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.folders.listing import read_split
from phonecv.data.pictures.opening import ImageError, open_image
from phonecv.data.shards.index import open_index
from phonecv.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path_factory.mktemp("cache")))


def png(seed: int) -> bytes:
    kept = io.BytesIO()
    noise(seed=seed).save(kept, "PNG")
    return kept.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def sample(name: str, seed: int, label: str) -> dict[str, bytes]:
    return {f"{name}.png": png(seed), f"{name}.cls": label.encode()}


def test_shards_of_splits(tmp_path: Path) -> None:
    for shard in range(2):
        files = {}
        for number in range(3):
            files |= sample(f"cat/{number}.x", 10 * shard + number, str(number % 2))
        write_tar(tmp_path / f"things-train-{shard:04}.tar", {k.replace(".x", ""): v for k, v in files.items()})
    write_tar(tmp_path / "val" / "00.tar", {"a.png": png(99), "a.json": json.dumps({"label": 1}).encode()})
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    train = read_split(tmp_path, "train")
    assert train.classes == ("cat", "dog")
    assert train.names == [f"things-train-{shard:04}.tar/cat/{number}.png" for shard in (0, 1) for number in range(3)]
    assert train.labels.tolist() == [0, 1, 0] * 2
    assert open_image(train.samples[4].path).tobytes() == noise(seed=11).tobytes()
    val = read_split(tmp_path, "val", classes=train.classes)
    assert (val.names, val.labels.tolist()) == (["val/00.tar/a.png"], [1])
    assert len(read_split(tmp_path, "train", list_file="things-train-{0000..0001}.tar")) == 6
    assert len(read_split(tmp_path, "train", list_file="things-train-0001.tar")) == 3
    with pytest.raises(UserError, match=r"things-train-0002\.tar: no such shard"):
        read_split(tmp_path, "train", list_file="things-train-{0000..0002}.tar")
    report = audit(tmp_path)
    assert report.layouts == ("shards (classify)",)
    assert report.checked == 7
    assert [finding for finding in report.findings if finding.severity == "error"] == []
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "val" / "00.tar" / "b.png")


def test_undivided_shards_and_bad_labels(tmp_path: Path) -> None:
    files = sample("0", 0, "dog") | sample("1", 1, "cat") | {"2.txt": b"alone", "3.png": b"no picture", "3.cls": b"cat"}
    write_tar(tmp_path / "a.tar", files)
    listing = read_split(tmp_path, "all")
    assert listing.classes == ("cat", "dog")
    assert listing.labels.tolist() == [1, 0, 0]
    assert [problem for problem in listing.problems if "without a picture: 1 sample" in problem]
    findings = audit(tmp_path).findings
    assert [finding.path for finding in findings if finding.kind == "unreadable"] == ["a.tar/3.png"]
    write_tar(tmp_path / "a.tar", sample("0", 0, "dog") | {"1.png": png(1)})
    with pytest.raises(UserError, match=r"a\.tar/1\.png: no label"):
        read_split(tmp_path, "all")


def links(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("0.png")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(member)


def outside(tar: tarfile.TarFile) -> None:
    tar.addfile(tarfile.TarInfo("../0.png"))


def huge(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("0.png")
    member.size = 1 << 40
    tar.fileobj.write(member.tobuf())  # type: ignore[union-attr]


def twice(tar: tarfile.TarFile) -> None:
    for _ in range(2):
        tar.addfile(tarfile.TarInfo("0.png"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (links, "is a link"),
        (outside, "leads out of it"),
        (huge, "has 1,099,511,627,776 bytes"),
        (twice, "is there twice"),
    ],
)
def test_odd_shards_are_refused(write: object, message: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        write(tar)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        open_index(tmp_path / "a.tar")


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", sample("0", 0, "1")).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:700])
    with pytest.raises(UserError, match=r"cut off|not a plain tar"):
        open_index(tmp_path / "cut.tar")
    with tarfile.open(tmp_path / "b.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    with pytest.raises(UserError, match="not compressed"):
        open_index(tmp_path / "b.tar")


def test_the_index_is_kept_and_follows_the_file(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", sample("0", 0, "1"))
    first = open_index(shard)
    assert first.find(b"0.png") == 0
    assert first.find(b"1.png") is None
    write_tar(shard, sample("1", 0, "1") | sample("2", 1, "1"))
    assert open_index(shard).find(b"2.cls") == 3
