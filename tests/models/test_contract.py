"""What every registered network promises, tested once for all of them."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import json
import math
from typing import Any, cast

import pytest
import torch
from torch import nn

import phonecv
from conftest import TINY, mostly_long
from phonecv.benchmarking import count_cost, count_parameters
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.models.catalog import MODELS
from phonecv.models.fusing import FORM_TOLERANCE, form_difference, fuse
from settle import settle

#: The smallest member of each family, and the one with squeeze-excite: for what does not depend on the size.
FAMILIES = ["emo_1m", "emov2_1m", "mobileone_s0", "mobileone_s4"]
#: One network of each make; what another size or preprocessing has is in the catalog alone.
NAMES = mostly_long(MODELS, *FAMILIES, "emov2_remote_1m", "emov2_5m", "emov2_1m_256", "mobileone_s1")
#: For what another size could hardly break, and takes long at full size.
LARGER_LONG = mostly_long(MODELS, *FAMILIES)


def tiny(name: str) -> VisionModel:
    """A small network of the family, for what is slow and does not depend on the size."""
    torch.manual_seed(0)
    return settle(phonecv.create_model(name, num_classes=12, **TINY[name]))


#: The members of every run, narrowed: full size has the golden numbers; others are narrowed by nothing, and `long`.
SMALLER: dict[str, dict[str, Any]] = TINY | {"mobileone_s4": TINY["mobileone_s0"] | {"se_pairs": (0, 0, 1, 1)}}


@functools.cache
def _settled(name: str) -> VisionModel:
    torch.manual_seed(0)
    return settle(phonecv.create_model(name, num_classes=12, **SMALLER.get(name, {})))


def settled(name: str) -> VisionModel:
    """A private copy: tests may change it."""
    return copy.deepcopy(_settled(name))


def picture(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_catalog_counts_are_true(name: str) -> None:
    record = MODELS[name]
    model = phonecv.create_model(name)
    assert count_parameters(model) == record.parameters
    cost = count_cost(model, record.preprocessing.size)
    assert cost.flops == record.flops
    fused = fuse(model.eval())
    assert count_parameters(fused) == record.deploy_parameters
    deployed = count_cost(fused, record.preprocessing.size)
    assert deployed.macs == record.macs
    if record.deploy_flops is not None:
        assert deployed.flops == record.deploy_flops


@pytest.mark.parametrize("name", LARGER_LONG)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 61), (33, 130)])
def test_any_size_gives_logits_and_features(name: str, height: int, width: int) -> None:
    model = settled(name)
    x = picture(2, 3, height, width)
    with torch.no_grad():
        logits = model(x)
        last, maps = model.forward_intermediates(x)
    assert logits.shape == (2, 12)
    assert torch.isfinite(logits).all()
    assert (logits[0] - logits[1]).abs().max() > 1e-3 * logits.abs().max(), "the network ignores its input"
    assert last.shape[1] == model.num_features
    for info, feature in zip(model.feature_info, maps, strict=True):
        stride = info["reduction"]
        assert feature.shape == (2, info["num_chs"], math.ceil(height / stride), math.ceil(width / stride))


@pytest.mark.parametrize("name", LARGER_LONG)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = settled(name).train()
    loss = nn.functional.cross_entropy(model(picture(2, 3, 64, 64)), torch.tensor([3, 7]))
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", LARGER_LONG)
def test_deploy_form_agrees_and_keeps_what_the_model_carries(name: str) -> None:
    model = settled(name)
    model.class_names = tuple(f"class {i}" for i in range(12))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = fuse(model)
    x = picture(2, 3, 97, 61)
    assert form_difference(model, fused, x) <= FORM_TOLERANCE == 1e-5
    assert form_difference(fused, fuse(fused), x) == 0
    assert (model.form, fused.form) == ("training", "deploy")
    assert fused.class_names == model.class_names
    assert fused.preprocessing == model.preprocessing
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"fusing changed {key} of the original"
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
    assert count_parameters(fused) < count_parameters(model)


@pytest.mark.parametrize("name", LARGER_LONG)
def test_state_goes_through_a_file_into_a_network_of_the_same_name(name: str) -> None:
    for model in (settled(name), fuse(settled(name))):
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        other = phonecv.create_model(name, num_classes=12, form=model.form, **model.overrides).eval()
        other.load_state_dict(torch.load(file, weights_only=True))
        x = picture(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["training", "deploy"])
def test_dtypes_and_autocast(name: str, form: str) -> None:
    model = settled(name) if form == "training" else fuse(settled(name))
    x = picture(2, 3, 97, 61)
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double())
        scale = exact.abs().max()
        assert (model(x) - exact).abs().max() < 1e-4 * scale
        # bfloat16 keeps 8 bits, float16 11. A MobileOne with random weights amplifies rounding: its 43 layers
        # have no skip around them. Half precision being nearer than bfloat16 by its bits is the sharper test.
        errors = {}
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", dtype=dtype):
                mixed = model(x)
            errors[dtype] = ((mixed - exact).norm() / exact.norm()).item()
        bound = 0.5 if name.startswith("mobileone") else 0.1
        assert errors[torch.bfloat16] < bound
        assert errors[torch.float16] < bound / 4
        assert errors[torch.float16] < 0.4 * errors[torch.bfloat16]
        half = copy.deepcopy(model).bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert ((half - exact).norm() / exact.norm()).item() < bound


@pytest.mark.parametrize("name", FAMILIES)
def test_meta_device_and_channels_last(name: str) -> None:
    model = settled(name)
    x = picture(2, 3, 97, 61)
    with torch.no_grad():
        plain = model(x)
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        assert (last - plain).abs().max() < 1e-5 * plain.abs().max()
        assert model.to("meta")(x.to("meta")).shape == (2, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    mostly_long(itertools.product(TINY, ("training", "deploy")), ("emov2_1m", "training"), ("mobileone_s0", "deploy")),
)
def test_exports_without_scripting(name: str, form: str) -> None:
    model = tiny(name) if form == "training" else fuse(tiny(name))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (picture(2, 3, 97, 61),), dynamic_shapes=({0: batch},)).module()
    x = picture(5, 3, 97, 61, seed=2)
    with torch.no_grad():
        expected = model(x)
        assert (program(x) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_compiles_whole(name: str) -> None:
    model = tiny(name)
    x = picture(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    assert (compiled - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
def test_dense_backbone_options(name: str) -> None:
    model = phonecv.create_model(name, out_indices=(1, 2, 4), frozen_stages=1, norm_eval=True, **SMALLER.get(name, {}))
    maps = model(picture(2, 3, 64, 64))
    assert [feature.shape[1] for feature in maps] == [model.feature_info[i]["num_chs"] for i in (1, 2, 4)]
    assert not [key for key, _ in model.named_parameters() if key.startswith(("norm.", "head.", "linear."))]
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    for stage, frozen in ((model.stage0, True), (model.stage1, True), (model.stage2, False)):
        assert all(parameter.requires_grad != frozen for parameter in stage.parameters())
        assert stage.training != frozen
    assert phonecv.create_model(name, out_indices=(-1,)).out_indices == (4,)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_inside_another_module_is_fused(name: str) -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = phonecv.create_model(name, out_indices=(3, 4), **SMALLER.get(name, {}))
            self.head = nn.Sequential(nn.LazyConv2d(4, 1), nn.BatchNorm2d(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.backbone(x)[-1])

    torch.manual_seed(0)
    detector = Detector().train()
    with torch.no_grad():
        for _ in range(3):
            detector(picture(4, 3, 64, 64))
    with pytest.raises(UserError, match=r"call .eval\(\)"):
        fuse(detector)
    fused = fuse(detector.eval())
    assert fused.backbone.form == "deploy"
    assert isinstance(fused.head[1], nn.BatchNorm2d), "only what belongs to our networks is folded"
    assert form_difference(detector, fused, picture(2, 3, 64, 64)) < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_fusing_in_train_mode_is_refused_only_where_it_would_be_wrong(name: str) -> None:
    model = settled(name)
    fused = fuse(model)
    fuse(fused.train())  # nothing in it depends on the mode
    with pytest.raises(UserError, match="train mode"):
        fuse(model.train())


def test_a_norm_that_cannot_be_folded_stays() -> None:
    # A channel scaled by zero has no finite value that an appended window cell could hold to mean zero.
    model = settled("emov2_1m")
    norm = model.get_submodule("stage3.1.norm.norm")
    assert isinstance(norm, nn.LayerNorm)
    with torch.no_grad():
        norm.weight[3] = 0
    fused = fuse(model)
    assert fused.get_submodule("stage3.1.norm.norm").elementwise_affine
    assert not fused.get_submodule("stage4.1.norm.norm").elementwise_affine
    assert form_difference(model, fused, picture(2, 3, 97, 61)) < 1e-5


def test_classifier_can_be_replaced() -> None:
    for name in FAMILIES:
        model = settled(name)
        model.class_names = ("a",) * 12
        model.reset_classifier(5)
        assert model(picture(1, 3, 64, 64)).shape == (1, 5)
        assert model.class_names is None
        assert isinstance(model.get_classifier(), nn.Linear)
        model.reset_classifier(0)
        assert model(picture(1, 3, 64, 64)).shape == (1, model.num_features)
        with pytest.raises(UserError, match="global_pool"):
            model.reset_classifier(5, "max")


def test_overrides_rebuild_the_network() -> None:
    model = phonecv.create_model("emov2_1m", num_classes=7, window=10, depths=(1, 1, 2, 1))
    stored = json.loads(json.dumps(model.overrides))
    other = phonecv.create_model(model.name, num_classes=model.num_classes, **stored)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phonecv.create_model("emo2_1m"), "here it is `emov2_1m`"),
        (lambda: phonecv.create_model("emo_1n"), "did you mean 'emo"),
        (lambda: phonecv.create_model("emo_1m", windows=8), "did you mean 'window'"),
        (lambda: phonecv.create_model("emo_1m", num_classes=-1), "num_classes -1"),
        (lambda: phonecv.create_model("emo_1m", form=cast(Any, "fused")), "training, deploy"),
        (lambda: phonecv.create_model("emo_1m", depths=(1, 2)), "four positive numbers"),
        (lambda: phonecv.create_model("emo_1m", head_dims=(16, 16, 21, 21)), "does not divide"),
        (lambda: phonecv.create_model("emov2_1m", attention="both"), "hybrid"),
        (lambda: phonecv.create_model("emov2_1m", out_indices=(5,)), "stage 5 does not exist"),
        (lambda: phonecv.create_model("emov2_1m", out_indices=()), "no stage"),
        (lambda: phonecv.create_model("emov2_1m", frozen_stages=7), "frozen_stages 7"),
        (lambda: phonecv.create_model("mobileone_s0", branches=0), "branches 0"),
        (lambda: phonecv.create_model("mobileone_s0", se_pairs=(0, 0, 0, 9)), "se_pairs"),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UserError, match=message):
        call()
