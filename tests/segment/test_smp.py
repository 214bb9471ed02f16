"""Decoders of segmentation_models_pytorch on our encoders, which it finds through timm."""

from __future__ import annotations

import pytest
import torch

import phonecv


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "encoder"), [("UnetPlusPlus", "emov2_1m"), ("PSPNet", "emo_1m"), ("Segformer", "emov2_2m")]
)
def test_decoders_take_our_encoders(decoder: str, encoder: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    model = getattr(smp, decoder)(f"tu-{encoder}", encoder_weights=None, classes=3)
    y = model(torch.randn(2, 3, 64, 96))
    assert y.shape == (2, 3, 64, 96)
    y.mean().backward()
    # The encoder is our network: its maps are those of ours with the same weights. PSPNet takes the first three only.
    depth = len(model.encoder.out_channels) - 1
    ours = phonecv.create_model(encoder, out_indices=tuple(range(depth)))
    theirs = {name.removeprefix("model."): value for name, value in model.encoder.model.state_dict().items()}
    assert theirs
    missing = ours.load_state_dict(theirs, strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith(tuple(f"stage{i}." for i in range(depth, 5))) for name in missing.missing_keys)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(ours.eval()(x), model.eval().encoder(x)[1:], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
