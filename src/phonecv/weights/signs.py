"""Finding networks of known layouts among the names of a state_dict, whatever stands in front of them.

People wrap networks: in data parallelism, in torch.compile, in a module of their own beside a loss and its buffers.
What is in front of a name that only one layout has is what is in front of all names of that network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: A name that only one layout has, in training and in deploy form. The longer ones first.
_SIGNS: tuple[tuple[str, str], ...] = (
    ("stage0.0.convs.0.0.weight", "emo"),
    ("stage1.0.eops.0.net.conv.weight", "emov2"),
    ("stage0.rbr_conv.0.conv.weight", "apple"),
    ("stage0.reparam_conv.weight", "apple"),
    ("stem.conv_kxk.0.conv.weight", "timm"),
    ("stem.reparam_conv.weight", "timm"),
    ("stages.0.downsample.conv_local.0.weight", "timm"),  # EMO and EMOv2
    ("backbone.stage0.branch_conv_list.0.conv.weight", "mmpretrain"),
    ("backbone.stage0.branch_reparam.weight", "mmpretrain"),
    ("stage0.branch_conv_list.0.conv.weight", "mmpretrain"),
    ("stage0.branch_reparam.weight", "mmpretrain"),
    ("stages.0.0.dw_3x3_blocks.0.conv.weight", "paddlevit"),
    ("stages.0.0.dw_3x3.conv.weight", "paddlevit"),
    ("stage1.0.v.conv.weight", "phonecv"),  # EMO with our stem names
)

_STAGES = frozenset(f"stage{n}" for n in range(5))
#: What names of each layout begin with.
_PARTS: Mapping[str, frozenset[str]] = {
    "phonecv": _STAGES | {"norm", "head"},
    "emo": _STAGES | {"norm", "head"},
    "emov2": _STAGES | {"norm", "head"},
    "apple": _STAGES | {"linear"},
    "timm": frozenset(["stem", "patch_embed", "stages", "norm", "head"]),
    "mmpretrain": _STAGES | {"backbone", "head"},
    "paddlevit": frozenset(["stages", "fc"]),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network stands among names: what is in front of them, empty or ending in a dot, and whose they are."""

    prefix: str
    layout: str

    def owns(self, name: str) -> bool:
        """Whether a name belongs to the network."""
        part = name[len(self.prefix) :].partition(".")[0]
        return name.startswith(self.prefix) and part in _PARTS[self.layout]

    def take(self, state: Mapping[str, T]) -> dict[str, T]:
        """What belongs to the network, under its own names."""
        return {name[len(self.prefix) :]: value for name, value in state.items() if self.owns(name)}

    def rest(self, state: Iterable[str]) -> tuple[str, ...]:
        """Names of what belongs to something else."""
        return tuple(name for name in state if not self.owns(name))


def networks_in(names: Iterable[str]) -> tuple[Place, ...]:
    """Every network of a known layout among the names, in the order of the signs."""
    names = tuple(names)
    found: dict[str, str] = {}
    for sign, layout in _SIGNS:
        for name in names:
            prefix = name.removesuffix(sign)
            if len(prefix) == len(name) or (prefix and not prefix.endswith(".")):
                continue
            # The backbone of mmpretrain's classifier is no second network.
            if layout == "mmpretrain" and found.get(prefix.removesuffix("backbone.")) == layout:
                continue
            found.setdefault(prefix, layout)
    return tuple(Place(prefix, layout) for prefix, layout in found.items())
