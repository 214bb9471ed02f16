"""Names of other code bases against their executed key lists, and against the tables of the format description."""

from __future__ import annotations

import pytest
import torch

import phonecv
from models.reference import load_golden
from phonecv.errors import UserError
from phonecv.weights import from_phonecv, to_phonecv
from weights.helpers import SIZES, key_table, mobileone_blocks, numbered, same

#: Code base -> its names for the two forms.
FORMS = {"mmpretrain": ("train", "deploy"), "timm": ("unfused", "fused"), "paddlevit": ("unfused", "fused")}


def apple_table(size: str, form: str) -> dict[str, tuple[int, ...]]:
    meta, _ = load_golden(f"mobileone_{size}_{form}")
    return {name: tuple(shape) for name, shape, _ in meta["keys"]}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", [0, 1], ids=["training", "deploy"])
@pytest.mark.parametrize("code_base", FORMS)
def test_every_mobileone_name_maps_one_to_one(code_base: str, form: int, size: str) -> None:
    table = key_table(code_base, size, FORMS[code_base][form])
    ours = to_phonecv(numbered(table), code_base)
    apple = apple_table(size, ("unfused", "fused")[form])
    assert {name: tuple(value.shape) for name, value in ours.items()} == apple
    if code_base != "paddlevit":  # which has no counters
        assert len(ours) == len(table)
    assert same(from_phonecv(ours, code_base), numbered(table))


#: Part of a block: Apple's name -> timm's, mmpretrain's, PaddleViT's. `{b}` numbers the branch, `{k}` is 3x3 or
#: 1x1, `{t}` is dw or pw. Written out from the format description, not from the code under test.
PARTS = {
    "rbr_conv.{b}.conv.weight": (
        "conv_kxk.{b}.conv.weight",
        "branch_conv_list.{b}.conv.weight",
        "{t}_{k}_blocks.{b}.conv.weight",
    ),
    "rbr_conv.{b}.bn.running_mean": (
        "conv_kxk.{b}.bn.running_mean",
        "branch_conv_list.{b}.norm.running_mean",
        "{t}_{k}_blocks.{b}.norm._mean",
    ),
    "rbr_scale.conv.weight": ("conv_scale.conv.weight", "branch_scale.conv.weight", "dw_1x1.conv.weight"),
    "rbr_scale.bn.bias": ("conv_scale.bn.bias", "branch_scale.norm.bias", "dw_1x1.norm.bias"),
    "rbr_skip.running_var": ("identity.running_var", "branch_norm.running_var", "{t}_skip._variance"),
    "reparam_conv.weight": ("reparam_conv.weight", "branch_reparam.weight", "{t}_{k}.conv.weight"),
    "reparam_conv.bias": ("reparam_conv.bias", "branch_reparam.bias", "{t}_{k}.conv.bias"),
    "se.reduce.weight": ("attn.fc1.weight", "se.conv1.conv.weight", "{t}_se.reduce.weight"),
    "se.expand.bias": ("attn.fc2.bias", "se.conv2.conv.bias", "{t}_se.expand.bias"),
}


@pytest.mark.parametrize("size", SIZES)
def test_each_tensor_lands_where_the_format_description_says(size: str) -> None:
    tables = {
        code_base: {**key_table(code_base, size, forms[0]), **key_table(code_base, size, forms[1])}
        for code_base, forms in FORMS.items()
    }
    states = {code_base: numbered(table) for code_base, table in tables.items()}
    ours = {code_base: to_phonecv(state, code_base) for code_base, state in states.items()}
    blocks = [("stage0", "stem", "backbone.stage0", "stages.0.0", "dw")]
    for stage, pair, kind in mobileone_blocks():
        flat = 2 * pair + (kind == "pw")
        blocks.append(
            (
                f"stage{stage}.{flat}",
                f"stages.{stage - 1}.{flat}",
                f"backbone.stage{stage}.{flat}",
                f"stages.{stage}.{pair}",
                kind,
            )
        )
    checked = 0
    for apple, *places, kind in blocks:
        for part, spellings in PARTS.items():
            if kind == "pw" and part.startswith("rbr_scale"):
                continue  # only kernels above 1 have a scale branch
            for branch in range(4):
                fill = {"b": branch, "k": "3x3" if kind == "dw" else "1x1", "t": kind}
                name = f"{apple}.{part.format(**fill)}"
                for code_base, place, spelling in zip(
                    ("timm", "mmpretrain", "paddlevit"), places, spellings, strict=True
                ):
                    foreign = f"{place}.{spelling.format(**fill)}"
                    assert (foreign in states[code_base]) == (name in ours[code_base]), foreign
                    if foreign in states[code_base]:
                        assert torch.equal(ours[code_base][name], states[code_base][foreign]), foreign
                        checked += 1
                if "{b}" not in part:
                    break
    assert checked > 600


def test_paddle_s_linear_is_transposed_also_when_it_is_square() -> None:
    weight = torch.arange(9.0).reshape(3, 3)
    ours = to_phonecv({"fc.weight": weight, "fc.bias": torch.zeros(3)}, "paddlevit")
    assert torch.equal(ours["linear.weight"], weight.T)
    assert torch.equal(ours["linear.bias"], torch.zeros(3))


@pytest.mark.parametrize(
    ("file", "layout", "name"),
    [
        *((f"EMO_{size}", "emo", f"emo_{size.lower()}") for size in ("1M", "2M", "5M", "6M")),
        *((f"EMO2_{size}_k5_hybrid", "emov2", f"emov2_{size.lower()}") for size in ("1M", "2M", "5M", "20M", "50M")),
        *((f"EMO1_{size}", "emov2", f"emov2_remote_{size.lower()}") for size in ("1M", "2M", "5M", "20M")),
        *((f"mobileone_{size}_unfused", "apple", f"mobileone_{size}") for size in SIZES),
    ],
)
def test_official_names_and_shapes_are_those_of_our_networks_and_come_back(file: str, layout: str, name: str) -> None:
    meta, _ = load_golden(file)
    official = numbered({key: tuple(shape) for key, shape, _ in meta["keys"]})
    ours = to_phonecv(official, layout)
    with torch.device("meta"):
        wanted = {key: value.shape for key, value in _build(name).items()}
    assert {key: value.shape for key, value in ours.items()} == wanted
    assert same(from_phonecv(ours, layout), official)


def _build(name: str) -> dict[str, torch.Tensor]:
    return phonecv.create_model(name).state_dict()


def test_half_precision_becomes_float32_and_counters_stay_integers() -> None:
    state = {
        "a.weight": torch.ones(2, dtype=torch.float16),
        "b": torch.ones(2, dtype=torch.bfloat16),
        "n": torch.tensor(3),
    }
    assert {name: value.dtype for name, value in to_phonecv(state, "apple").items()} == {
        "a.weight": torch.float32,
        "b": torch.float32,
        "n": torch.int64,
    }


def test_layouts_that_do_not_fit_are_refused_with_the_choices() -> None:
    emo = phonecv.create_model("emo_1m").eval()
    for layout in ("timm", "apple", "emov2"):
        with pytest.raises(UserError, match="cannot hold emo weights; choose from phonecv, emo"):
            from_phonecv(emo.state_dict(), layout)
    with pytest.raises(UserError, match="no deploy form"):
        from_phonecv(phonecv.fuse(emo).state_dict(), "emo")
    with pytest.raises(UserError, match="'paddlevit' cannot hold emo weights; choose from phonecv, emo"):
        from_phonecv(emo.state_dict(), "paddlevit")
    with pytest.raises(UserError, match="did you mean 'timm'"):
        from_phonecv(emo.state_dict(), "tim")
    with pytest.raises(UserError, match="did you mean 'mmpretrain'"):
        to_phonecv({}, "mmpretrained")
    with pytest.raises(UserError, match="mixes two layouts"):
        to_phonecv({"stem.reparam_conv.bias": torch.zeros(1), "stage0.reparam_conv.bias": torch.zeros(1)}, "timm")
