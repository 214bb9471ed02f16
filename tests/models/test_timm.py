"""EMO and EMOv2 inside timm and what builds on it."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import phonecv
from conftest import mostly_long
from phonecv import timm_bridge
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS


@pytest.mark.parametrize("first", ["part", "value", "failure"])
def test_a_deferred_package_is_imported_when_it_is_used(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"late_package_{first}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise OSError('spoilt')" if first == "failure" else "answer = 42\n")
    (tmp_path / name / "part.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    timm_bridge.defer(name)
    late = importlib.import_module(name)
    assert inspect.getmodule(test_a_deferred_package_is_imported_when_it_is_used) is sys.modules[__name__]
    assert "answer" not in vars(late)
    if first == "failure":
        with pytest.raises(OSError, match="spoilt"):
            _ = late.answer
        assert name not in sys.modules
        return
    if first == "part":
        importlib.import_module(f"{name}.part")
        assert "answer" in vars(late)
    assert late.answer == 42
    assert importlib.import_module(f"{name}.part") is late.part
    timm_bridge.defer(name)
    assert sys.modules[name] is late
    assert not hasattr(late, "other")
    timm_bridge.defer("no_such_package")
    assert "no_such_package" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports", mostly_long(["import phonecv, timm", "import timm, phonecv"], "import timm, phonecv")
)
def test_names_appear_whichever_is_imported_first(imports: str) -> None:
    check = "assert timm.is_model('emov2_5m') and timm.is_model('emo_1m'); assert timm.__file__; print('known')"
    # timm's import of wandb, which takes longer than timm itself, has no part in it.
    command = [sys.executable, "-c", f"import sys; sys.modules['wandb'] = None; {imports}; {check}"]
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


def test_timm_s_utilities_find_what_they_ask_for(tmp_path: Any) -> None:
    timm = pytest.importorskip("timm")
    from timm.data.config import resolve_model_data_config
    from timm.models import group_parameters, load_checkpoint
    from timm.optim import create_optimizer_v2, param_groups_layer_decay

    for name, stem in (
        ("phonecv_emo_1m", ("stage0.0.conv",)),
        ("phonecv_emov2_1m", ("stage0.0.conv",)),
        ("phonecv_mobileone_s1", ("stage0.rbr_conv.0.conv", "stage0.rbr_scale.conv")),
    ):
        model = timm.create_model(name, num_classes=5)
        assert model.default_cfg == model.pretrained_cfg
        own = model.preprocessing
        assert resolve_model_data_config(model) == {
            "input_size": (3, own.size, own.size), "interpolation": own.interpolation, "mean": own.mean,
            "std": own.std, "crop_pct": own.crop, "crop_mode": "center",
        }  # fmt: skip
        first = model.pretrained_cfg["first_conv"]
        assert set(first) == set(stem)
        assert all(model.get_submodule(one).in_channels == 3 for one in first)
        assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.get_classifier()

        # Layers: the stem, every block in order, the classifier with the last norm.
        layers = group_parameters(model, model.group_matcher(), reverse=True)
        assert set(layers) == {path for path, _ in model.named_parameters()}
        blocks = [(stage, block) for stage in range(1, 5) for block in range(len(getattr(model, f"stage{stage}")))]
        for path, layer in layers.items():
            stage, _, rest = str(path).partition(".")
            if stage == "stage0":
                assert layer == 0
            elif stage.startswith("stage"):
                assert layer == 1 + blocks.index((int(stage[5:]), int(rest.split(".")[0])))
            else:
                assert layer == len(blocks) + 1
        stages = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
        assert set(stages.values()) == set(range(6))

        groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.5)
        scale = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
        decay = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
        parameters = dict(model.named_parameters())
        assert scale[id(model.get_classifier().weight)] == 1
        assert min(scale.values()) == pytest.approx(0.5 ** (len(blocks) + 1))
        assert all(decay[id(parameters[path])] == 0 for path in model.no_weight_decay())
        optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.7)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(parameters)

    model = timm.create_model("phonecv_emov2_1m", num_classes=5).train()
    # The layer scale has four axes and no decay all the same.
    assert any(path.endswith("gamma") and parameters.ndim == 4 for path, parameters in model.named_parameters())
    assert all(path in model.no_weight_decay() for path, _ in model.named_parameters() if path.endswith("gamma"))
    x = torch.randn(2, 3, 64, 64)
    model.eval()
    plain = model(x)
    model.set_grad_checkpointing()
    assert model.checkpoint_activations
    torch.testing.assert_close(model(x), plain)
    model(x).sum().backward()
    assert model.get_classifier().weight.grad is not None
    assert torch.equal(model.forward_head(model.forward_features(x)), model(x))
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.head_hidden_size)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features)

    other = timm.create_model("phonecv_emov2_1m", num_classes=5).eval()
    phonecv.save_checkpoint(other, tmp_path / "net.safetensors")
    overlay = {"file": str(tmp_path / "net.safetensors")}
    again = timm.create_model("phonecv_emov2_1m", num_classes=5, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    assert torch.equal(again(x), other(x))
    fresh = timm.create_model("phonecv_emov2_1m", num_classes=5).eval()
    load_checkpoint(fresh, str(tmp_path / "net.safetensors"))
    assert torch.equal(fresh(x), other(x))


def test_pretrained_says_what_to_write() -> None:
    with pytest.raises(UserError, match='emo_1m takes weights, not pretrained: weights="official" gives public ones'):
        phonecv.create_model("emo_1m", pretrained=True)
    with pytest.raises(UserError, match='weights="official"'):
        phonecv.create_detector("ssdlite320", "emo_1m", num_classes=2, pretrained=True)
