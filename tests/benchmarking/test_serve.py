"""The server of the phone page: what it gives, to whom, and what it takes."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from benchmarking.reports import report
from exporting.onnx.files import classifier
from phonecv.benchmarking import serve as serve_module
from phonecv.benchmarking import tls
from phonecv.benchmarking.page_figures import MAX_BYTES
from phonecv.benchmarking.page_models import PageModel, open_models
from phonecv.benchmarking.serve import PageServer, serve
from phonecv.browser import fetch
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord

RECORD = {
    "task": "classify", "model": "mobileone_s0", "form": "deploy", "precision": "float32", "outputs": ["logits"],
    "classes": ["stop", "go"], "input_size": [32, 32], "input_range": "normalised",
    "preprocessing": {"size": 32, "crop": 0.875, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.25] * 3},
    "test": {"picture": "signs.test.png", "outputs": {"logits": {"shape": [2], "values": [0.25, -1.5]}}},
}  # fmt: skip


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class Site:
    """A running server and a way to ask it."""

    server: PageServer
    folder: Path
    saved: list[Path] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            return Answer(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, place: str, **more: Any) -> Answer:
        return self.ask(f"/{self.server.token}/{place}", **more)

    def post(self, value: Any, **headers: str) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.get("figures", method="POST", body=body, **{"Content_Type": "application/json"} | headers)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What looks like an exported file, with its record and test picture."""
    pytest.importorskip("onnx")
    path = classifier(tmp_path / "signs.onnx")
    (tmp_path / "signs.onnx.json").write_text(json.dumps(RECORD))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "signs.test.png")
    (tmp_path / "secret.txt").write_text("not for you")
    return path


@pytest.fixture
def site(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(fetch, "ready", lambda: True)
    saved: list[Path] = []
    with PageServer(
        open_models([model]), tmp_path / "run", host="127.0.0.1", port=0, saved=lambda _, path: saved.append(path)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Site(server, tmp_path, saved)
        server.shutdown()
        thread.join()


def test_the_page_and_everything_it_names_is_there(site: Site) -> None:
    page = site.get("")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    names = ["frame.html", *re.findall(r'(?:src|href)="([^":]+)"', page.body.decode())]
    for name in names:  # grows on the way
        found = site.get(name)
        assert found.status == 200, name
        text = found.body.decode()
        assert "://" not in text, "the page names no address of another place"
        names += [item for item in re.findall(r'(?:from "\./|src=")([^"]+)"', text) if item not in names]
    assert {"app.js", "style.css", "picture.js", "look.js", "words.js", "frame.js", "engines.js"} <= set(names)


PAGE_MODEL = PageModel(Path("m.onnx"), "m.onnx", "onnx", "", {})


@pytest.mark.parametrize(
    ("record", "title", "third"),
    [
        ({}, "m.onnx", "great white shark"),  # the page takes the names if there are a thousand outputs
        ({"model": "mobileone_s0", "num_classes": 1000, "classes": None}, "mobileone_s0, float32", "great white shark"),
        ({"model": "emo_1m", "num_classes": 3, "precision": "int8"}, "emo_1m, int8", None),
        ({"num_classes": 3, "classes": ["a", "b", "c"]}, "m.onnx", "c"),
        ({"task": "detect", "num_classes": 1000}, "m.onnx", None),
    ],
)
def test_the_page_calls_classes_as_predict_does(record: FileRecord, title: str, third: str | None) -> None:
    model = dataclasses.replace(PAGE_MODEL, record=record)
    classes = model.classes()
    assert model.title() == title
    assert (None if classes is None else classes[2]) == third


def test_what_the_page_is_told_about_a_file(site: Site, model: Path) -> None:
    config = json.loads(site.get("config.json").body)
    (told,) = config["files"]
    size = model.stat().st_size
    assert (told["name"], told["format"], told["bytes"], told["input_size"]) == ("signs.onnx", "onnx", size, [32, 32])
    assert told["preprocessing"] == RECORD["preprocessing"]
    assert told["classes"] == ["stop", "go"]
    assert told["title"] == "mobileone_s0, float32"
    assert told["test"] == {"url": "tests/0.png", "outputs": [[0.25, -1.5]]}
    assert site.get(told["url"]).body == model.read_bytes()
    assert site.get("tests/0.png").body == (site.folder / "signs.test.png").read_bytes()
    head = site.get(told["url"], method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(size), b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/{token}/", "GET", 200),
        ("/{token}/models/0", "GET", 200),
        ("/", "GET", 403),
        ("/{token}/nothing", "GET", 404),
        ("/{token}/figures", "POST", 415),
        ("/{token}/", "DELETE", 501),
    ],
)
def test_every_answer_asks_for_isolation(site: Site, path: str, method: str, status: int) -> None:
    found = site.ask(path.format(token=site.server.token), method)
    assert found.status == status
    assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert found.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert found.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert found.headers["Referrer-Policy"] == "no-referrer"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in found.headers["Content-Security-Policy"]


@pytest.mark.parametrize("token", ["", "wrong", "{right}x", "{half}", "%00", "%2e%2e"])
@pytest.mark.parametrize("place", ["", "index.html", "config.json", "models/0", "figures"])
def test_without_the_token_there_is_nothing(site: Site, token: str, place: str) -> None:
    right = site.server.token
    given = token.format(right=right, half=right[:10])
    for method in ("GET", "HEAD", "POST"):
        found = site.ask(f"/{given}/{place}", method, b"{}" if method == "POST" else None)
        assert found.status == 403
        assert b"stop" not in found.body
    assert site.saved == []


def test_a_token_of_odd_bytes_is_wrong_too(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.server.server_port), timeout=20) as connection:
        connection.sendall(b"GET /\xff\xfe\xe9/ HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


def test_tokens_are_long_and_new_every_time(site: Site) -> None:
    assert len(site.server.token) >= 20
    with PageServer(site.server.models, site.folder, host="127.0.0.1", port=0) as other:
        assert other.token != site.server.token


@pytest.mark.parametrize(
    "place",
    [
        "secret.txt", "models/1", "models/00", "models/0/", "models/../models/0", "models/../../secret.txt",
        "../{token}/models/0", "..%2f..%2fsecret.txt", "%2e%2e/secret.txt", "models/%2e%2e/0", "./models/0",
        "/etc/passwd", "//etc/passwd", "tests/../signs.onnx", "fetch.py", "package-lock.json", "__init__.py",
        "vendor/", "vendor/stamp", "vendor/../fetch.py", "models\\0", "signs.onnx", "signs.onnx.json",
    ],
)  # fmt: skip
def test_only_what_was_chosen_is_there(site: Site, place: str) -> None:
    found = site.get(place.format(token=site.server.token))
    assert found.status == 404
    assert found.body == b'{"error": "there is nothing here"}'


def test_a_record_cannot_offer_files_from_elsewhere(model: Path) -> None:
    outside = model.parent / "outside"
    outside.mkdir()
    record = json.loads((model.parent / "signs.onnx.json").read_text())
    path = outside / "signs.onnx"
    shutil.copyfile(model, path)
    for picture in ("../signs.test.png", "/etc/passwd", 5):
        record["test"]["picture"] = picture
        (outside / "signs.onnx.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match=r"'test\.picture' is"):
            open_models([path])
    (outside / "secret.txt").write_text("not for you")
    record["test"]["picture"] = "secret.txt"
    (outside / "signs.onnx.json").write_text(json.dumps(record))
    assert open_models([path])[0].picture is None


def test_figures_arrive_in_the_run_folder(site: Site) -> None:
    found = site.post(report())
    assert found.status == 200
    (path,) = site.saved
    assert json.loads(found.body) == {"saved": f"phones/{path.name}"}
    kept = json.loads(path.read_text())
    assert (kept["name"], kept["rows"], kept["device"]) == ("Anna's phone", report()["rows"], report()["device"])
    assert kept["files"]["signs.onnx"]["model"] == "mobileone_s0"
    assert path.parent == site.folder / "run" / "phones"
    assert (site.folder / "run" / "phones.csv").is_file()


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"[" * 100_000, {}, 400, "not JSON"),
        (json.dumps(report(rows=[{}])).encode(), {}, 400, "file is none of signs.onnx"),
        (json.dumps(report(name="x" * 100)).encode(), {}, 400, "name is no text"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "only JSON"),
        (b" " * (MAX_BYTES + 1), {}, 413, "more than"),
        (b"{}", {"Content_Length": str(MAX_BYTES + 1)}, 413, "more than"),
        (b"{}", {"Content_Length": "-5"}, 411, "a length is needed"),
        (b"{}", {"Content_Length": "99999999999999999999"}, 411, "a length is needed"),
    ],
)
def test_what_is_no_report_is_refused(site: Site, body: bytes, headers: dict, status: int, words: str) -> None:
    found = site.post(body, **headers)
    assert found.status == status
    assert words in json.loads(found.body)["error"]
    assert site.saved == []
    assert not (site.folder / "run").exists()


def test_figures_go_nowhere_else(site: Site) -> None:
    body = json.dumps(report()).encode()
    found = site.get("models/0", method="POST", body=body, Content_Type="application/json")
    assert found.status == 404
    assert site.saved == []


def test_a_phone_that_goes_away_or_says_nothing_stops_nobody(site: Site) -> None:
    silent = socket.create_connection(("127.0.0.1", site.server.server_port))
    rude = socket.create_connection(("127.0.0.1", site.server.server_port))
    rude.sendall(f"GET /{site.server.token}/models/0 HTTP/1.1\r\n".encode())
    rude.close()
    assert site.get("").status == 200
    silent.close()


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.server.server_port), timeout=20)


def sent_until_closed(connection: socket.socket, data: bytes, most: int, pause: float = 0.0) -> int:
    """How many times the data could be sent."""
    for count in range(most):
        try:
            connection.sendall(data)
        except OSError:
            return count
        time.sleep(pause)
    return most


def test_the_token_is_judged_by_the_first_line(site: Site) -> None:
    """An answer comes before headers or a body were sent, and nothing more is waited for."""
    with connect(site) as stranger:
        stranger.sendall(b"POST /wrong/figures HTTP/1.1\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.1 403")
    body = b"x" * 1_000_000
    with connect(site) as stranger:
        stranger.sendall(b"POST /wrong/figures HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.1 403")
        # The other end has gone long before all of it was read.
        assert sent_until_closed(stranger, body, 100) < 100
    assert site.get("").status == 200


def test_who_sends_a_letter_at_a_time_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "HEAD_SECONDS", 0.3)
    with connect(site) as slow:
        start = time.monotonic()
        slow.sendall(f"GET /{site.server.token}/ HTTP/1.1\r\n".encode())
        assert sent_until_closed(slow, b"X: y\r\n", 200, pause=0.05) < 200
    assert time.monotonic() - start < 5


def test_connections_have_a_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "MAX_OF_ONE", 3)
    silent = [connect(site) for _ in range(3)]
    deadline = time.monotonic() + 10
    while site.server.connections < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    with connect(site) as one_more:
        assert one_more.recv(1) == b""  # closed at once, no thread for it
    for connection in silent:
        connection.close()
    while site.server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert site.get("").status == 200


@pytest.mark.parametrize("change", ["link", "other", "pipe", "gone"])
def test_only_the_file_that_was_offered_is_sent(site: Site, model: Path, change: str) -> None:
    model.unlink()
    if change == "link":
        model.symlink_to(site.folder / "secret.txt")
    elif change == "other":
        model.write_text("not for you")
    elif change == "pipe":
        os.mkfifo(model)
    found = site.get("models/0")
    assert found.status == 404
    assert b"not for you" not in found.body
    assert b"signs.onnx is no" in found.body


def test_a_test_picture_that_is_a_link_is_none(model: Path) -> None:
    picture = model.parent / "signs.test.png"
    picture.unlink()
    picture.symlink_to(model.parent / "secret.txt")
    assert open_models([model])[0].picture is None


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "name the exported files"),
        (["signs.pte"], "does not run in a browser; .onnx and .tflite files do"),
        (["mobileone_s0"], "does not run in a browser"),
        (["missing.onnx"], "there is no file 'missing.onnx'"),
    ],
)
def test_files_that_do_not_do(files: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        serve(files, out=tmp_path)


def test_two_files_of_one_name_are_told_apart(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "signs.onnx"
    other.parent.mkdir()
    for suffix in ("", ".json"):
        shutil.copy(f"{model}{suffix}", f"{other}{suffix}")
    names = [item.name for item in open_models([model, other, model])]
    assert names == [str(model), str(other)]


def test_without_runtimes_it_says_how_to_get_them(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "VENDOR", tmp_path / "empty")
    with pytest.raises(UserError, match=r"python -m phonecv\.browser\.fetch"):
        serve([model], out=tmp_path / "run", host="127.0.0.1", port=0)


def test_a_taken_port_is_named(site: Site, model: Path, tmp_path: Path) -> None:
    port = site.server.server_port
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1 port {port}"):
        serve([model], out=tmp_path / "run", host="127.0.0.1", port=port)
    with pytest.raises(UserError, match="port 99999"):
        serve([model], out=tmp_path / "run", host="127.0.0.1", port=99999)


def test_addresses_are_said_and_ctrl_c_ends(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ready", lambda: True)
    monkeypatch.setattr(serve_module, "local_addresses", lambda: ["192.0.2.7"])

    def stop(self: PageServer, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", stop)
    said: list[str] = []
    assert serve([model], out=tmp_path / "run", port=0, say=said.append) == 0
    text = "\n".join(said)
    assert re.search(r"open on the phone: +http://192\.0\.2\.7:\d+/[\w-]{20,}/", text)
    assert re.search(r"on this computer: +http://localhost:\d+/[\w-]{20,}/", text)
    assert "--https gives both" in text
    assert "0 reports came" in text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")
def test_the_key_is_gone_before_anything_is_served(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ready", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[list[Path]] = []

    def look(self: PageServer, poll_interval: float) -> None:
        seen.append(list(tmp_path.glob("phonecv-https-*")))
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", look)
    assert serve([model], out=tmp_path / "run", host="127.0.0.1", port=0, https=True, say=lambda _: None) == 0
    assert seen == [[]]


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")


@needs_openssl
def test_https_with_a_certificate_for_all_names(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ready", lambda: True)
    certificate, fingerprint = tls.self_signed(tmp_path, ["localhost", "127.0.0.1", "::1"])
    assert re.fullmatch(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", fingerprint)
    with PageServer(
        open_models([model]), tmp_path / "run", host="127.0.0.1", port=0, certificate=certificate
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        silent = socket.create_connection(("127.0.0.1", server.server_port))  # keeps nobody waiting
        context = ssl.create_default_context(cafile=str(certificate[0]))
        for name in ("localhost", "127.0.0.1"):
            connection = http.client.HTTPSConnection(name, server.server_port, context=context, timeout=20)
            connection.request("GET", urlsplit(server.address()).path)
            assert connection.getresponse().status == 200
            connection.close()
        assert server.address().startswith("https://localhost:")
        silent.close()
        server.shutdown()
        thread.join()


def test_https_without_openssl_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs the program openssl"):
        tls.self_signed(tmp_path, ["localhost"])


def test_own_addresses_are_not_the_loopback() -> None:
    assert all(not address.startswith("127.") for address in tls.local_addresses())


@pytest.mark.slow
@pytest.mark.skipif(not fetch.ready(), reason="the page's runtimes are not here: python3 dev.py page")
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_the_command_serves_until_ctrl_c(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "phonecv", "bench", "--serve", str(model), "--host", "127.0.0.1", "--port", "0",
               "--out", str(tmp_path / "run")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        found = re.search(r"(http://127\.0\.0\.1:\d+)(/\S+)", said)
        assert found is not None
        connection = http.client.HTTPConnection(urlsplit(found[1]).netloc, timeout=20)
        connection.request("GET", found[2])
        assert connection.getresponse().status == 200
        connection.close()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "0 reports came" in out
    assert err == ""
