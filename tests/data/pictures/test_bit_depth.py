"""Gray pictures of 16 bits whose values hold fewer: one depth for a data set, kept with the network, always told."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import TINY
from data.picture_files import noise
from phonecv.api import evaluate, predict
from phonecv.data.audit import audit
from phonecv.data.loading.loader import ClassificationDataset
from phonecv.data.pictures.bit_depth import find_depth, settle_depth
from phonecv.data.pictures.opening import depth_of, open_image
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.models import build_model
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.training import TrainConfig, load_config, train
from phonecv.weights import load_checkpoint
from training.conftest import SMALL


def ramp(largest: int, size: tuple[int, int] = (40, 40)) -> np.ndarray:
    """Values from 0 to `largest`, all over the picture."""
    return np.linspace(0, largest, size[0] * size[1]).reshape(size).astype(np.uint16)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pgm":
        path.write_bytes(b"P5\n%d %d\n65535\n" % values.shape[::-1] + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize(
    ("largest", "bits"), [(1, 8), (255, 8), (256, 10), (1023, 10), (3760, 12), (4095, 12), (16383, 14), (60395, 16)]
)
def test_values_fill_the_range_of_their_depth(tmp_path: Path, suffix: str, largest: int, bits: int) -> None:
    values = ramp(largest)
    path = save(tmp_path / f"a{suffix}", values)
    assert depth_of(largest) == bits
    assert find_depth([path]) is not None
    wanted = (values >> (bits - 8)).astype(np.uint8)
    for found in (open_image(path), open_image(path, bits=bits)):
        assert np.array_equal(np.asarray(found), np.repeat(wanted[..., None], 3, 2))


def save_colours(path: Path, values: np.ndarray, kind: int) -> Path:
    """A PNG of 16 bits a channel, which Pillow does not write; `kind` is 2 for RGB, 6 for RGBA."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks.items())
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize(("largest", "bits", "steps"), [(200, 8, "1 step"), (4095, 12, "16 steps"), (65535, 16, "")])
def test_colours_of_few_bits_are_scaled_and_told(tmp_path: Path, largest: int, bits: int, steps: str) -> None:
    values = np.dstack([ramp(largest), ramp(largest // 2), ramp(0)])
    opaque = np.dstack([values, np.full(values.shape[:2], 65535)])
    path, with_opacity = save_colours(tmp_path / "a.png", values, 2), save_colours(tmp_path / "b.png", opaque, 6)
    wanted = (values >> 8 << (16 - bits)).astype(np.uint8)
    for one in (path, with_opacity):
        for found in (open_image(one), open_image(one, bits=bits)):
            assert np.array_equal(np.asarray(found), wanted)
        depth = find_depth([one])
        assert depth is not None
        assert (depth.bits, f"these have {steps}:" in str(depth)) == (bits, bool(steps))


def test_one_depth_for_a_data_set(tmp_path: Path) -> None:
    dark, bright = save(tmp_path / "dark.png", ramp(200)), save(tmp_path / "bright.png", ramp(4000))
    noise().save(tmp_path / "plain.jpg")
    noise().save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"x")
    paths = sorted(tmp_path.iterdir())
    found = find_depth(paths)
    assert found is not None
    assert (found.bits, found.largest, found.looked_at) == (12, 4000, 2)
    assert np.asarray(open_image(dark, bits=12)).max() == 200 >> 4
    assert np.asarray(open_image(bright, bits=12)).max() == 4000 >> 4
    assert np.asarray(open_image(bright, bits=10)).max() == 255, "values beyond the depth are white, not wrapped"
    assert find_depth([path for path in paths if path.stem == "plain"]) is None


def test_the_preprocessing_holds_it() -> None:
    for kind in (Preprocessing, DensePreprocessing):
        assert "bits" not in kind().to_dict()
        assert kind.from_dict(kind(bits=12).to_dict()) == kind(bits=12)
        with pytest.raises(UserError, match="bits 7"):
            kind(bits=7)


def test_what_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(3760))
    assert settle_depth(Preprocessing(), [path]) == (
        Preprocessing(bits=12),
        "16-bit pictures hold values up to 3760 (in 1 of them), so they are read as 12 bits",
    )
    for bits, words in (
        (12, "as the network has it"),
        (10, "up to 3760, so those beyond are cut"),
        (16, "come out dark"),
    ):
        spec, text = settle_depth(Preprocessing(bits=bits), [path])
        assert spec.bits == bits
        assert text.endswith(words)


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """Two classes of 12-bit pictures: dark ones and bright ones."""
    for split, count in (("train", 4), ("val", 2)):
        for name, largest in (("dark", 900), ("bright", 4000)):
            for index in range(count):
                save(tmp_path / f"data/{split}/{name}/{index}.png", ramp(largest - index - 10 * len(split)))
    return tmp_path / "data"


def tiny_training(data: Path, out: Path, *more: str) -> TrainConfig:
    overrides = {key: list(value) for key, value in TINY["mobileone_s0"].items()}
    own = (f"data.path={data}", f"run.out={out}", f"model.overrides={overrides}", "schedule.epochs=1", "run.audit=true")
    return load_config("from_scratch_small", [*SMALL, *own, *more])


def test_training_evaluation_and_prediction_read_alike(
    xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert train(tiny_training(xrays, tmp_path / "run")).finished
    assert "so they are read as 12 bits; data.bits sets it" in " ".join(capsys.readouterr().out.split())
    net = load_checkpoint(None, tmp_path / "run/last.safetensors")
    assert net.preprocessing.bits == 12
    dark = xrays / "val/dark/0.png"
    seen = eval_transform(net.preprocessing).read(dark).image  # type: ignore
    assert abs(int(seen.max()) - (870 >> 4)) <= 1, "resizing takes a little of it"
    result = evaluate(net, xrays)
    assert result.notes == ("16-bit pictures are read as 12 bits, as the network has it",)
    with caplog.at_level("WARNING", "phonecv"):
        predict(net, dark)
    assert "these hold values up to 870, so they come out dark" in caplog.text


def test_a_setting_decides(xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tiny_training(xrays, tmp_path / "run", "data.bits=14")).finished
    assert "read as 14 bits, as the network has it" in " ".join(capsys.readouterr().out.split())
    assert load_checkpoint(None, tmp_path / "run/last.safetensors").preprocessing.bits == 14


def test_networks_that_know_nothing_of_it_go_by_the_data(xrays: Path) -> None:
    net = build_model("mobileone_s0", num_classes=2, **TINY["mobileone_s0"])
    net.class_names = ("bright", "dark")
    result = evaluate(net, xrays)
    assert "so they are read as 12 bits" in result.notes[0]
    assert result.details["preprocessing"]["bits"] == 12
    assert net.preprocessing.bits is None, "the network given stays as it was"


def test_transforms_that_are_given_pictures(xrays: Path) -> None:
    from phonecv.data.folders.listing import read_split

    seen: list[int] = []

    def transform(image: Image.Image) -> object:
        seen.append(np.asarray(image).max())
        return eval_transform(Preprocessing(size=8))(image)

    listing = read_split(xrays, "val")
    place = next(i for i, sample in enumerate(listing.samples) if sample.path.parent.name == "dark")
    for bits in (12, 16):
        ClassificationDataset(listing, transform, bits=bits)[place]  # type: ignore
    assert seen == [870 >> 4, 870 >> 8]


def test_the_audit_tells(xrays: Path) -> None:
    (finding,) = (one for one in audit(xrays, quick=True).findings if one.kind == "bit-depth")
    assert (finding.severity, finding.path) == ("note", "train")
    assert "read as 12 bits" in finding.message
