"""Whoever types a name of another repository is told what it is here."""

from __future__ import annotations

import re
import shlex

import pytest

import phonecv
from phonecv.cli.app import VERBS, main
from phonecv.errors import UserError
from phonecv.migration import NAMES, replacement, rows
from phonecv.models.catalog import MODELS
from phonecv.training.recipe import recipe_names

OLD = {
    "EMO_1M": "`emo_1m`",
    "EMO2_5M_k5_hybrid": "`emov2_5m`",
    "EMO2_2M_k5_hybrid_256": "`emov2_2m_256`",
    "MobileOneS0": "`mobileone_s0`",
    "mobileone-s0_8xb32_in1k": "the recipe `mobileone_simple` with `--model mobileone_s0`",
    "configs/mobileone/mobileone-s3_8xb32_in1k.py": "`mobileone_progressive` with `--model mobileone_s3`",
    "configs/emo2_256_kd.py": "the recipe `emov2_256_kd`",
    "configs/emo2.py": "the recipe `emov2_224`",
    "configs/retinanet/retinanet_emo2_5m_fpn_1x_coco.py": "the recipe `emov2_retinanet`",
    "deeplabv3_emo_5m_ade20k.py": "the recipe `emo_deeplabv3`",
    "switch_to_deploy": "`phonecv.fuse(network)`",
    "reparameterize_model": "`phonecv.fuse(network)`",
    "tools/train.py": "`phonecv train RECIPE",
    "tools/dist_test.sh": "`phonecv eval FILE",
    "--cfg": "the recipe itself",
    "--cfg-options": "KEY=VALUE",
    "build_classifier": "`phonecv.create_model(NAME)`",
    "init_detector": "`phonecv.load_checkpoint(None, FILE)`",
    "inference_model": "`phonecv.predict(FILE, PICTURES)`",
}


def test_old_names_have_new_ones() -> None:
    for old, new in OLD.items():
        assert new in (replacement(old) or ""), old


def test_our_own_names_are_nobody_elses() -> None:
    own = [*MODELS, *recipe_names(), *VERBS, *phonecv.__all__, "--epochs", "emo_3m", "cat"]
    assert [name for name in own if replacement(name) is not None] == []


@pytest.mark.parametrize("source", NAMES)
def test_what_is_named_is_there(source: str) -> None:
    """Networks, recipes, attributes and command lines that the table points to exist."""
    for _, here in rows(source):
        for text in re.findall(r"`([^`]+)`", here):
            if text.startswith("phonecv "):
                verb = shlex.split(text)[1]
                assert verb in VERBS, text
            elif text.startswith("phonecv.") and not text.startswith("phonecv.training"):
                assert hasattr(phonecv, re.findall(r"\w+", text)[1]), text
            elif re.fullmatch(r"(emo|mobileone|d_emo|v_emo)\w+", text) and "*" not in text:
                assert text in MODELS or text in recipe_names(), text


def test_errors_carry_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"here it is `emov2_5m` \(a name of EMO and EMOv2\)"):
        phonecv.create_model("EMO2_5M_k5_hybrid")
    with pytest.raises(AttributeError, match=r"here it is `phonecv.create_model\(NAME\)`"):
        getattr(phonecv, "build_classifier")  # noqa: B009
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        getattr(phonecv, "nonsense")  # noqa: B009
    for line, hint in {
        "tools/train.py": "`phonecv train RECIPE",
        "val": "`phonecv eval FILE --data DATA`",
        "info EMO_5M": "`emo_5m`",
        "train configs/emo2_512_kd.py": "`emov2_512_kd`",
        "train finetune --cfg-options a=b": "KEY=VALUE",
        "train mobileone-s1_8xb32_in1k": "`mobileone_simple`",
        "train finetune model.model_kwargs.checkpoint_path=a.pth": "`--weights FILE`",
    }.items():
        assert main(line.split()) == 2, line
        assert hint in capsys.readouterr().err, line
