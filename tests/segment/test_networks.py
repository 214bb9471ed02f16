"""The contract of every segmenter, on small networks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import phonecv
from conftest import TINY, mostly_long
from phonecv.dense.windows import Windows
from phonecv.errors import UserError
from phonecv.models.blocks import ConvNormAct
from phonecv.models.fusing import FORM_TOLERANCE, form_difference, fuse
from phonecv.segment.base import Segmenter
from phonecv.segment.create import create_segmenter
from phonecv.segment.heads import SegFormerHead, grid_means
from phonecv.segment.layers import resize
from phonecv.segment.losses import pixel_cross_entropy
from segment.tiny import OPTIONS, SMALL, Both, tiny
from settle import settle

EVERY = [(architecture, backbone) for architecture in OPTIONS for backbone in TINY]


@pytest.mark.parametrize(("architecture", "backbone"), EVERY)
def test_training_reaches_every_parameter_at_odd_sizes(architecture: str, backbone: str) -> None:
    model = tiny(architecture, backbone).train()
    images = torch.rand(2, 3, 75, 53)
    labels = torch.randint(0, 5, (2, 75, 53))
    labels[:, :9] = 255
    losses = model(images, labels)
    assert set(losses) == ({"ce", "aux"} if architecture in ("deeplabv3", "pspnet") else {"ce"})
    torch.stack(list(losses.values())).sum().backward()
    untouched = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not untouched, "unused parameters break distributed training"
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("architecture", OPTIONS)
@pytest.mark.parametrize("size", [(64, 64), (70, 33), (21, 90), (1, 40)])
def test_any_size_in_logits_at_that_size_out(architecture: str, size: tuple[int, int]) -> None:
    model = tiny(architecture)
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        logits = model(images)
    assert logits.shape == (2, 5, *size)
    assert torch.isfinite(logits).all()


def test_resizing_in_training_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)
    for small, large in (((5, 7), (20, 14)), ((1, 1), (9, 4)), ((12, 9), (5, 8))):
        x = torch.randn(2, 3, *small, generator=generator, dtype=torch.float64, requires_grad=True)
        # A part of something concatenated, as heads have it: neither layout is contiguous in it.
        gradient = torch.randn(2, 5, *large, generator=generator, dtype=torch.float64)[:, 1:4]
        wanted = nn.functional.interpolate(x, size=large, mode="bilinear")
        torch.testing.assert_close(resize(x, large), wanted, rtol=1e-12, atol=1e-12)
        (ours,) = torch.autograd.grad(resize(x, large), x, gradient)
        (theirs,) = torch.autograd.grad(wanted, x, gradient)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["training", "deploy"])
def test_segformer_joins_before_resizing_what_is_published_after_it(form: str) -> None:
    model = tiny("segformer", "mobileone_s0").double()
    head = (fuse(model) if form == "deploy" else model).head
    assert isinstance(head, SegFormerHead)
    generator = torch.Generator().manual_seed(0)
    widths = [level.conv.in_channels for level in head.levels]  # pyrefly: ignore
    maps = [
        torch.randn(2, width, *side, generator=generator, dtype=torch.float64)
        for width, side in zip(widths, ((12, 10), (6, 5), (3, 3), (2, 2)), strict=True)
    ]
    with torch.no_grad():
        whole = torch.cat([resize(level(x), (12, 10)) for level, x in zip(head.levels, maps, strict=True)], 1)
        wanted = head.classify(head.join(whole))
        torch.testing.assert_close(head(maps), wanted, rtol=1e-10, atol=1e-10)
        assert wanted.std() > 1e-3


def test_lists_of_pictures_are_not_padded_into_each_other() -> None:
    model = tiny("pspnet")
    images = [torch.rand(3, 64, 80), torch.rand(3, 40, 31), torch.rand(3, 64, 80)]
    with torch.no_grad():
        together = model(images)
        alone = [model(image[None])[0] for image in images]
    assert isinstance(together, list)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_pictures_come_resized_normalised_and_go_back_to_their_size() -> None:
    model = tiny("segformer")
    picture = torch.randint(0, 256, (1, 3, 96, 160), dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SMALL.mean, SMALL.std))
    small = torch.nn.functional.interpolate(picture / 255, (64, 107), mode="bilinear", align_corners=False)
    with torch.no_grad():
        raw, _ = model.network((small - mean) / std)
        expected = resize(resize(raw, (64, 107)), (96, 160))
        torch.testing.assert_close(model(picture), expected, rtol=1e-5, atol=1e-5)


def test_training_takes_pictures_as_they_come_and_pads_mixed_sizes() -> None:
    model = tiny("segformer")
    images = [torch.rand(3, 40, 64), torch.rand(3, 64, 48)]
    labels = [torch.randint(0, 5, (40, 64), dtype=torch.uint8), torch.randint(0, 5, (64, 48), dtype=torch.uint8)]
    mean, std = (torch.tensor(values)[:, None, None] for values in (SMALL.mean, SMALL.std))
    batch, target = torch.zeros(2, 3, 64, 64), torch.full((2, 64, 64), 255)
    batch[0, :, :40], batch[1, :, :, :48] = (images[0] - mean) / std, (images[1] - mean) / std
    target[0, :40], target[1, :, :48] = labels[0], labels[1]
    logits, _ = model.network(batch)
    torch.testing.assert_close(model.losses(images, labels)["ce"], pixel_cross_entropy(logits, target))


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    mostly_long(
        EVERY,
        ("deeplabv3", "emov2_1m"),
        ("pspnet", "mobileone_s0"),
        ("semantic_fpn", "emo_1m"),
        ("segformer", "emov2_1m"),
        ("unet", "mobileone_s0"),
    ),
)
def test_fuse(architecture: str, backbone: str) -> None:
    model = tiny(architecture, backbone)
    fused = fuse(model)
    assert (model.form, fused.form) == ("training", "deploy")
    assert form_difference(Both(model), Both(fused), torch.randn(2, 3, 70, 90)) < FORM_TOLERANCE
    left = [unit for unit in fused.modules() if isinstance(unit, ConvNormAct) and isinstance(unit.norm, _BatchNorm)]
    assert not left
    again = fuse(fused)
    assert form_difference(Both(fused), Both(again), torch.randn(1, 3, 64, 64)) == 0.0
    rebuilt = rebuild(fused)
    rebuilt.load_state_dict(fused.state_dict())
    x = torch.rand(1, 3, 64, 64)
    rebuilt.preprocessing = SMALL
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(x), fused(x))


def rebuild(model: Segmenter) -> Segmenter:
    """What a checkpoint's record holds is enough to build the network again."""
    return create_segmenter(
        model.architecture,
        model.backbone_name,
        num_classes=model.num_classes,
        form=model.form,
        options=model.options,
        **model.backbone_overrides,
    )


def test_dilated_convolutions_stay_dilated_when_fused() -> None:
    fused = fuse(tiny("deeplabv3"))
    dilations = [unit.conv.dilation for unit in fused.head.branches]  # type: ignore[union-attr]
    assert dilations == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_efficientnet"])
def test_timm_backbones(backbone: str) -> None:
    pytest.importorskip("timm")
    for architecture in ("segformer", "unet"):
        model = create_segmenter(architecture, backbone, num_classes=3, options=OPTIONS[architecture])
        model(torch.rand(2, 3, 64, 80), torch.zeros(2, 64, 80, dtype=torch.int64))["ce"].backward()
        assert rebuild(model).state_dict().keys() == model.state_dict().keys()
        fused = fuse(model.eval())
        assert fused.form == "deploy"
        fresh = rebuild(fused)
        fresh.load_state_dict(fused.state_dict())


def test_a_module_as_backbone() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 16, 16), nn.Conv2d(4, 6, 2, 2)
            self.feature_info = [{"num_chs": 4, "reduction": 16}, {"num_chs": 6, "reduction": 32}]

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            x = self.a(x)
            return [x, self.b(x)]

    model = create_segmenter("deeplabv3", Two(), num_classes=4, options=OPTIONS["deeplabv3"]).eval()
    model.preprocessing = SMALL
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 4, 64, 64)


def test_deploy_weights_make_a_backbone_or_a_segmenter_in_deploy_form(tmp_path: Path) -> None:
    backbone = phonecv.create_model("mobileone_s0", num_classes=3, **TINY["mobileone_s0"]).eval()
    path = phonecv.save_checkpoint(phonecv.fuse(backbone), tmp_path / "fused.safetensors")
    with pytest.raises(UserError, match="deploy"):
        create_segmenter("segformer", "mobileone_s0", weights=path, form="training", **TINY["mobileone_s0"])
    mixed = create_segmenter("segformer", "mobileone_s0", weights=path, **TINY["mobileone_s0"])
    assert (mixed.form, mixed.backbone_form) == ("training", "deploy")
    model = create_segmenter("segformer", "mobileone_s0", weights=path, form="deploy", **TINY["mobileone_s0"])
    assert (model.form, model.backbone.form) == ("deploy", "deploy")
    fused = phonecv.create_model("mobileone_s0", form="deploy", out_indices=(1, 2, 3, 4), **TINY["mobileone_s0"])
    with pytest.raises(UserError, match="deploy form"):
        create_segmenter("segformer", fused, form="training")


@pytest.mark.parametrize("backbone", TINY)
def test_classification_weights_fill_the_backbone(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    classifier = phonecv.create_model(backbone, num_classes=7, **TINY[backbone])
    path = phonecv.save_checkpoint(classifier, tmp_path / "net.safetensors")
    model = create_segmenter("segformer", backbone, num_classes=3, weights=path, **TINY[backbone])
    state = classifier.state_dict()
    loaded = model.backbone.state_dict()
    left = set(state) - set(loaded)
    assert loaded.keys() <= state.keys()
    assert all(name.startswith(("head.", "linear.", "norm.")) for name in left), left
    for name, value in loaded.items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("architecture", ["deeplabv3", "pspnet"])
def test_a_batch_of_one_has_a_clear_message(architecture: str) -> None:
    model = tiny(architecture).train()
    one = torch.rand(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.int64)
    with pytest.raises(UserError, match="batch of 2 or more"):
        model(*one)
    for norm in model.head.modules():
        if isinstance(norm, _BatchNorm):
            norm.eval()
    assert torch.isfinite(model(*one)["ce"])
    assert torch.isfinite(fuse(tiny(architecture)).train()(*one)["ce"])


@pytest.mark.parametrize("architecture", OPTIONS)
def test_autocast(architecture: str) -> None:
    model = tiny(architecture)
    images, labels = torch.rand(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    plain = model.losses(images, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model.losses(images, labels)
    for name, value in low.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(plain[name].item(), rel=0.05)
    torch.stack(list(low.values())).sum().backward()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images).dtype == torch.float32


@pytest.mark.parametrize("architecture", mostly_long(OPTIONS, "deeplabv3"))
def test_a_few_steps_learn_a_picture(architecture: str) -> None:
    model = tiny(architecture, num_classes=2).train()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[0, :, 32:], labels[1, 32:] = 1, 1
    images = torch.where(labels[:, None] == 1, torch.tensor(0.9), torch.tensor(0.1)).expand(-1, 3, -1, -1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(25):
        loss = torch.stack(list(model(images, labels).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = model.network(model._batch(images))[0]
    found = resize(right, (64, 64)).argmax(1)
    assert (found == labels).float().mean() > 0.9


def test_unet_hrf_in_small() -> None:
    torch.manual_seed(0)
    model = create_segmenter(
        "unet_hrf",
        num_classes=2,
        options={"channels": 8, "dilations": [2, 3], "aux_channels": 8},
        widths=(64, 64, 64, 64, 64),
        depth=1,
        window=4,
    )
    assert (model.backbone_name, model.backbone_overrides["depth"]) == ("emov2_unet", 1)
    assert model.windows == Windows(256, 170)
    model.preprocessing = SMALL
    both: Any = Both(model)
    settle(both, size=48)
    x = torch.rand(2, 3, 45, 38)
    losses = model.train()(x, torch.randint(0, 2, (2, 45, 38)))
    assert set(losses) == {"ce", "aux"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        assert model.eval()(x).shape == (2, 2, 45, 38)
    fused = fuse(model)
    assert fused.form == "deploy"
    assert form_difference(Both(model), Both(fused), torch.randn(1, 3, 45, 38)) < FORM_TOLERANCE
    rebuild(fused).load_state_dict(fused.state_dict())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(OPTIONS, "segformer"))
def test_the_network_is_one_graph_of_plain_tensors(architecture: str) -> None:
    for model in (Both(tiny(architecture)), Both(fuse(tiny(architecture)))):
        x = torch.randn(1, 3, 72, 96)
        program = torch.export.export(model, (x,))
        for a, b in zip(program.module()(x), model(x), strict=True):
            torch.testing.assert_close(a, b)


def test_names_are_listed_without_torch() -> None:
    code = (
        "import sys, phonecv; from phonecv.segment.published import PUBLISHED;"
        "assert 'unet' in phonecv.list_segmenters() and PUBLISHED; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_published_dilations() -> None:
    """The golden maps of DeepLabv3 are smaller than its dilations, so its numbers cannot tell."""
    with torch.device("meta"):
        model = create_segmenter("deeplabv3", "emov2_1m")
    units = [unit for unit in model.head.modules() if isinstance(unit, ConvNormAct)]
    dilated = [(unit.conv.kernel_size[0], unit.conv.dilation, unit.conv.padding) for unit in units]
    assert dilated == [
        (1, (1, 1), (0, 0)),  # of the image pooling
        (1, (1, 1), (0, 0)),
        (3, (12, 12), (12, 12)),
        (3, (24, 24), (24, 24)),
        (3, (36, 36), (36, 36)),
        (3, (1, 1), (1, 1)),
    ]


def test_initial_values() -> None:
    torch.manual_seed(0)
    model = create_segmenter("deeplabv3", "emov2_1m", num_classes=150)
    assert model.aux_head is not None
    for head in (model.head, model.aux_head):
        classifier = head.classify.conv  # type: ignore[union-attr]
        assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not classifier.bias.any()
        assert head.classify.dropout.p == 0.1  # type: ignore[union-attr]
        assert all(norm.eps == 1e-5 for norm in head.modules() if isinstance(norm, _BatchNorm))


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("segformr", {}, "did you mean 'segformer'"),
        ("segformer", {"backbone": "emov2_5mm"}, "did you mean"),
        ("segformer", {"num_classes": 1}, "2..255"),
        ("segformer", {"num_classes": 256}, "255 marks ignored"),
        ("segformer", {"form": "fused"}, "training, deploy"),
        ("segformer", {"options": {"chanels": 3}}, "did you mean 'channels'"),
        ("segformer", {"options": {"pools": [1]}}, "no option 'pools'"),
        ("segformer", {"options": {"finest": 4}}, "no option 'finest'"),
        ("segformer", {"options": {"channels": 0}}, "whole number > 0"),
        ("segformer", {"options": {"channels": True}}, "whole number > 0"),
        ("segformer", {"options": {"dropout": 1.0}}, "[0, 1)"),
        ("segformer", {"options": {"aux": "yes"}}, "neither true nor false"),
        ("segformer", {"options": {"aux_weight": -1}}, ">= 0"),
        ("segformer", {"options": {"slide": {"crop": 64}}}, "of the form"),
        ("segformer", {"options": {"slide": {"crop": 64, "stride": 65}}}, "gaps"),
        ("pspnet", {"options": {"pools": 3}}, "list of whole numbers"),
        ("unet", {"options": {"widths": [8, 8]}}, "5 maps of the backbone need 4 numbers"),
        ("unet", {"options": {"finest": 8}}, "neither 2 nor 4"),
        ("unet_hrf", {"backbone": "emo_1m"}, "network of its own"),
        ("unet_hrf", {"widow": 4}, "did you mean 'window'"),
        ("segformer", {"backbone": "emo_1m", "widow": 4}, "did you mean 'window'"),
    ],
)
def test_mistakes_are_named(architecture: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        create_segmenter(architecture, **arguments)


def test_wrong_pictures_and_labels_are_named() -> None:
    model = tiny("segformer").train()
    image, labels = torch.rand(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.int64)
    with pytest.raises(UserError, match="needs label maps"):
        model(image)
    with pytest.raises(UserError, match="same height and width"):
        model(image, labels[:, :30])
    with pytest.raises(UserError, match="1 pictures came with 2"):
        model(image, labels.expand(2, -1, -1))
    with pytest.raises(UserError, match=r"hold 5, 200; with 5 classes"):
        model(image, labels.index_fill(2, torch.tensor([0]), 5).index_fill(1, torch.tensor([1]), 200))
    with pytest.raises(UserError, match="3 x height x width"):
        model(torch.rand(1, 1, 64, 64), labels)
    with pytest.raises(UserError, match="no pictures"):
        model([], [])


@pytest.mark.parametrize("side", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(7, 9), (12, 6), (4, 5), (2, 1)])
def test_averages_over_grids_in_graphs_of_free_size(side: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grid_means(x, side), torch.nn.functional.adaptive_avg_pool2d(x, side))
