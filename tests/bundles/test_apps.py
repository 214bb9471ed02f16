"""Apps of bundles: whole projects, with every name as its kind of file wants it."""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import phonecv
from benchmarking.devtools import Browser, find_browser
from bundles.dense_cases import CASES, NAMES, record_of
from bundles.languages import faults, kotlin
from bundles.test_bundle import tiny
from conftest import TINY
from exporting.dense_files import busy_masks
from phonecv.benchmarking.fresh import settle
from phonecv.browser import fetch
from phonecv.bundles import bundle, verify
from phonecv.bundles.apps.plan import Plan, app_id, app_name
from phonecv.bundles.apps.table import PLATFORMS
from phonecv.bundles.room import bundling_of
from phonecv.cli import main
from phonecv.errors import UserError
from phonecv.exporting.inputs import picture_input
from phonecv.exporting.run import describe
from phonecv.models import VisionModel

#: Means something in every kind of file.
EVIL = "A \"b\" 'c' <i> & $d \\e größe 日本"

#: What shows objects, masks and maps, in every way that an app reads them.
SHOWN = ("SSDLite raw", "SSDLite boxes, baked", "Mask R-CNN", "logits of any size", "classes", "gray labels")


def gray_labels() -> VisionModel:
    """A classifier of one channel whose labels do not exclude each other."""
    network = phonecv.create_model("mobileone_s0", num_classes=3, in_chans=1, **TINY["mobileone_s0"])
    settle(network, size=32)
    network.preprocessing = replace(network.preprocessing, size=32)
    network.class_names, network.thresholds = ("cat", "dog", "hen"), (0.2, 0.5, 0.7)
    return network.eval()


def shown(case: str) -> Any:
    """The record of a file of this case."""
    if case != "gray labels":
        return record_of(case)
    inputs = (picture_input(32, 32, 1),)
    return describe(gray_labels(), 32, 32, inputs=inputs, outputs=("logits",), bake=True, decode="raw")


def plan_of(record: Any, folder: Path) -> Plan:
    """An app around a file that nobody runs."""
    (folder / "model").write_bytes(b"model")
    (folder / "test.png").write_bytes(b"picture")
    room = bundling_of(record)
    return Plan(
        name=EVIL,
        id="org.example.photos",
        about=EVIL,
        record=record,
        model=folder / "model",
        picture=folder / "test.png",
        expected={"picture": "test.png"},
        names=NAMES,
        readers=room.reader_files(record, EVIL),
        answers=room.app_sources(record),
    )


def project(platform: str, record: Any, folder: Path) -> dict[str, str]:
    """The texts of an app by path."""
    row = PLATFORMS[platform]
    if lacks := row.missing():
        pytest.skip(lacks)
    row.write(plan_of(record, folder), folder / "app")
    texts = {}
    for file in (folder / "app").rglob("*"):
        if file.is_file() and file.suffix not in (".png", ".wasm") and "vendor" not in file.parts:
            texts[file.relative_to(folder / "app").as_posix()] = file.read_text(encoding="utf-8")
    return texts


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", SHOWN)
def test_nothing_is_left_to_fill_in(platform: str, case: str, tmp_path: Path) -> None:
    texts = project(platform, shown(case), tmp_path)
    for name, text in texts.items():
        if name.endswith((".kt", ".swift")):
            assert faults("Kotlin" if name.endswith(".kt") else "Swift", text) == [], name
        assert not re.search(r"@[A-Z_]+@|^//(if|end|include)\b", text, re.MULTILINE), name
        if name.endswith((".json", ".webmanifest")):
            json.loads(text)
    assert texts["README.md"].startswith("Not ")  # what nobody built or tried


def test_a_web_app_keeps_all_of_itself(tmp_path: Path) -> None:
    texts = project("web", record_of("classes"), tmp_path)
    listed = re.search(r"const FILES = (.*);", texts["sw.js"])
    assert listed
    there = {file.relative_to(tmp_path / "app").as_posix() for file in (tmp_path / "app").rglob("*") if file.is_file()}
    assert set(json.loads(listed[1])) == there - {"sw.js", "README.md"} | {"./"}
    assert f"<title>{html.escape(EVIL)}</title>" in texts["index.html"]
    assert json.loads(texts["manifest.webmanifest"])["name"] == EVIL
    assert json.loads(texts["model.json"])["names"] == list(NAMES)
    for icon in json.loads(texts["manifest.webmanifest"])["icons"]:
        assert icon["src"] in there


@pytest.mark.long
@pytest.mark.parametrize("case", SHOWN)
def test_the_android_app_compiles(tmp_path: Path, case: str) -> None:
    """Against stand-ins for Android, CameraX and LiteRT."""
    compiler = kotlin()
    project("android", shown(case), tmp_path)
    sources = [*(tmp_path / "app").rglob("*.kt"), *(Path(__file__).parent / "stubs/android").glob("*.kt")]
    compiler.compile(sources, tmp_path / "app.jar")


def test_the_android_project_names_its_app(tmp_path: Path) -> None:
    texts = project("android", record_of("classes"), tmp_path)
    strings = ElementTree.fromstring(texts["app/src/main/res/values/strings.xml"])
    # As Android reads a resource: a backslash keeps the next letter.
    assert re.sub(r"\\(.)", r"\1", strings[0].text or "") == EVIL
    ElementTree.fromstring(texts["app/src/main/AndroidManifest.xml"])
    assert 'applicationId = "org.example.photos"' in texts["app/build.gradle.kts"]
    assert texts["app/src/main/kotlin/org/example/photos/PhonecvReader.kt"].startswith("package org.example.photos\n")
    assert texts["app/src/main/assets/labels.txt"].splitlines() == list(NAMES)
    assert 'listOf("classes")' in texts["app/src/main/kotlin/org/example/photos/Model.kt"]
    for name in (name for name in texts if name.endswith((".kt", ".kts"))):
        assert faults("Kotlin", texts[name]) == [], name


@pytest.mark.long
def test_the_ios_apps_are_right_swift(tmp_path: Path) -> None:
    """By the compiler's own check of types, against stand-ins for Apple's frameworks."""
    compiler = shutil.which("swiftc")
    if compiler is None:
        pytest.skip("no Swift compiler on this machine; Debian 13 has one, swiftlang")
    command = [compiler, "-swift-version", "5", "-parse-as-library", "-I", str(tmp_path)]

    def run(*options: str | Path) -> None:
        done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    for name in ("UIKit", "CoreML", "CoreImage", "AVFoundation", "SwiftUI", "PhotosUI"):
        stub = Path(__file__).parent / f"stubs/ios/{name}.swift"
        run("-emit-module", "-module-name", name, "-o", tmp_path / f"{name}.swiftmodule", stub)
    for number, case in enumerate(SHOWN):
        folder = tmp_path / str(number)
        folder.mkdir()
        project("ios", shown(case), folder)
        run("-typecheck", *folder.rglob("*.swift"))


def test_the_xcode_project_holds_together(tmp_path: Path) -> None:
    texts = project("ios", record_of("SSDLite boxes, baked"), tmp_path)
    text = texts["PhonecvApp.xcodeproj/project.pbxproj"]
    defined = re.findall(r"^\t\t(A\d{23}) (?:/\*.*\*/ )?= \{$", text, re.MULTILINE)
    assert len(set(defined)) == len(defined) == 15
    assert set(re.findall(r"A\d{23}", text)) == set(defined)
    bare = re.sub(r'"(\\.|[^"\\])*"', "", text)
    for opening, closing in ("{}", "()"):
        assert bare.count(opening) == bare.count(closing)
    names = set(re.findall(r'INFOPLIST_KEY_CFBundleDisplayName = "((?:\\.|[^"\\])*)";', text))
    assert {re.sub(r"\\(.)", r"\1", name) for name in names} == {EVIL}
    assert "PRODUCT_BUNDLE_IDENTIFIER = org.example.photos;" in text
    assert "takesPicture = true" in texts["PhonecvApp/Model.swift"]
    assert "shape = [1, 3, 96, 96]" in texts["PhonecvApp/Model.swift"]
    for name in (name for name in texts if name.endswith(".swift")):
        assert faults("Swift", texts[name]) == [], name
    with Image.open(tmp_path / "app/PhonecvApp/Assets.xcassets/AppIcon.appiconset/icon.png") as icon:
        assert (icon.size, icon.mode) == ((1024, 1024), "RGB")  # the store refuses icons that are seen through


def test_names() -> None:
    assert app_name(None, "photos") == "photos"
    assert app_name("  My \n app ", "photos") == "My app"
    assert app_id(None, "Größe 2.final") == "com.example.grosse2final"
    assert app_id(None, "日本") == "com.example.app"
    assert app_id(None, "class") == "com.example.appclass"
    assert app_id("org.Mine.photos2", "x") == "org.Mine.photos2"
    for name in ("", " ", "x" * 51, "a\x1b[31m", "$(HOME)", "${HOME}"):
        with pytest.raises(UserError, match="the app's name"):
            app_name(name, "x")
    for given in (
        "photos",
        "org..photos",
        "org.2photos",
        "org.my-app",
        "org.my_app",
        "org.new.photos",
        "a." * 90 + "b",
    ):
        with pytest.raises(UserError, match="the app's id"):
            app_id(given, "x")


def test_a_bundle_with_an_app(tmp_path: Path) -> None:
    if lacks := PLATFORMS["web"].missing():
        pytest.skip(lacks)
    result = bundle(tiny(), tmp_path / "out", app=["web"], name="animals", app_name=EVIL)
    assert [record["format"] for record in result.exported] == ["onnx"]
    assert verify(result.path) == []
    expected = json.loads((result.path / "web/expected.json").read_text())
    assert expected["best"] == json.loads((result.path / "expected.json").read_text())["best"]
    assert "| `web/` | an app for browsers" in (result.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"app": ["wep"]}, "did you mean 'web'"),
        ({"app": ["web"], "app_id": "photos"}, "two or more words"),
        ({"app": ["web"], "app_name": ""}, "1 to 50 letters"),
        ({"app": ["web"], "size": (64, 96)}, "no app can run"),
    ],
)
def test_mistakes_leave_nothing(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        bundle(tiny(), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder's address, while it is asked for."""
    handler = functools.partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": _quiet}), directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _quiet(*_: object) -> None:
    pass


@pytest.mark.long
@pytest.mark.timeout(900)  # Mask R-CNN ran out of 300 s on a busy machine
@pytest.mark.parametrize(
    "case", ["classifier", "gray labels", *SHOWN[:2], "Mask R-CNN", "classes", "logits of baked pixels"]
)
def test_the_web_app_in_a_browser(tmp_path: Path, case: str) -> None:
    """It finds in the test picture what phonecv finds, opens again without its server, and takes the camera."""
    if find_browser() is None or not fetch.ready():
        pytest.skip("no Chromium on this machine, or no runtime for it")
    own = {"classifier": tiny, "gray labels": gray_labels, "Mask R-CNN": busy_masks}
    network = own[case]() if case in own else CASES[case].network()
    whole = case in ("classifier", "gray labels")
    options: dict[str, Any] = {} if whole else {"decode": CASES[case].decode, "bake": CASES[case].baked}
    made = bundle(network, tmp_path / "out", app=["web"], name="x", app_name=EVIL, **options).path
    ready = "document.documentElement.dataset.ready || document.getElementById('status').classList.contains('bad')"
    with Browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        with served(made / "web") as address:
            browser.open(address)
            browser.wait(ready)
            assert browser.run("document.title") == EVIL
            first = browser.run("window.checked")
            assert first["same"], browser.run("document.body.innerText")
            assert first["apart"] < 1e-3
            assert first["found"]
            browser.run("navigator.serviceWorker.ready.then(() => true)")
            assert browser.run("document.documentElement.scrollWidth") <= 390
            assert browser.console == []
        browser.open(address)  # its server is gone
        browser.wait(ready)
        assert browser.run("window.checked.same")
        assert browser.run("self.crossOriginIsolated")
        browser.pick("#file", made / "x.test.png")
        browser.wait("/ ms, on this device/.test(document.getElementById('status').textContent)")
        browser.run("document.getElementById('camera').click()")
        browser.wait("/ms a picture/.test(document.getElementById('status').textContent)")
        assert browser.console == []


def test_the_verb_takes_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "emo_1m", str(tmp_path / "out"), "--app", "web,phone"]) == 2
    assert "no apps are made for 'phone'" in capsys.readouterr().err
