"""Networks to the Hugging Face hub and back: a small server on this machine stands in for it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants

import phonecv
from conftest import TINY
from data.picture_files import noise
from phonecv.cli.app import main
from phonecv.errors import UserError
from phonecv.weights.hub import FILE
from weights.helpers import same

SECRET = "hf_not_for_anybody"


class Hub(ThreadingHTTPServer):
    """Repositories: name -> file -> content; and what was said to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.authorizations: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.authorizations.add(self.headers.get("Authorization", ""))
        found: dict[str, Any] = {}
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            if given["organization"] == "others":
                self.answer(403, b'{"error": "You don\'t have the rights"}')
                return
            self.server.repositories.setdefault(name, {})
            self.server.private[name] = bool(given.get("private")) or given.get("visibility") == "private"
            found = {"url": f"http://127.0.0.1/{name}"}
        elif self.path == "/api/validate-yaml":
            found = {"errors": [], "warnings": []}
        elif "/preupload/" in self.path:
            files = [one["path"] for one in json.loads(body)["files"]]
            found = {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]}
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in body.splitlines():
                part = json.loads(line)
                if part["key"] == "header":
                    self.server.messages.append(part["value"]["summary"])
                else:
                    content = base64.b64decode(part["value"]["content"])
                    self.server.repositories[name][part["value"]["path"]] = content
            found = {"commitUrl": f"http://127.0.0.1/{name}/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True}
        self.answer(200, json.dumps(found).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        name, _, rest = self.path.lstrip("/").partition("/resolve/")
        content = self.server.repositories.get(name, {}).get(rest.partition("/")[2])
        if content is None:
            code = "EntryNotFound" if name in self.server.repositories else "RepoNotFound"
            self.answer(404, X_Error_Code=code)
            return
        mark = hashlib.sha256(content).hexdigest()
        self.answer(200, content, ETag=f'"{mark}"', X_Repo_Commit=hashlib.sha1(content).hexdigest())

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    # What HF_ENDPOINT and HF_HOME set where they are there before the import.
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    yield server
    server.shutdown()
    server.server_close()


def network() -> Any:
    torch.manual_seed(0)
    net = phonecv.create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]).eval()
    net.class_names = ("cat", "dog | wolf", "bird")
    return net


def test_a_network_comes_back_with_all_that_it_is(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    net = network()
    config = {"data": {"path": "/home/ann/photos", "size": 64}, "run": {"out": "C:\\runs\\one"}, "list": ["/a/b"]}
    training = {"epoch": 7, "figures": {"top1": 91.25, "images": 80}, "config": config}
    file = phonecv.save_checkpoint(net, tmp_path / "net.safetensors", training=training)
    assert main(["push", str(file), "ann/pets", "--licence", "apache-2.0", "--private"]) == 0
    assert "wrote http://127.0.0.1/ann/pets/commit/" in capsys.readouterr().out
    files = hub.repositories["ann/pets"]
    assert sorted(files) == ["README.md", "model.json", FILE]
    assert hub.private == {"ann/pets": True}
    assert hub.authorizations == {f"Bearer {SECRET}"}
    for content in files.values():
        assert SECRET.encode() not in content
        assert b"/home" not in content
        assert b"C:" not in content
    record = json.loads(files["model.json"])["training"]
    assert record["config"] == {"data": {"path": "photos", "size": 64}, "run": {"out": "one"}, "list": ["b"]}

    card = files["README.md"].decode()
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "phonecv", "tags": ["phonecv"], "pipeline_tag": "image-classification", "license": "apache-2.0",
    }  # fmt: skip
    for part in (
        "# pets",
        "3 classes",
        'from_pretrained("ann/pets")',
        "| top1 | 91.25 |",
        "epoch 7",
        "dog | wolf",
        "224",
    ):
        assert part in text

    again = phonecv.from_pretrained("ann/pets")
    assert not again.training
    assert same(again.state_dict(), net.state_dict())
    assert (again.class_names, again.preprocessing) == (net.class_names, net.preprocessing)
    # Wherever the command line takes a checkpoint.
    assert main(["info", "hf://ann/pets"]) == 0
    assert "3" in capsys.readouterr().out
    noise().save(tmp_path / "one.png")
    assert main(["predict", "hf://ann/pets", str(tmp_path / "one.png")]) == 0
    assert "dog | wolf" in capsys.readouterr().out
    # Without the hub the copy serves.
    hub.repositories.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert same(phonecv.from_pretrained("hf://ann/pets").state_dict(), net.state_dict())
        with pytest.raises(UserError, match="me/none is not here yet, and the hub cannot be reached"):
            phonecv.from_pretrained("me/none")


def test_detectors_and_backbones_have_cards_of_their_own(hub: Hub) -> None:
    detector = phonecv.create_detector("ssdlite320", "emov2_1m", num_classes=4, **TINY["emov2_1m"])
    phonecv.push_to_hub(detector, "ann/cells", message="first")
    card = hub.repositories["ann/cells"]["README.md"].decode()
    assert "pipeline_tag: object-detection" in card
    assert "None is stated" in card
    assert "license" not in card.split("---\n")[1]
    assert hub.messages == ["first"]
    again = phonecv.from_pretrained("ann/cells")
    assert same(again.state_dict(), detector.state_dict())
    phonecv.push_to_hub(phonecv.create_model("emo_1m", num_classes=0, **TINY["emo_1m"]), "ann/bare", licence="My own")
    card = hub.repositories["ann/bare"]["README.md"].decode()
    assert "no classifier" in card
    assert "pipeline_tag" not in card
    assert "license: other\nlicense_name: My own" in card
    assert "phonecv predict" not in card


def test_what_goes_wrong_is_told_in_a_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["ann/other"] = {"config.json": b"{}"}
    hub.repositories["ann/broken"] = {FILE: b"PK no tensors"}
    for repo, told in (
        ("ann/none", "the hub has no ann/none, or it is private"),
        ("ann/other", f"ann/other on the hub has no {FILE}"),
        ("ann", "'ann' is no repository of the Hugging Face hub; write owner/name"),
        ("../etc/passwd", "is no repository"),
        ("ann/broken", FILE),
    ):
        with pytest.raises(UserError, match=told) as caught:
            phonecv.from_pretrained(repo)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"did not take this for others/x.*hf auth login") as caught:
        phonecv.push_to_hub(network(), "others/x")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="the hub has no ann/none"):
        phonecv.info("hf://ann/none")
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match="did not take this for ann/x") as caught:
        phonecv.push_to_hub(network(), "ann/x")
    assert "\n" not in str(caught.value)
