"""Downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import phonecv
import phonecv.weights.download as download
from phonecv.errors import UserError
from phonecv.files import cache_dir
from phonecv.models.catalog import MODELS, WeightRecord
from phonecv.preprocessing import Preprocessing
from phonecv.weights import fetch
from weights.helpers import same

CONTENT = bytes(range(256)) * 4000  # 1 MB
BLOB = hashlib.sha1(b"blob 1024000\0" + CONTENT, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`, keeps what was asked, and misbehaves on request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cut_after: list[int] = []  # bytes after which each of the next answers breaks off
        self.status: int | None = None
        self.asked: list[dict[str, str]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    @property
    def site(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.site
        server.asked.append(dict(self.headers))
        if server.status is not None:
            self.send_error(server.status)
            return
        start = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def record(server: Server, digest: str | None = f"sha256:{SHA256}", **changes: Any) -> WeightRecord:
    made = WeightRecord(
        tag="official",
        url=f"http://127.0.0.1:{server.server_port}/net.pth",
        filename="tiny.pth",
        layout="emo",
        form="training",
        digest=digest,
        min_bytes=1000,
        licence="none",
        top1=1.0,
        top5=None,
        source="test",
    )
    return replace(made, **changes)


@pytest.mark.parametrize("digest", [f"sha256:{SHA256}", f"sha256-prefix:{SHA256[:8]}", f"git-blob:{BLOB}", None])
def test_a_file_is_fetched_once_and_checked(server: Server, digest: str | None, tmp_path: Path) -> None:
    path = fetch(record(server, digest), cache_dir=tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "tiny.pth"
    assert path.read_bytes() == CONTENT
    assert not [p for p in path.parent.iterdir() if ".part" in p.name]
    assert fetch(record(server, digest), cache_dir=path.parent) == path
    assert len(server.asked) == 1
    assert server.asked[0]["User-Agent"].startswith("phonecv/")


def test_the_git_digest_is_git_s_own(tmp_path: Path) -> None:
    # `printf 'hello\n' | git hash-object --stdin`
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert download.digest(path, "git-blob") == "ce013625030ba8dba906f756967f9e9ca394464a"
    with pytest.raises(UserError, match="md5"):
        download.digest(path, "md5")


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000, 200_000]
    path = fetch(record(server), cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.asked[1]["If-Range"] == '"one"'


def test_a_killed_download_is_resumed_by_the_next_process(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.pth.part").write_bytes(CONTENT[:700_000])
    assert fetch(record(server), cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.asked[0]["Range"] == "bytes=700000-"


def test_a_part_that_is_whole_already_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.pth.part").write_bytes(CONTENT)
    assert fetch(record(server), cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(record(server), cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [300_000]
    assert fetch(record(server), cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000] * 20
    server.ranges = False
    with pytest.raises(UserError, match="bytes are kept"):
        fetch(record(server), cache_dir=tmp_path)
    server.cut_after, server.ranges = [], True
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(record(server, None), cache_dir=tmp_path).read_bytes() == CONTENT[::-1]


def test_wrong_content_is_discarded(server: Server, tmp_path: Path) -> None:
    for digest in (f"sha256:{'0' * 64}", "sha256-prefix:00000000", f"git-blob:{'0' * 40}"):
        with pytest.raises(UserError, match=r"is not the published file.*tiny\.pth"):
            fetch(record(server, digest), cache_dir=tmp_path)
    with pytest.raises(UserError, match="the weights alone have 2,000,000"):
        fetch(record(server, None, min_bytes=2_000_000), cache_dir=tmp_path)
    server.content = b"<!DOCTYPE html>" + b"x" * 5000
    with pytest.raises(UserError, match="web page"):
        fetch(record(server, None), cache_dir=tmp_path)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith((".lock", ".tag"))] == []


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_a_server_s_refusal_names_the_address_and_the_place(server: Server, status: int, tmp_path: Path) -> None:
    server.status = status
    with pytest.raises(UserError, match=str(status)) as error:
        fetch(record(server), cache_dir=tmp_path)
    assert f"download http://127.0.0.1:{server.server_port}/net.pth by hand" in str(error.value)
    assert str(tmp_path / "tiny.pth") in str(error.value)


def test_without_a_connection_the_message_says_what_to_do(server: Server, tmp_path: Path) -> None:
    nowhere = record(server, url="http://127.0.0.1:9/net.pth")
    with pytest.raises(UserError, match=r"cannot download .* by hand and save it as .*tiny\.pth"):
        fetch(nowhere, cache_dir=tmp_path)
    # A file put there by hand is taken, if it is the right one.
    (tmp_path / "tiny.pth").write_bytes(CONTENT)
    assert fetch(nowhere, cache_dir=tmp_path) == tmp_path / "tiny.pth"
    (tmp_path / "tiny.pth").write_bytes(CONTENT[1:])
    with pytest.raises(UserError, match=r"not the published file.* delete it"):
        fetch(nowhere, cache_dir=tmp_path)
    assert server.asked == []


def test_two_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(record(server), cache_dir=tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "tiny.pth"] * 4
    assert len(server.asked) == 1


def test_the_cache_folder_can_be_chosen(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "mine"))
    assert fetch(record(server)) == tmp_path / "mine" / "tiny.pth"
    monkeypatch.delenv("PHONECV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "phonecv"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="PHONECV_CACHE"):
        fetch(record(server), cache_dir=tmp_path / "file")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "net.pth"])
def test_only_http_is_fetched(server: Server, url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an http"):
        fetch(record(server, url=url), cache_dir=tmp_path)
    with pytest.raises(UserError, match="plain file name"):
        fetch(record(server, filename="../a.pth"), cache_dir=tmp_path)


def test_catalog_records_are_fit_to_be_fetched(tmp_path: Path) -> None:
    names = []
    for model in MODELS.values():
        for entry in model.weights:
            names.append(entry.filename)
            if not entry.url:
                with pytest.raises(UserError, match=r"cannot be fetched by a program.*Save the file as"):
                    fetch(entry, cache_dir=tmp_path)
            if entry.digest is not None:
                kind, _, value = entry.digest.partition(":")
                assert len(value) == {"git-blob": 40, "sha256": 64, "sha256-prefix": 8}[kind]
    assert len(set(names)) == len(names) > 30


@pytest.mark.parametrize("tag", ["official", "kd"])
def test_create_model_fetches_by_tag(tag: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = phonecv.create_model("emo_1m")
    server.content = phonecv.save_checkpoint(source, tmp_path / "net.pth", layout="emo").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(server.content) + server.content, usedforsecurity=False).hexdigest()
    evaluated = Preprocessing(size=256, crop=0.9)
    entry = record(server, f"git-blob:{blob}", tag=tag, preprocessing=evaluated)
    monkeypatch.setitem(MODELS, "emo_1m", replace(MODELS["emo_1m"], weights=(entry,)))
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        model = phonecv.create_model("emo_1m", weights=tag)
        assert same(model.state_dict(), source.state_dict())
        assert model.preprocessing == evaluated
    assert len(server.asked) == 1
    assert (tmp_path / "cache" / "tiny.pth").is_file()
