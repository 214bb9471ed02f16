"""The segmenters against the published reference implementations, on weights filled by rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import mostly_long
from phonecv.models.fusing import fuse
from phonecv.segment.inference import slide, whole
from phonecv.segment.layers import resize
from segment.golden import (
    FILES,
    assert_golden,
    create_published,
    golden_input,
    golden_labels,
    golden_model,
    golden_pictures,
    load_arrays,
    reference_keys,
    rule,
)
from segment.reference_names import reference_name

#: In float64, where a wrong epsilon in one BatchNorm shows. The stored samples are float32.
EXACT = 2e-6
#: In float32.
SINGLE = 1e-4

#: The larger ones have the same heads.
ALL = mostly_long(FILES, *(file for file in FILES if file.endswith("1M")))


@pytest.mark.parametrize("file", FILES)
def test_names_and_shapes_are_the_reference_s(file: str) -> None:
    with torch.device("meta"):
        model = create_published(FILES[file])
    ours = {
        reference_name(model, name): list(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert ours == reference_keys(file)


@pytest.mark.parametrize("file", mostly_long(FILES, "v2_unet_5M", *(file for file in FILES if file.endswith("1M"))))
def test_maps_and_logits(file: str) -> None:
    arrays, model, x = load_arrays(file), golden_model(file), golden_input(file)
    with torch.no_grad():
        backbone: Any = model.backbone
        maps = backbone(x) if "unet" in file else backbone.forward_intermediates(x, (1, 2, 3, 4))[1]
        logits, aux = model.network(x, auxiliary=True)
        for index, value in enumerate(maps):
            assert_golden(value, arrays, f"backbone{index}", EXACT)
        if model.neck is not None:
            for index, value in enumerate(model.neck(maps)):
                assert_golden(value, arrays, f"neck{index}", EXACT)
    assert_golden(logits, arrays, "logits", EXACT)
    assert (aux is None) == ("aux/shape" not in arrays)
    if aux is not None:
        assert_golden(aux, arrays, "aux", EXACT)
    full = resize(logits, (x.shape[2], x.shape[3]))
    assert_golden(full, arrays, "logits_full", EXACT)
    best = full[:, :, ::8, ::8].topk(2, 1)
    clear = arrays["margin"] > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(best.indices[:, 0].numpy()[clear], arrays["argmax"][clear])
    np.testing.assert_allclose(
        (best.values[:, 0] - best.values[:, 1]).numpy(), arrays["margin"], rtol=1e-4, atol=EXACT * 10
    )


@pytest.mark.parametrize("file", mostly_long(FILES, "v2_segformer_1M", "v1_deeplabv3_1M"))
def test_losses_and_gradients(file: str) -> None:
    arrays, model, x = load_arrays(file), golden_model(file), golden_input(file)
    losses = model.losses(golden_pictures(model, x), golden_labels(x, model.num_classes))
    assert losses["ce"].item() == pytest.approx(float(arrays["loss/decode.loss_ce"]), rel=1e-5)
    if "loss/aux.loss_ce" in arrays:
        assert losses["aux"].item() == pytest.approx(float(arrays["loss/aux.loss_ce"]), rel=1e-5)
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(float(arrays["loss/total"]), rel=1e-5)
    total.backward()
    gradients = {reference_name(model, name): parameter.grad for name, parameter in model.named_parameters()}
    checked = [key.split("/")[1] for key in arrays if key.startswith("grad/") and key.endswith("/shape")]
    assert len(checked) == 2
    for name in checked:
        gradient = gradients[name]
        assert gradient is not None
        assert_golden(gradient, arrays, f"grad/{name}", 1e-4)


@pytest.mark.parametrize("file", mostly_long(FILES, "v1_deeplabv3_1M", "v2_fpn_1M", "v2_segformer_1M"))
def test_float32_and_deploy_form(file: str) -> None:
    arrays, model = load_arrays(file), golden_model(file, dtype=torch.float32)
    x = golden_input(file, dtype=torch.float32)
    fused = fuse(model)
    assert (model.form, fused.form) == ("training", "deploy")
    with torch.no_grad():
        for form in (model, fused):
            logits, aux = form.network(x, auxiliary=True)
            assert_golden(logits, arrays, "logits", SINGLE)
            if aux is not None:
                assert_golden(aux, arrays, "aux", SINGLE)


@pytest.mark.long
@pytest.mark.slow
def test_unet_by_sliding_windows_and_fused() -> None:
    arrays, model = load_arrays("v2_unet_5M"), golden_model("v2_unet_5M")
    x = torch.from_numpy(rule.image("slide", (1, 3, 96, 144)))
    with torch.no_grad():
        assert_golden(slide(model, x, 64, 42), arrays, "slide", EXACT)
        assert_golden(slide(model, x, 64, 42, together=1), arrays, "slide", EXACT)
        fused = fuse(model)
        assert fused.form == "deploy"
        x = golden_input("v2_unet_5M")
        torch.testing.assert_close(whole(fused, x), whole(model, x), rtol=0, atol=1e-9)
        # A fused network still stands for the golden numbers.
        assert_golden(whole(fused, x), arrays, "logits", EXACT)
