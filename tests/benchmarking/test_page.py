"""The phone page from end to end in headless Chromium: every family in both runtimes, figures, photo, camera."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from benchmarking.devtools import Browser, find_browser
from conftest import TINY, mostly_long
from exporting.dense_files import busy
from phonecv.benchmarking import fresh, tls
from phonecv.benchmarking.page_models import PageModel, open_models
from phonecv.benchmarking.serve import PageServer
from phonecv.browser import fetch
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from segment.tiny import tiny
from settle import settle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first use exports two files
    pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome here"),
    pytest.mark.skipif(not fetch.ready(), reason="the page's runtimes are not here: python3 dev.py page"),
]

SIZE = 32
CLASSES = ("stop", "yield", "turn left", "no entry", "end of all")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module", params=mostly_long(TINY, "mobileone_s0"))
def networks(request: pytest.FixtureRequest) -> dict[str, VisionModel]:
    name = request.param
    torch.manual_seed(0)
    network = settle(phonecv.create_model(name, num_classes=len(CLASSES), **TINY[name]), size=SIZE)
    network.preprocessing = Preprocessing(size=SIZE, crop=0.875)
    network.class_names = CLASSES
    return {name: phonecv.fuse(network)}


@pytest.fixture(scope="module")
def models(networks: dict[str, VisionModel], tmp_path_factory: pytest.TempPathFactory) -> list[PageModel]:
    """Each network as an ONNX and as a LiteRT file; here the page is what checks them."""
    pytest.importorskip("onnx")
    pytest.importorskip("litert_torch")
    folder = tmp_path_factory.mktemp("exported")
    for name, network in networks.items():
        for suffix in (".onnx", ".tflite"):
            phonecv.export(network, folder / f"{name}{suffix}", verify=False)
    return open_models(sorted([*folder.glob("*.onnx"), *folder.glob("*.tflite")]))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine and coarse structure, hard edges, an odd size; PNG, so that every decoder gives the same pixels."""
    generator = np.random.default_rng(1)
    fine = generator.integers(0, 256, (123, 171, 3), dtype=np.uint8)
    coarse = np.asarray(Image.fromarray(fine[:5, :7]).resize((171, 123), Image.Resampling.BICUBIC))
    picture = np.where(np.arange(171)[None, :, None] < 60, fine, coarse)
    picture[40:60, 80:140] = (255, 0, 128)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(picture).save(path)
    return path


@contextmanager
def served(models: list[PageModel], out: Path, **choices: Any) -> Iterator[PageServer]:
    with PageServer(models, out, host="127.0.0.1", port=0, rounds=3, seconds=1, **choices) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ready(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.documentElement.dataset.ready")


def time_all(browser: Browser, out: Path) -> dict[str, Any]:
    """Press the button and wait; the report that arrived."""
    browser.run("document.querySelector('#time').click()")
    status = browser.wait(
        "!document.querySelector('#time').disabled && document.querySelector('#status').textContent"
    )  # fmt: skip
    assert status.startswith("Saved on the computer as phones/"), (status, browser.console)
    return json.loads((out / status.removeprefix("Saved on the computer as ").rstrip(".")).read_text())


def logits_of(browser: Browser, model: PageModel, number: int, photo: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the page feeds the network for a photo that is picked, ``H W 3``, and what that says."""
    browser.run(f"document.querySelector('#network').value = {number}; window.lastLook = null")
    browser.run("document.querySelector('#network').dispatchEvent(new Event('change'))")
    browser.pick("#photo", photo)
    found = browser.wait(
        "document.querySelector('#hint').textContent || window.lastLook && {file: window.lastLook.file, "
        "values: Array.from(window.lastLook.values), logits: Array.from(window.lastLook.outputs.logits)}"
    )
    assert isinstance(found, dict), (found, browser.console)
    assert found["file"] == model.name
    values = np.array(found["values"], np.float32)
    values = (
        values.reshape(SIZE, SIZE, 3) if model.format == "litert" else values.reshape(3, SIZE, SIZE).transpose(1, 2, 0)
    )
    return values, np.array(found["logits"], np.float32)


def test_both_runtimes(models: list[PageModel], networks: dict[str, VisionModel], photo: Path, tmp_path: Path) -> None:
    assert len(models) == 2
    out = tmp_path / "run"
    with served(models, out) as server, Browser() as browser:
        ready(browser, server.address())
        assert browser.run("self.crossOriginIsolated") is True
        # The preprocessing on a photo that is picked is ours, and so are the logits nearly.
        for number, model in enumerate(models):
            network = networks[model.path.stem]
            transform = eval_transform(network.preprocessing)
            values, logits = logits_of(browser, model, number, photo)
            with Image.open(photo) as image, torch.inference_mode():
                given = transform(image)
                wanted = network(given[None])[0].numpy()
            np.testing.assert_allclose(values, given.permute(1, 2, 0).numpy(), atol=1e-6)
            assert np.abs(logits - wanted).max() <= 1e-4 * max(1, np.abs(wanted).max()), model.name
            assert logits.argmax() == wanted.argmax()
            shown = browser.run("document.querySelector('#answer li').textContent")
            assert shown.startswith(CLASSES[wanted.argmax()])
        # Timing checks every file against what its record says, and the figures arrive.
        browser.run("document.querySelector('#name').value = 'A test'")
        report = time_all(browser, out)
        text = browser.run("document.querySelector('#results').innerText")
    # LiteRT.js talks, and looks for a GPU even where it is told to use the CPU.
    talk = ("INFO", "WARNING", "Failed to create default WebGPU device")
    assert [line for line in browser.console if not line.startswith(talk)] == []
    assert report["name"] == "A test"
    assert report["failed"] == []
    assert report["device"]["isolated"] is True
    assert report["device"]["cores"] >= 1
    assert "Chrom" in report["device"]["browser"]
    several = sorted({row["threads"] for row in report["rows"]})
    assert several == sorted({1, min(4, report["device"]["cores"])})
    assert len(report["rows"]) == len(models) * len(several)
    assert {row["runtime"] for row in report["rows"]} == {"onnxruntime-web", "litert"}
    for row in report["rows"]:
        assert row["difference"] <= 1e-4, row
        assert row["rounds"] == len(row["times_ms"]) == 3
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert (row["batch"], row["height"], row["width"]) == (1, SIZE, SIZE)
        assert row["file"] in text
    # Network and runtime come first, and what the columns mean stands below.
    assert all(f"{model.title()}, " in text for model in models)
    files = report["files"]
    assert {facts["model"] for facts in files.values()} == set(networks)
    assert all(files[model.name]["sha256"] == model.digest for model in models)
    assert (out / "phones.csv").read_text().count("\n") == 1 + len(report["rows"])


def test_the_camera_is_followed_and_let_go(models: list[PageModel], tmp_path: Path) -> None:
    with served(models[:1], tmp_path) as server, Browser(*CAMERA) as browser:
        ready(browser, server.address())
        browser.run("document.querySelector('#camera').click()")
        browser.wait("window.lastLook")
        first = browser.run("window.firstLook = window.lastLook; window.lastLook = null; window.firstLook.file")
        assert first == models[0].name
        browser.wait("window.lastLook")
        assert browser.run("document.querySelector('#video').videoWidth") == 640
        # The fake camera shows a green picture.
        area = SIZE * SIZE
        red, green = browser.run(
            f"[0, 1].map((c) => window.lastLook.values.slice(c * {area}, (c + 1) * {area}))"
            ".map((v) => v.reduce((a, b) => a + b) / v.length)"
        )
        assert green > red + 0.5
        assert browser.run("document.querySelectorAll('#answer li').length") == len(CLASSES)
        browser.run("window.stream = document.querySelector('#video').srcObject")
        browser.run("document.querySelector('#camera').click()")
        assert browser.run("window.stream.getTracks().every((track) => track.readyState === 'ended')")
        assert browser.console == []


def test_without_isolation_one_thread_no_camera_and_it_says_why(models: list[PageModel], tmp_path: Path) -> None:
    """What a phone gets over plain http: a name that the browser does not trust as it does localhost."""
    with (
        served(models[:2], tmp_path) as server,
        Browser("--host-resolver-rules=MAP phonecv.test 127.0.0.1", *CAMERA) as browser,
    ):
        ready(browser, server.address("phonecv.test"))
        assert browser.run("self.crossOriginIsolated") is False
        assert "--https" in browser.run("document.querySelector('#warning').textContent")
        assert browser.run("document.querySelector('#camera').disabled") is True
        assert "needs https" in browser.run("document.querySelector('#hint').textContent")
        report = time_all(browser, tmp_path)
    assert report["failed"] == []
    assert [row["threads"] for row in report["rows"]] == [1, 1]
    assert (report["device"]["isolated"], report["device"]["secure"]) == (False, False)


def test_over_https_it_is_isolated(models: list[PageModel], tmp_path: Path) -> None:
    if tls.shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    certificate, _ = tls.self_signed(tmp_path, ["phonecv.test"])
    options = ("--host-resolver-rules=MAP phonecv.test 127.0.0.1", "--ignore-certificate-errors")
    with served(models[:1], tmp_path, certificate=certificate) as server, Browser(*options) as browser:
        ready(browser, server.address("phonecv.test"))
        assert browser.run("self.crossOriginIsolated") is True
        assert browser.run("document.querySelector('#camera').disabled") is False
        assert time_all(browser, tmp_path)["failed"] == []


def test_wrong_outputs_are_not_timed(models: list[PageModel], tmp_path: Path) -> None:
    """The record says something else than the file gives."""
    folder = tmp_path / "files"
    folder.mkdir()
    model = models[0]
    for path in model.path.parent.glob(f"{model.path.stem}.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    beside = folder / f"{model.path.name}.json"
    record = json.loads(beside.read_text())
    record["test"]["outputs"]["logits"]["values"][2] += 0.1
    beside.write_text(json.dumps(record))
    with served(open_models([folder / model.path.name]), tmp_path) as server, Browser() as browser:
        ready(browser, server.address())
        report = time_all(browser, tmp_path)
        assert "wrong outputs" in browser.run("document.querySelector('#failed').textContent")
    assert report["rows"] == []
    assert all("wrong outputs" in item["reason"] for item in report["failed"])


def test_a_file_that_does_not_open_is_said(models: list[PageModel], tmp_path: Path) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"not a network" * 10)
    with pytest.raises(UserError, match="is not a LiteRT file"):
        open_models([bad])  # the computer looks first
    spoilt = PageModel(bad, bad.name, "litert", "0" * 64, {})
    with served([spoilt, models[0]], tmp_path) as server, Browser() as browser:
        ready(browser, server.address())
        report = time_all(browser, tmp_path)
    assert {item["file"] for item in report["failed"]} == {"bad.tflite"}
    assert {row["file"] for row in report["rows"]} == {models[0].name}


def test_a_software_gpu_gives_the_same_outputs(models: list[PageModel], tmp_path: Path) -> None:
    """WebGPU without a GPU: not for speed, and only if this browser emulates one."""
    chosen = [model for model in models if model.path.stem == "mobileone_s0"]
    if not chosen:
        pytest.skip("one family is enough for a GPU in software")
    with served(chosen, tmp_path) as server, Browser("--enable-unsafe-webgpu", patience=250) as browser:
        ready(browser, server.address())
        ways = browser.run("[...document.querySelectorAll('#ways input')].map((input) => input.checked)")
        if not browser.run("document.querySelector('#ways').textContent.includes('WebGPU')"):
            pytest.skip("this browser offers no WebGPU")
        assert ways[-1] is False  # emulated: not by itself
        browser.run(
            "document.querySelectorAll('#ways input').forEach((box, i, all) => { box.checked = i === all.length - 1; })"
        )
        report = time_all(browser, tmp_path)
    assert report["device"]["gpu"]["kind"] == "software"
    rows = {row["runtime"]: row for row in report["rows"]}
    assert rows["onnxruntime-web"]["backend"] == "webgpu", report["failed"]
    assert all(row["difference"] <= 1e-4 for row in rows.values())
    assert all("GPU" in item["reason"] or "WebGPU" in item["reason"] for item in report["failed"])


@pytest.mark.long
def test_objects_and_classes_of_pixels_are_drawn(photo: Path, tmp_path: Path) -> None:
    """A detector and a segmenter say on the page what they say here."""
    detector, segmenter = busy("ssdlite320"), tiny("unet")
    files = [tmp_path / "detector.onnx", tmp_path / "segmenter.onnx"]
    for network, file in zip((detector, segmenter), files, strict=True):
        phonecv.export(network, file, verify=False)
    wanted = phonecv.predict(str(files[0]), photo, threshold=0.3)[0]
    with served(open_models(files), tmp_path) as server, Browser() as browser:
        ready(browser, server.address())
        found = []
        for number in range(2):
            browser.run(f"document.querySelector('#network').value = {number}; window.lastLook = null")
            browser.pick("#photo", photo)
            found.append(browser.wait("document.querySelector('#hint').textContent || window.lastLook?.found"))
            assert not isinstance(found[-1], str), found[-1]  # what the page says in the place of an answer
            assert browser.run("document.querySelector('#seen').width") == 171
        assert browser.console == []
    boxes = [[one[side] for side in ("left", "top", "right", "bottom")] for one in found[0]]
    np.testing.assert_allclose(boxes, wanted.found.boxes, atol=0.05)
    assert abs(sum(one["share"] for one in found[1]) - 1) < 1e-6


@pytest.mark.long
def test_labels_of_gray_pictures(photo: Path, tmp_path: Path) -> None:
    """What a network of one channel tells of labels that do not exclude each other, in both runtimes."""
    network = phonecv.create_model("mobileone_s0", num_classes=3, in_chans=1, **TINY["mobileone_s0"])
    fresh.settle(network, size=SIZE)
    network.preprocessing = replace(network.preprocessing, size=SIZE)
    network.class_names = ("cat", "dog", "hen")
    network.thresholds = (0.5, 0.5, 0.5)
    (said,) = phonecv.predict(network.eval(), photo, topk=3)
    shares = dict(zip(said.labels, said.probabilities, strict=True))
    network.thresholds = tuple(
        shares[name] + (0.01 if name == said.labels[1] else -0.01) for name in network.class_names
    )
    files = [tmp_path / "gray.onnx", tmp_path / "gray.tflite"]
    for file in files:
        phonecv.export(network, file, verify=False)
    with served(open_models(files), tmp_path) as server, Browser() as browser:
        ready(browser, server.address())
        for number in range(2):
            browser.run(f"document.querySelector('#network').value = {number}; window.lastLook = null")
            browser.run("document.querySelector('#network').dispatchEvent(new Event('change'))")
            browser.pick("#photo", photo)
            found = browser.wait("document.querySelector('#hint').textContent || window.lastLook?.found")
            assert [one["name"] for one in found] == list(said.labels)
            np.testing.assert_allclose([one["probability"] for one in found], said.probabilities, atol=1e-4)
            shown = browser.run("Array.from(document.querySelectorAll('#answer li'), (line) => line.textContent)")
            assert [line.split()[0][:3] for line in shown] == [said.labels[0], said.labels[2]]
        report = time_all(browser, tmp_path)
    assert report["failed"] == []
    assert {row["runtime"] for row in report["rows"]} == {"onnxruntime-web", "litert"}
