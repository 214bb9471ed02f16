"""A generator in a file and in a bundle, and the page that samples in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import phonecv
from benchmarking.devtools import Browser, find_browser
from cli.conftest import Run
from phonecv.browser import fetch
from phonecv.bundles import verify
from phonecv.errors import UserError
from phonecv.generation import sampling_page
from phonecv.generation.pictures import to_bytes
from phonecv.generation.sampling import sample
from phonecv.generation.verbs import Sampling
from phonecv.opening import open_runner

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phonecv.export(checkpoint, tmp_path_factory.mktemp("exported") / "generator.onnx").path


def test_a_file_makes_what_its_network_makes(checkpoint: Path, exported: Path, run: Run) -> None:
    options = {"classes": "green,red", "count": 3, "sampler": "ddim", "steps": 5, "guidance": 2, "seed": 4}
    mine, theirs = (phonecv.generate(model, **options) for model in (checkpoint, exported))
    assert "ONNX Runtime" in theirs.model
    assert (mine.pictures.int() - theirs.pictures.int()).abs().max() <= 2
    assert "noisy" in run("info", exported, "--json").out
    assert "generator, diffusion" in run("info", checkpoint).out


def test_both_forms_are_compared(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    done = run("fuse", checkpoint, tmp_path / "deploy.safetensors", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["difference"] < 1e-6


def test_int8_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a generator, which is not quantized: .*--precision fp16"):
        phonecv.quantize(checkpoint, tmp_path / "out", data=tmp_path, formats=["onnx"])


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "app"
    phonecv.bundle(checkpoint, folder, formats=[], include=[exported], licence="ours")
    return folder


def test_a_bundle_says_how_pictures_are_made(bundle: Path) -> None:
    assert verify(bundle) == []
    readme = (bundle / "README.md").read_text()
    assert "c = (x - sqrt(1 - k) e) / sqrt(k)" in readme
    for name in ("noisy", "timesteps", "classes", "prediction"):
        assert f"`{name}`" in readme
    expected = json.loads((bundle / "expected.json").read_text())
    given = load_file(bundle / expected["inputs"])
    runner = open_runner(bundle / "generator.onnx", "generate")
    how = Sampling(**{name: expected[name] for name in ("sampler", "steps", "guidance")})
    made = sample(
        runner.denoise, given["classes"].long(), shape=(1, 24, 24), no_class=3, sampling=how, clip=True,
        begin=given["noisy"],
    )  # fmt: skip
    assert float(made.mean()) == pytest.approx(expected["mean"], abs=1e-4)
    with Image.open(bundle / "result.png") as image:
        drawn = np.asarray(image.resize((24, 24), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(drawn, to_bytes(made)[0].permute(1, 2, 0))
    if fetch.ready():
        assert "sample.html" in (bundle / "index.html").read_text()
        assert (bundle / "sample" / "licences.txt").is_file()
    else:
        assert "phonecv.browser.fetch" in (bundle / "index.html").read_text()


def test_names_of_classes_end_no_script(tmp_path: Path) -> None:
    assert "</script" not in sampling_page._script({"names": ["</script><script>alert(1)"]})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome here")
@pytest.mark.skipif(not fetch.ready(), reason="the page's runtimes are not here: python3 dev.py page")
def test_the_page_samples_from_the_disk(bundle: Path) -> None:
    """Opened without a server; its test picture is ours, and a button makes another."""
    with Browser(width=900, height=900) as browser:
        browser.open(f"file://{bundle / 'sample.html'}")
        assert browser.wait("document.documentElement.dataset.ready") == "yes", browser.console
        assert browser.run("window.compared.same"), browser.run("window.compared.most")
        assert np.std(browser.run("Array.from(bytesOf(DATA.test.picture))")) > 20  # it is not flat
        browser.run("document.querySelector('#steps').value = 3; document.querySelector('#guidance').value = 2")
        browser.run("document.querySelector('#classes').children[2].click()")
        browser.wait("document.querySelector('#made').children.length")
        assert browser.run("document.querySelector('#status').textContent").startswith("blue, seed 1, 3 steps, guid")
        assert not browser.console
