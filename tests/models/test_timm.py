"""EMO and EMOv2 inside timm and what builds on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

import phonecv
from conftest import mostly_long
from phonecv import timm_bridge
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports", mostly_long(["import phonecv, timm", "import timm, phonecv"], "import timm, phonecv")
)
def test_names_appear_whichever_is_imported_first(imports: str) -> None:
    check = "assert timm.is_model('emov2_5m') and timm.is_model('emo_1m'); assert timm.__file__; print('known')"
    command = [sys.executable, "-c", f"{imports}; {check}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "known\n"


def test_importing_phonecv_loads_neither_torch_nor_timm() -> None:
    code = (
        "import sys, phonecv, importlib.util; assert importlib.util.find_spec('timm') is not None;"
        "heavy = {'torch', 'timm', 'torchvision', 'matplotlib', 'onnx'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classifier_and_features() -> None:
    timm = pytest.importorskip("timm")
    ours = phonecv.create_model("emov2_1m", num_classes=9).eval()
    theirs = timm.create_model("emov2_1m", num_classes=9, drop_path_rate=0.2).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))

    features = timm.create_model("emo_1m", features_only=True, out_indices=(1, 3, 4))
    assert features.feature_info.channels() == [32, 80, 168]
    assert features.feature_info.reduction() == [4, 16, 32]
    assert [list(feature.shape[1:]) for feature in features(x)] == [[32, 16, 16], [80, 4, 4], [168, 2, 2]]
    with pytest.raises(UserError, match="output_stride"):
        timm.create_model("emo_1m", features_only=True, output_stride=8)


class Registry(ModuleType):
    """What a newer timm may have: networks of its own under some of our names."""

    def __init__(self, *own: str) -> None:
        super().__init__("timm.models")
        self.entries: dict[str, Callable[..., Any]] = dict.fromkeys(own, self._own)

    @staticmethod
    def _own(**_: Any) -> str:
        return "timm's"

    def is_model(self, name: str) -> bool:
        return name in self.entries

    def model_entrypoint(self, name: str) -> Callable[..., Any]:
        return self.entries[name]

    def register_model(self, entry: Callable[..., Any]) -> None:
        assert entry.__name__ not in self.entries
        self.entries[entry.__name__] = entry


@pytest.mark.parametrize("ours_is_told", [True, False])
def test_networks_of_timm_s_own_keep_their_names_and_that_is_told(
    ours_is_told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry("emo_1m", "emo_2m", "emo2_1m", "emo2_20m")
    monkeypatch.setitem(sys.modules, "timm.models", registry)
    if ours_is_told:
        monkeypatch.delitem(sys.modules, "phonecv.cli", raising=False)
    else:  # our own command asks timm for no such name
        monkeypatch.setitem(sys.modules, "phonecv.cli", ModuleType("phonecv.cli"))
    with caplog.at_level("WARNING", "phonecv"):
        timm_bridge.register()
    assert bool(caplog.records) == ours_is_told
    if ours_is_told:
        assert "called emo_1m, emo_2m; they stay timm's" in caplog.text
        assert "phonecv_emo_1m" in caplog.text
    assert registry.entries["emo_1m"]() == registry.entries["emo2_1m"]() == "timm's"
    for name in ("phonecv_emo_1m", "emo_5m", "phonecv_emo_5m", "emov2_1m", "phonecv_emov2_1m"):
        model = registry.entries[name](num_classes=3)
        assert (model.name, model.num_classes) == (name.removeprefix("phonecv_"), 3)
    before = dict(registry.entries)
    timm_bridge.register()  # twice does no harm
    assert registry.entries == before


def test_nothing_is_told_of_a_timm_without_such_networks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "timm.models", Registry("mobileone_s0"))
    monkeypatch.delitem(sys.modules, "phonecv.cli", raising=False)
    timm_bridge.register()
    assert not caplog.records


def test_mobileone_stays_timm_s_own() -> None:
    timm = pytest.importorskip("timm")
    assert type(timm.create_model("mobileone_s0")).__module__.startswith("timm.")
    assert set(timm.list_models("emo*")) == {name for name in MODELS if name.startswith("emo")}


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "encoder"), [("Unet", "emov2_1m"), ("FPN", "emo_1m"), ("Linknet", "emov2_2m")])
def test_segmentation_models_take_our_encoders(decoder: str, encoder: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(smp, decoder)(f"tu-{encoder}", encoder_weights=None, classes=3)
    y = model(torch.randn(2, 3, 64, 96))
    assert y.shape == (2, 3, 64, 96)
    y.mean().backward()
