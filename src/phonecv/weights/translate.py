"""Parameter names and layouts of other code bases, to ours and back.

Ours are EMOv2's own and, for MobileOne, Apple's. The tables below hold what differs elsewhere, as regular
expressions applied in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from phonecv.errors import UserError, did_you_mean

Layout = Literal["phonecv", "emo", "emov2", "apple", "timm", "mmpretrain", "paddlevit"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def _stage_up(match: re.Match[str]) -> str:
    return f"stage{int(match[1]) + 1}."


def _stage_down(match: re.Match[str]) -> str:
    return f"stages.{int(match[1]) - 1}."


def _paddle_block(match: re.Match[str]) -> str:
    # PaddleViT keeps a depthwise-pointwise pair in one block; here the two follow each other.
    return f"stage{match[1]}.{2 * int(match[2]) + (match[3] == 'pw')}.{match[3]}_"


def _paddle_pair(match: re.Match[str]) -> str:
    pair, place = divmod(int(match[2]), 2)
    return f"stages.{match[1]}.{pair}.{('dw', 'pw')[place]}_"


#: A spelling elsewhere, and ours of the same: "^" and "$" are the ends of a name, "#" a number; or a rule for each way.
_PAIRS: Mapping[str, tuple[tuple[str | Rule, str | Rule], ...]] = {
    "emo": (
        ("^stage0.0.convs.0.0.", "^stage0.0.conv."),
        ("^stage0.0.convs.0.1.", "^stage0.0.norm."),
        ("^stage0.1.se.conv_reduce.", "^stage0.1.se.reduce."),
        ("^stage0.1.se.conv_expand.", "^stage0.1.se.expand."),
    ),
    "timm": (
        ("^stem.", "^stage0."),
        ((r"^stages\.(\d+)\.", _stage_up), (r"^stage(\d+)\.", _stage_down)),
        (".conv_kxk.", ".rbr_conv."),
        (".conv_scale.", ".rbr_scale."),
        (".identity.", ".rbr_skip."),
        (".attn.fc1.", ".se.reduce."),
        (".attn.fc2.", ".se.expand."),
        ("^head.fc.", "^linear."),
    ),
    "mmpretrain": (
        ("^backbone.stage", "^stage"),
        (".branch_conv_list.#.norm.", ".rbr_conv.#.bn."),
        (".branch_conv_list.", ".rbr_conv."),
        (".branch_scale.norm.", ".rbr_scale.bn."),
        (".branch_scale.", ".rbr_scale."),
        (".branch_norm.", ".rbr_skip."),
        (".branch_reparam.", ".reparam_conv."),
        (".se.conv1.conv.", ".se.reduce."),
        (".se.conv2.conv.", ".se.expand."),
        ("^head.fc.", "^linear."),
    ),
    "paddlevit": (
        # In between ours say which layer of a pair they are of, too.
        ((r"^stages\.0\.0\.dw_", "stage0.dw_"), (r"^stage0\.", "stages.0.0.dw_")),
        ((r"^stages\.(\d+)\.(\d+)\.(dw|pw)_", _paddle_block), (r"^stage(\d+)\.(\d+)\.", _paddle_pair)),
        (".norm.", ".bn."),
        (".dw_3x3_blocks.", ".dw_rbr_conv."),
        (".pw_1x1_blocks.", ".pw_rbr_conv."),
        (".dw_1x1.", ".dw_rbr_scale."),
        (".dw_skip.", ".dw_rbr_skip."),
        (".pw_skip.", ".pw_rbr_skip."),
        (".dw_3x3.conv.", ".dw_reparam_conv."),
        (".pw_1x1.conv.", ".pw_reparam_conv."),
        ("._mean$", ".running_mean$"),
        ("._variance$", ".running_var$"),
        ("^fc.", "^linear."),
        ((r"\.[dp]w_", "."), ("$^", "")),  # taken off again
    ),
}


def _rule(pair: tuple[str | Rule, str | Rule], way: int) -> Rule:
    """What makes theirs ours (0) or ours theirs (1)."""
    old, new = pair[way], pair[1 - way]
    if not (isinstance(old, str) and isinstance(new, str)):
        return cast("Rule", old)
    pattern = re.escape(old).replace(r"\^", "^").replace(r"\$", "$").replace(r"\#", r"(\d+)")
    return pattern, new.strip("^$").replace("#", r"\1")


_TO, _FROM = ({name: tuple(_rule(pair, way) for pair in pairs) for name, pairs in _PAIRS.items()} for way in (0, 1))

#: timm's own EMO and EMOv2: sequences instead of modules with names, the halving block apart from the others, and
#: LayerNorm itself where the authors have a module around it (in the late stages and at the end).
_TIMM_EMO_BLOCKS: tuple[Rule, ...] = (
    (r"^norm\.", "norm.norm."),
    (r"^(stages\.[23]\.(?:downsample|blocks\.\d+)\.)norm\.", r"\1norm.norm."),
    (r"\.conv_local\.0\.", ".conv_local.conv."),
    (r"\.conv_local\.1\.", ".conv_local.norm."),
    (r"\.proj\.", ".proj.conv."),
)
_TIMM_EMO_STAGES: tuple[Rule, ...] = (
    (r"^stages\.(\d+)\.downsample\.", lambda match: f"stage{int(match[1]) + 1}.0."),
    (r"^stages\.(\d+)\.blocks\.(\d+)\.", lambda match: f"stage{int(match[1]) + 1}.{int(match[2]) + 1}."),
)
_TIMM_EMO_TO: tuple[Rule, ...] = (
    *_TIMM_EMO_BLOCKS,
    (r"^patch_embed\.0\.", "stage0.0.conv."),
    (r"^patch_embed\.1\.", "stage0.0.norm."),
    (r"^patch_embed\.2\.", "stage0.1.conv_local.conv."),
    (r"^patch_embed\.3\.", "stage0.1.conv_local.norm."),
    (r"^patch_embed\.5\.fc1\.", "stage0.1.se.reduce."),
    (r"^patch_embed\.5\.fc2\.", "stage0.1.se.expand."),
    (r"^patch_embed\.7\.", "stage0.1.proj.conv."),
    (r"\.qk\.", ".qk.conv."),
    (r"\.v\.0\.", ".v.conv."),
    *_TIMM_EMO_STAGES,
)
_TIMM_EMOV2_TO: tuple[Rule, ...] = (
    *_TIMM_EMO_BLOCKS,
    (r"^patch_embed\.0\.", "stage0.0.conv."),
    (r"^patch_embed\.1\.", "stage0.0.norm."),
    (r"^patch_embed\.3\.", "stage0.1.conv."),
    (r"^patch_embed\.4\.", "stage0.1.norm."),
    (r"^patch_embed\.6\.", "stage0.2.conv."),
    (r"\.layer_scale\.gamma$", ".ls.gamma"),
    (r"\.qk\.", ".eops.0.qk.conv."),
    (r"^(stages\.[23]\.blocks\.\d+)\.v\.0\.", r"\1.eops.0.v.conv."),  # with attention
    (r"\.v\.0\.", ".eops.0.net.conv."),
    *_TIMM_EMO_STAGES,
)

#: Family that each layout can spell; timm's EMO and EMOv2 are read only.
FAMILY_OF: Mapping[str, str] = {
    "emo": "emo",
    "emov2": "emov2",
    "apple": "mobileone",
    "timm": "mobileone",
    "mmpretrain": "mobileone",
    "paddlevit": "mobileone",
}


def rename(name: str, rules: tuple[Rule, ...]) -> str:
    """Apply the rules in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _check(layout: str) -> None:
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r}{did_you_mean(layout, LAYOUTS)} (known: {', '.join(LAYOUTS)})")


def to_phonecv(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Tensors of a foreign layout under our names, as float32, with the counters that some layouts lack.

    Names that the layout does not know stay as they are, so that loading can report them.

    Raises:
        UserError: an unknown layout, or two names that become one.
    """
    _check(layout)
    rules = _TO.get(layout, ())
    if layout == "timm" and "stages.0.downsample.conv_local.0.weight" in state:
        # Only EMO's stem has squeeze-excite.
        rules = _TIMM_EMO_TO if "patch_embed.5.fc1.weight" in state else _TIMM_EMOV2_TO
    made: dict[str, Tensor] = {}
    for old, tensor in state.items():
        name = rename(old, rules)
        if name in made:
            raise UserError(f"{old!r} and another tensor both stand for {name!r}; the file mixes two layouts")
        if layout == "paddlevit" and name == "linear.weight" and tensor.ndim == 2:
            tensor = tensor.t()  # Paddle's Linear keeps (in, out)
        if name.endswith(".ls.gamma") and tensor.ndim == 1:
            tensor = tensor[None, :, None, None]  # as EMOv2's authors keep it; timm has one dimension
        made[name] = tensor.float() if tensor.is_floating_point() else tensor
    for name in [name for name in made if name.endswith(".running_var")]:
        # Paddle counts no batches, others cut the counters off; they only matter without momentum, which no published
        # recipe does.
        made.setdefault(name.removesuffix("running_var") + "num_batches_tracked", torch.zeros((), dtype=torch.int64))
    return made


def from_phonecv(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Tensors under our names spelt in another layout: the inverse of `to_phonecv`.

    Raises:
        UserError: an unknown layout, or one that cannot spell this family or form.
    """
    _check(layout)
    family = family_of_names(state)
    if layout != "phonecv":
        if FAMILY_OF[layout] != family:
            fitting = ", ".join(name for name in LAYOUTS if FAMILY_OF.get(name, family) == family)
            raise UserError(f"the layout {layout!r} cannot hold {family or 'these'} weights; choose from {fitting}")
        if family in ("emo", "emov2") and not is_training_form(state):
            raise UserError(
                f"the layout {layout!r} has no deploy form: only MobileOne's does. Convert the training form, "
                "or keep phonecv's own layout"
            )
    rules = _FROM.get(layout, ())
    made = {rename(name, rules): tensor for name, tensor in state.items()}
    if layout == "paddlevit":
        made = {name: tensor for name, tensor in made.items() if not name.endswith("num_batches_tracked")}
        if "fc.weight" in made:
            made["fc.weight"] = made["fc.weight"].t().contiguous()
    return made


def family_of_names(names: Mapping[str, object]) -> str | None:
    """Family that names of ours belong to, or None."""
    if "stage0.rbr_conv.0.conv.weight" in names or "stage0.reparam_conv.weight" in names:
        return "mobileone"
    if any(name.startswith("stage1.0.eops.") for name in names):
        return "emov2"
    if "stage1.0.v.conv.weight" in names:
        return "emo"
    return None


def is_training_form(names: Mapping[str, object]) -> bool:
    """Whether there are BatchNorm statistics; folding removes all of them."""
    return any(name.endswith(".running_mean") for name in names)
