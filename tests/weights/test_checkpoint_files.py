"""Loading, saving and describing checkpoints."""

from __future__ import annotations

import itertools
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import phonecv
from conftest import mostly_long
from kept import kept
from models.reference import load_golden, rule
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from phonecv.weights import from_phonecv, load_public_or_file
from weights.helpers import TINY, picture, relative, same, settled


@kept
def tiny(name: str, num_classes: int = 5, seed: int = 0, **overrides: Any) -> VisionModel:
    return settled(phonecv.create_model(name, num_classes=num_classes, **(TINY[name] | overrides)), seed)


def logits(model: VisionModel) -> Tensor:
    with torch.no_grad():
        return model.eval()(picture())


@pytest.mark.parametrize("form", ["training", "deploy"])
@pytest.mark.parametrize("name", TINY)
def test_saving_and_loading_gives_the_same_network(name: str, form: str, tmp_path: Path) -> None:
    model = tiny(name)
    model.class_names = ("a", "b", "c", "d", "é")
    model.preprocessing = Preprocessing(size=64, crop=1.0, interpolation="bilinear")
    if form == "deploy":
        model = phonecv.fuse(model)
    path = phonecv.save_checkpoint(model, tmp_path / "run" / "best.safetensors", training={"epochs": 3}, source="test")
    assert path == tmp_path / "run" / "best.safetensors"
    assert {p.name for p in path.parent.iterdir()} == {"best.safetensors", "best.json"}

    loaded = phonecv.load_checkpoint(None, path)
    assert same(loaded.state_dict(), model.state_dict())
    assert torch.equal(logits(loaded), logits(model))
    assert not loaded.training
    for field in ("name", "form", "num_classes", "class_names", "preprocessing", "overrides"):
        assert getattr(loaded, field) == getattr(model, field), field

    info = phonecv.read_checkpoint(path)
    assert (info.layout, info.model, info.form, info.num_classes) == ("phonecv", name, form, 5)
    assert (info.family, info.problems) == (name.split("_")[0], ())
    assert info.tensors == len(model.state_dict())
    assert info.bytes == path.stat().st_size
    record = json.loads((path.parent / "best.json").read_text(encoding="utf-8"))
    assert record == info.record
    assert record["format"] == 1
    assert record["training"] == {"epochs": 3}
    assert record["classes"][-1] == "é"
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["phonecv"]) == record


def test_a_half_written_file_never_appears(tmp_path: Path) -> None:
    model = tiny("emo_1m")
    path = phonecv.save_checkpoint(model, tmp_path / "a.safetensors")
    before = path.read_bytes()
    with pytest.raises(UserError, match="plain JSON values"):
        phonecv.save_checkpoint(model, path, training={"x": object()})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_suffix_and_layout_go_together(tmp_path: Path) -> None:
    model = tiny("mobileone_s0")
    with pytest.raises(UserError, match=r"'\.pth' is not one of \.safetensors"):
        phonecv.save_checkpoint(model, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"'\.onnx' is not one of \.safetensors, \.pth"):
        phonecv.save_checkpoint(model, tmp_path / "a.onnx", layout="apple")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "layout", "filename"),
    [
        ("emo_1m", "emo", "net.pth"),
        ("emov2_1m", "emov2", "net.pth"),
        ("mobileone_s0", "apple", "m.pth.tar"),
        ("mobileone_s0", "timm", "model.safetensors"),
        ("mobileone_s0", "mmpretrain", "model.pth"),
        ("mobileone_s0", "paddlevit", "model.pdparams"),
    ],
)
def test_foreign_layouts_round_trip(name: str, layout: str, filename: str, tmp_path: Path) -> None:
    model = tiny(name)
    path = phonecv.save_checkpoint(model, tmp_path / filename, layout=layout)
    assert [p.name for p in tmp_path.iterdir()] == [filename]
    info = phonecv.read_checkpoint(path)
    assert (info.layout, info.form, info.record) == (layout, "training", None)
    loaded = phonecv.load_checkpoint(name, path, **TINY[name])
    states = [loaded.state_dict(), model.state_dict()]
    if layout == "paddlevit":  # which counts no batches
        states = [{key: value for key, value in one.items() if not key.endswith("tracked")} for one in states]
    assert same(*states)


@pytest.mark.parametrize(("layout", "suffix"), [("timm", ".pth"), ("mmpretrain", ".pth"), ("paddlevit", ".pdparams")])
def test_a_fused_mobileone_round_trips(layout: str, suffix: str, tmp_path: Path) -> None:
    model = phonecv.fuse(tiny("mobileone_s0"))
    path = phonecv.save_checkpoint(model, tmp_path / f"a{suffix}", layout=layout)
    loaded = phonecv.load_checkpoint("mobileone_s0", path, **TINY["mobileone_s0"])
    assert loaded.form == "deploy"
    assert same(loaded.state_dict(), model.state_dict())


@pytest.mark.parametrize("size", mostly_long(["s0", "s1", "s4"], "s1"))
def test_timm_agrees_in_both_directions_and_forms(size: str) -> None:
    import timm
    from timm.utils.model import reparameterize_model

    name = f"mobileone_{size}"
    x = picture(32)
    theirs = settled(timm.create_model(name, num_classes=11), seed=1, size=32)
    ours = phonecv.load_checkpoint(name, theirs.state_dict())
    folded = reparameterize_model(theirs)
    deployed = phonecv.load_checkpoint(name, folded.state_dict())
    assert (ours.form, ours.num_classes) == ("training", 11)
    assert deployed.form == "deploy"
    with torch.no_grad():
        expected = theirs(x)
        assert relative(ours(x), expected) < 1e-5
        # The same tensors run by other kernels: S4 on 32 pixels amplifies their rounding.
        assert relative(deployed(x), folded(x)) < 1e-4
        assert relative(deployed.double()(x.double()), folded.double()(x.double())) < 1e-12
        # In float64 only a wrong tensor could make a difference.
        assert relative(ours.double()(x.double()), theirs.double()(x.double())) < 1e-12

        mine = settled(phonecv.create_model(name, num_classes=11), seed=2, size=32).double()
        back = timm.create_model(name, num_classes=11).eval().double()
        back.load_state_dict(from_phonecv(mine.state_dict(), "timm"), strict=True)
        assert relative(back(x.double()), mine(x.double())) < 1e-12


def golden_state(file: str) -> tuple[dict[str, Tensor], Any, Any]:
    meta, arrays = load_golden(file)
    state = {
        key: torch.from_numpy(rule.fill_tensor(key, shape, meta["gains"], meta["salt"]))
        for key, shape, _ in meta["keys"]
    }
    return state, meta, arrays


@pytest.mark.parametrize(
    ("file", "name", "layout"),
    [
        ("EMO_1M", "emo_1m", "emo"),
        ("EMO2_1M_k5_hybrid", "emov2_1m", "emov2"),
        ("mobileone_s1_unfused", "mobileone_s1", "apple"),
    ],
)
def test_a_training_checkpoint_of_the_reference_gives_its_logits(
    file: str, name: str, layout: str, tmp_path: Path
) -> None:
    state, meta, arrays = golden_state(file)
    live = {f"module.{key}": value for key, value in state.items()}
    average = {key: value * 0.5 if value.is_floating_point() else value for key, value in state.items()}
    path = tmp_path / "latest_ckpt.pth"
    torch.save({"net": live, "net_E": average, "optimizer": {"state": {}}, "epoch": 9, "iter": 1}, path)
    with pytest.raises(UserError, match="ema=True"):
        phonecv.load_checkpoint(name, path)
    model = phonecv.load_checkpoint(name, path, ema=False)
    shape = meta["inputs"]["224x224"]["input_shape"]
    x = torch.from_numpy(rule.input_array(shape, meta["salt"]))
    with torch.no_grad():
        assert (model(x) - torch.from_numpy(arrays["logits_224x224"])).abs().max() < 1e-4
    other = phonecv.load_checkpoint(name, path, ema=True)
    assert torch.equal(next(iter(other.parameters())), 0.5 * next(iter(model.parameters())))
    info = phonecv.read_checkpoint(path)
    assert (info.layout, info.ema_available, info.wrapper, info.tensors) == (layout, True, "net", len(state))


def test_a_paddle_file_with_its_transposed_classifier_loads(tmp_path: Path) -> None:
    model = phonecv.fuse(settled(phonecv.create_model("mobileone_s1", num_classes=7)))
    arrays: dict[str, Any] = {"StructuredToParameterName@@": {"fc.weight": "linear_0.w_0"}}
    for name, value in model.state_dict().items():
        array = value.numpy()
        stage, _, rest = name.partition(".")
        if stage == "linear":
            arrays["fc." + rest] = array.T.copy() if rest == "weight" else array
        elif stage == "stage0":
            arrays["stages.0.0.dw_3x3.conv." + rest.rpartition(".")[2]] = array
        else:
            flat = int(rest.split(".")[0])
            kind = ("dw_3x3", "pw_1x1")[flat % 2]
            arrays[f"stages.{stage[-1]}.{flat // 2}.{kind}.conv.{rest.rpartition('.')[2]}"] = array
    path = tmp_path / "mobileone_s1.pdparams"
    path.write_bytes(pickle.dumps(arrays, protocol=4))
    info = phonecv.read_checkpoint(path)
    assert (info.container, info.layout, info.model, info.form) == ("pickle", "paddlevit", "mobileone_s1", "deploy")
    assert (info.num_classes, info.problems, info.notes) == (7, (), ())
    loaded = phonecv.load_checkpoint(None, path)
    assert same(loaded.state_dict(), model.state_dict())


def test_the_window_size_is_asked_for_by_name() -> None:
    state = phonecv.create_model("emov2_1m").state_dict()
    with pytest.raises(UserError, match="emov2_1m, emov2_1m_256, emov2_1m_512: they differ in the window size"):
        phonecv.load_checkpoint(None, state)
    model = phonecv.load_checkpoint("emov2_1m_512", state)
    assert model.name == "emov2_1m_512"
    assert model.preprocessing.size == 512


def test_a_network_given_is_filled_in_place() -> None:
    source = tiny("emov2_1m", seed=1)
    target = tiny("emov2_1m", seed=2).train()
    assert phonecv.load_checkpoint(target, source.state_dict()) is target
    assert target.training
    assert torch.equal(logits(target), logits(source))
    with pytest.raises(UserError, match="window cannot change a network"):
        phonecv.load_checkpoint(target, source.state_dict(), window=8)
    with pytest.raises(UserError, match="deploy form was asked for"):
        phonecv.load_checkpoint(target, source.state_dict(), form="deploy")


@pytest.mark.parametrize("name", TINY)
def test_forms_are_bridged_one_way_only(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    fused = phonecv.fuse(model)
    training = phonecv.save_checkpoint(model, tmp_path / "t.safetensors")
    deploy = phonecv.save_checkpoint(fused, tmp_path / "d.safetensors")
    assert phonecv.load_checkpoint(None, training).form == "training"
    asked = phonecv.load_checkpoint(None, training, form="deploy")
    assert asked.form == "deploy"
    assert same(asked.state_dict(), fused.state_dict())
    given = phonecv.fuse(tiny(name, seed=4))
    assert phonecv.load_checkpoint(given, training) is given
    assert same(given.state_dict(), fused.state_dict())
    for target in (phonecv.fuse(tiny(name, seed=4)), None):
        assert same(phonecv.load_checkpoint(target, deploy).state_dict(), fused.state_dict())
    with pytest.raises(UserError, match="cannot be undone"):
        phonecv.load_checkpoint(None, deploy, form="training")
    with pytest.raises(UserError, match="cannot be undone"):
        phonecv.load_checkpoint(tiny(name), deploy)


@pytest.mark.parametrize(
    ("name", "stage"),
    mostly_long(
        itertools.product(["emo_1m", "emov2_1m"], ["stage3.1", "stage4.1"]),
        ("emo_1m", "stage3.1"),
        ("emov2_1m", "stage4.1"),
    ),
)
def test_deploy_files_keep_norms_that_could_not_be_folded(name: str, stage: str, tmp_path: Path) -> None:
    model = tiny(name)
    with torch.no_grad():
        model.get_parameter(f"{stage}.norm.norm.weight")[2] = 0.0
    fused = phonecv.fuse(model)
    assert f"{stage}.norm.norm.weight" in fused.state_dict()
    path = phonecv.save_checkpoint(fused, tmp_path / "d.safetensors")
    loaded = phonecv.load_checkpoint(None, path)
    assert same(loaded.state_dict(), fused.state_dict())
    assert torch.equal(logits(loaded), logits(fused))
    assert relative(logits(loaded), logits(model)) < 1e-5
    # And the other way: a plain file into a network that had kept the norm.
    plain = phonecv.fuse(tiny(name, seed=3))
    into = phonecv.load_checkpoint(fused, phonecv.save_checkpoint(plain, tmp_path / "p.safetensors"))
    assert same(into.state_dict(), plain.state_dict())
    assert torch.equal(logits(into), logits(plain))


def test_another_class_count_is_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tiny("emo_1m", num_classes=5)
    path = phonecv.save_checkpoint(source, tmp_path / "a.safetensors")
    cases: list[tuple[Any, dict[str, Any]]] = [("emo_1m", {"num_classes": 3}), (tiny("emo_1m", num_classes=3), {})]
    for target, arguments in cases:
        with pytest.raises(UserError, match=r"has 5 classes, the network 3; pass num_classes=5 .* head='drop'"):
            phonecv.load_checkpoint(target, path, **arguments)
    target = tiny("emo_1m", num_classes=3, seed=9)
    fresh = target.get_parameter("head.weight").clone()
    phonecv.load_checkpoint(target, path, head="drop")
    assert torch.equal(target.get_parameter("head.weight"), fresh)
    assert torch.equal(target.get_parameter("norm.norm.weight"), source.get_parameter("norm.norm.weight"))
    assert target.class_names is None
    with caplog.at_level(logging.WARNING, "phonecv"):
        auto = phonecv.load_checkpoint("emo_1m", path, head="auto", num_classes=3)
    assert "its classifier stays fresh" in caplog.text
    assert auto.num_classes == 3
    with pytest.raises(UserError, match="one of keep, drop, auto"):
        phonecv.load_checkpoint("emo_1m", path, head="lose")  # pyrefly: ignore


@pytest.mark.parametrize("name", TINY)
def test_a_dense_backbone_takes_a_classification_file_and_back(name: str) -> None:
    source = tiny(name)
    dense = phonecv.load_checkpoint(name, source.state_dict(), out_indices=(1, 2, 3, 4), **TINY[name])
    with torch.no_grad():
        for ours, theirs in zip(
            dense(picture()), source.forward_intermediates(picture(), 4, intermediates_only=True), strict=True
        ):
            assert torch.equal(ours, theirs)
    target = tiny(name, seed=3)
    with pytest.raises(UserError, match="head='drop'"):
        phonecv.load_checkpoint(target, dense.state_dict())
    phonecv.load_checkpoint(target, dense.state_dict(), head="drop")
    assert same(target.stage3.state_dict(), source.stage3.state_dict())


def test_differences_are_listed_in_groups_with_the_likely_cause(caplog: pytest.LogCaptureFixture) -> None:
    state = phonecv.create_model("emo_2m").state_dict()
    with pytest.raises(UserError, match="the file holds emo_2m, not emo_1m") as error:
        phonecv.load_checkpoint("emo_1m", state)
    assert "other shape" in str(error.value)
    assert len(str(error.value).splitlines()) < 8
    with pytest.raises(UserError, match=r"holds emo weights .* emov2_1m is emov2"):
        phonecv.load_checkpoint("emov2_1m", state)
    whole = phonecv.create_model("emo_1m").state_dict()
    part = {key: value for key, value in whole.items() if not key.startswith("stage2.")}
    with pytest.raises(UserError, match=r"missing \(\d+\): stage2: \d+ \(stage2\.0\.norm\.weight, \.\.\.\)"):
        phonecv.load_checkpoint("emo_1m", part)
    with caplog.at_level(logging.WARNING, "phonecv"):
        phonecv.load_checkpoint("emo_1m", part, strict=False)
    assert "loaded in part" in caplog.text
    layernorm = {
        key.replace("conv_local.norm.weight", "conv_local.norm.norm.weight"): value for key, value in whole.items()
    }
    with pytest.raises(UserError, match="have LayerNorm"):
        phonecv.load_checkpoint("emo_1m", layernorm)
    with pytest.raises(UserError, match="no known layout"):
        phonecv.load_checkpoint("emo_1m", {"conv1.weight": torch.zeros(3)}, strict=False)


def test_remote_and_hybrid_members_are_told_apart() -> None:
    state = phonecv.create_model("emov2_remote_1m").state_dict()
    with pytest.raises(UserError, match="the file holds emov2_remote_1m, not emov2_1m"):
        phonecv.load_checkpoint("emov2_1m", state)
    assert phonecv.load_checkpoint(None, state).name == "emov2_remote_1m"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    model = tiny("emo_1m")
    with torch.no_grad():
        model.get_parameter("head.weight")[1, 2] = value
    path = phonecv.save_checkpoint(model, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"in 1 tensor, such as head\.weight \(1 values\)"):
        phonecv.load_checkpoint(None, path)
    assert "not finite" in phonecv.read_checkpoint(path).problems[0]


def test_half_precision_is_converted(tmp_path: Path) -> None:
    model = tiny("emo_1m").half()
    path = phonecv.save_checkpoint(model, tmp_path / "a.safetensors")
    loaded = phonecv.load_checkpoint(None, path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def altered(path: Path, **changes: Any) -> Path:
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["phonecv"])
    record.update(changes)
    target = path.with_name("altered.safetensors")
    save_file(load_file(path), target, {"phonecv": json.dumps(record)})
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"model": "emo_9m"}, "emo_9m"),
        ({"model": 3}, "its record: 'model' is 3"),
        ({"form": "half"}, "'training' or 'deploy'"),
        ({"classes": ["a"]}, "1 class for 5"),
        ({"preprocessing": {"size": -1}}, "-1"),
        ({"preprocessing": {"mean": 3}}, "preprocessing in its record is damaged"),
        ({"overrides": {"weights": "official"}}, "overrides 'weights'"),
        ({"overrides": {"widths": [10**9] * 4}}, "more than any network has"),
        ({"overrides": {"depths": [9, 9, 9, 9]}}, "its record says depths"),
        ({"overrides": {"drop_path": {"a": 1}}}, "drop_path"),
        ({"overrides": {"stem_width": "eight"}}, "no network can be built"),
    ],
)
def test_a_damaged_record_is_a_message(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = altered(phonecv.save_checkpoint(tiny("emo_1m"), tmp_path / "a.safetensors"), **changes)
    with pytest.raises(UserError, match=message):
        phonecv.load_checkpoint(None, path)


def test_create_model_takes_a_path_a_tag_or_says_what_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny("mobileone_s0")
    path = phonecv.save_checkpoint(source, tmp_path / "a.safetensors")
    model = phonecv.create_model("mobileone_s0", weights=path, num_classes=5, **TINY["mobileone_s0"])
    assert torch.equal(logits(model), logits(source))
    with caplog.at_level(logging.WARNING, "phonecv"):
        phonecv.create_model("mobileone_s0", weights=str(path), num_classes=3, **TINY["mobileone_s0"])
    assert "stays fresh" in caplog.text
    with pytest.raises(UserError, match=r"no weights 'aple'; did you mean 'apple'. \(known: official, apple"):
        phonecv.create_model("mobileone_s0", weights="aple")
    with pytest.raises(UserError, match=r"missing\.pth does not exist"):
        phonecv.create_model("mobileone_s0", weights="missing.pth")
    fused = phonecv.save_checkpoint(phonecv.fuse(source), tmp_path / "d.safetensors")
    fresh = phonecv.create_model("mobileone_s0", num_classes=5, **TINY["mobileone_s0"])
    assert load_public_or_file(fresh, fused).form == "deploy"
    fresh = phonecv.create_model("mobileone_s0", num_classes=5, **TINY["mobileone_s0"])
    with pytest.raises(UserError, match="cannot be undone"):
        load_public_or_file(fresh, fused, form="training")


def test_a_record_goes_with_its_own_name_only(tmp_path: Path) -> None:
    path = phonecv.save_checkpoint(tiny("emov2_1m", window=4), tmp_path / "a.safetensors")
    assert phonecv.load_checkpoint("emov2_1m", path).overrides["window"] == 4
    assert phonecv.load_checkpoint("emov2_1m", path, window=5).overrides["window"] == 5
    other = phonecv.load_checkpoint("emov2_1m_256", path, **TINY["emov2_1m"])
    assert "window" not in other.overrides
    assert other.preprocessing.size == 256


def test_apple_s_real_checkpoint_loads_strictly(shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "weights" / "mobileone_s0_apple_fused.pth"
    info = phonecv.read_checkpoint(path)
    assert (info.layout, info.model, info.form) == ("apple", "mobileone_s0", "deploy")
    assert (info.tensors, info.parameters, info.num_classes) == (88, 2_078_504, 1000)
    model = phonecv.load_checkpoint(None, path)
    stored = torch.load(path, weights_only=True)
    assert same(model.state_dict(), dict(stored))
    again = phonecv.load_checkpoint(None, phonecv.save_checkpoint(model, tmp_path / "s0.safetensors"))
    assert torch.equal(logits(again), logits(model))
