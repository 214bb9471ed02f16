"""The networks against the published reference implementations, on weights filled by rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import phonecv
from conftest import mostly_long
from models.reference import FILES, golden_input, golden_model, load_golden, official_name, rule
from phonecv.models.fusing import form_difference, fuse

LOGIT_TOLERANCE = 1e-4  # two float32 implementations differ by at most 1.2e-5, the mildest wrong model by 2e-3

CLASSIFIERS = [file for file in FILES if "backbone" not in file and not file.endswith("_train")]
BACKBONES = [file for file in FILES if "backbone" in file]
TRAINED = [file for file in FILES if file.endswith("_train")]


def small(files: list[str]) -> list[object]:
    """The smallest member of each family and every variant of the architecture; the others are `long`."""
    kept = ("EMO_1M", "EMO2_1M_k5_hybrid", "EMO1_1M", "abl", "s0", "s4_fused")
    return mostly_long(files, *(file for file in files if any(word in file for word in kept) and "_256" not in file))


def sizes_of(file: str) -> list[str]:
    meta, _ = load_golden(file)
    return list(meta["inputs"])


@pytest.mark.parametrize("file", CLASSIFIERS)
def test_parameter_names_are_the_reference_s(file: str) -> None:
    meta, _ = load_golden(file)
    if "keys" not in meta:
        pytest.skip("the file shares its names with its base model")
    name, overrides = FILES[file]
    rename = official_name if name.startswith("emo_") else str
    with torch.device("meta"):
        model = phonecv.create_model(name, **overrides)
    ours = {rename(key): list(value.shape) for key, value in model.state_dict().items()}
    assert ours == {key: shape for key, shape, _ in meta["keys"]}
    assert sum(parameter.numel() for parameter in model.parameters()) == meta["parameters"]


@pytest.mark.parametrize("file", small(CLASSIFIERS))
def test_logits_and_features(file: str) -> None:
    meta, arrays = load_golden(file)
    model = golden_model(file)
    for size in meta["inputs"]:
        x = golden_input(file, size)
        with torch.no_grad():
            last, maps = model.forward_intermediates(x)
            pooled = model.forward_head(last, pre_logits=True)
            logits = model(x)
        np.testing.assert_allclose(logits.numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)
        np.testing.assert_allclose(pooled.numpy(), arrays[f"prelogits_{size}"], rtol=1e-4, atol=1e-4)
        for i, feature in enumerate(maps):
            golden = meta["inputs"][size]["stages"][f"stage{i}"]
            assert list(feature.shape) == golden["shape"]
            flat = feature.flatten()[torch.from_numpy(rule.sample_index(feature.numel()))].numpy()
            deviation = golden["stats"][1]
            np.testing.assert_allclose(flat, arrays[f"stage{i}_{size}"], rtol=0, atol=1e-4 * deviation)


@pytest.mark.parametrize("file", small([file for file in CLASSIFIERS if "fused_native" not in file]))
def test_deploy_form_gives_the_golden_logits(file: str) -> None:
    _, arrays = load_golden(file)
    fused = fuse(golden_model(file))
    for size in sizes_of(file):
        with torch.no_grad():
            logits = fused(golden_input(file, size))
        np.testing.assert_allclose(logits.numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.long
@pytest.mark.parametrize("file", BACKBONES)
def test_dense_backbone(file: str) -> None:
    meta, arrays = load_golden(file)
    model = golden_model(file, out_indices=(0, 1, 2, 3, 4))
    keys = [official_name(key) if FILES[file][0].startswith("emo_") else key for key in model.state_dict()]
    assert sorted(keys) == sorted(key for key, _, _ in meta["keys"])
    for size in meta["inputs"]:
        x = golden_input(file, size)
        with torch.no_grad():
            maps = model(x)
        assert form_difference(model, fuse(model), x) < 1e-5
        for i, (feature, golden) in enumerate(zip(maps, meta["inputs"][size]["outputs"], strict=True)):
            assert list(feature.shape) == golden["shape"]
            flat = feature.flatten()[torch.from_numpy(rule.sample_index(feature.numel()))].numpy()
            np.testing.assert_allclose(flat, arrays[f"out{i}_{size}"], rtol=0, atol=1e-4 * golden["stats"][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "layout"),
    mostly_long(
        [(file, layout) for file in TRAINED for layout in (torch.contiguous_format, torch.channels_last)],
        *((file, torch.contiguous_format) for file in TRAINED if "s4" not in file),
    ),
)
def test_training_step_in_float64(file: str, layout: torch.memory_format) -> None:
    meta, arrays = load_golden(file)
    model = golden_model(file).double().to(memory_format=layout).train()
    x = torch.from_numpy(rule.input_array(meta["input_shape"], meta["salt"])).double().contiguous(memory_format=layout)
    logits = model(x)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(meta["labels"]))
    loss.backward()
    np.testing.assert_allclose(logits.detach().numpy(), arrays["logits"], rtol=0, atol=LOGIT_TOLERANCE)
    assert loss.item() == pytest.approx(meta["loss"], rel=1e-6)

    rename = official_name if FILES[file][0].startswith("emo_") else str
    gradients = {rename(key): value.grad for key, value in model.named_parameters()}
    buffers = {rename(key): value for key, value in model.named_buffers()}
    for kind, tensors in (("grad", gradients), ("buffer", buffers)):
        for key, (norm, dot) in zip(meta[f"{kind}_keys"], arrays[f"{kind}s"], strict=True):
            tensor = tensors[key]
            assert tensor is not None, key
            flat = tensor.flatten().numpy()
            # The bias of a convolution before BatchNorm has no gradient but rounding, about 1e-14.
            assert np.linalg.norm(flat) == pytest.approx(norm, rel=1e-4, abs=1e-10), key
            # The projection on a random direction is small by chance now and then; its scale is the norm's.
            probe = rule.probe_vector(f"{kind}:{key}", flat.size)
            assert abs(flat @ probe - dot) <= 1e-4 * norm + 1e-10, key


@pytest.mark.parametrize("size", mostly_long(range(5), 0, 4))
def test_fusing_gives_the_official_tensors(size: int) -> None:
    meta, arrays = load_golden(f"mobileone_s{size}_fused")
    fused = fuse(golden_model(f"mobileone_s{size}_unfused"))
    state = fused.state_dict()
    assert sorted(state) == sorted(key for key, _, _ in meta["keys"])
    for (key, shape, _), digest in zip(meta["keys"], arrays["fused_digest"], strict=True):
        value = state[key].double().numpy()
        assert list(value.shape) == shape
        total = np.abs(value).sum()
        np.testing.assert_allclose([value.sum(), total], digest[:2], rtol=0, atol=1e-5 * total, err_msg=key)
        samples = value.flatten()[rule.sample_index(value.size, 8)]
        expected = digest[2 : 2 + samples.size]
        np.testing.assert_allclose(samples, expected, rtol=1e-4, atol=1e-5 * np.abs(value).max(), err_msg=key)


def test_drop_path_rates_rise_linearly_and_halving_blocks_use_none() -> None:
    for file in ("EMO_1M", "EMO2_5M_k5_hybrid", "EMO2_50M_k5_hybrid"):
        meta, _ = load_golden(file)
        with torch.device("meta"):
            model = phonecv.create_model(FILES[file][0])
        rates = {
            name: module.rate for name, module in model.named_modules() if name.endswith("drop_path") and module.rate
        }
        golden = meta["drop_path"]
        # The reference gives halving blocks a rate too, and never applies it there.
        used = {name: rate for name, rate in golden.items() if ".0.drop_path" not in name}
        assert set(rates) == set(used)
        assert rates == pytest.approx(used, rel=1e-5)
