"""What every network of the package can do, whatever its family: the contract of `VisionModel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.errors import UserError
from phonecv.models.recompute import recomputed
from phonecv.preprocessing import Preprocessing
from phonecv.task import DEFAULT_TASK

Form = Literal["training", "deploy"]


def check_form(form: str | None) -> None:
    """Refuse what is no form of a network; None leaves it open."""
    if form is not None and form not in get_args(Form):
        raise UserError(f"form {form!r} is not one of {', '.join(get_args(Form))}")


#: Ends the message of whatever a frozen network refuses.
FROZEN = (
    "this network is frozen, it can only be run; phonecv.fuse(network) gives one of the same weights that can change"
)


class Freezable(nn.Module):
    """A network that `phonecv.fuse` can freeze.

    Attributes:
        frozen: whether it is only run: `train`, `load_state_dict` and gradients are refused.
    """

    frozen = False

    def train(self, mode: bool = True) -> Self:
        """Set the mode.

        Raises:
            UserError: a frozen network is to be trained.
        """
        if mode and self.frozen:
            raise UserError(f"train() was called, and {FROZEN}")
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether parameters get gradients; a frozen network's get none."""
        if requires_grad and self.frozen:
            raise UserError(f"requires_grad_() was called, and {FROZEN}")
        return super().requires_grad_(requires_grad)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Take other weights; a frozen network takes none."""
        if self.frozen:
            raise UserError(f"load_state_dict() was called, and {FROZEN}")
        return super().load_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """What it can do, for ``print(model)``."""
        return "deploy form, frozen: only to be run" if self.frozen else ""


#: What a call gives, for type checkers: logits, or the maps of a dense backbone.
Out = TypeVar("Out")


class VisionModel(Freezable, Generic[Out]):
    """A classifier in five stages (strides 2 to 32) that can also serve as a dense backbone.

    ``forward(x: B in_chans H W)`` gives raw logits ``B num_classes``; with `out_indices` it gives the list of
    feature maps of these stages instead, and the final norm and classifier are absent.

    Attributes:
        task: key of `phonecv.task.TASKS`.
        name: catalog name, or an empty string for a hand-made network.
        overrides: constructor arguments that differ from the catalog's, JSON values; name and overrides
            together rebuild the network.
        form: "training", or "deploy" after `phonecv.fuse`.
        in_chans: channels of the input: 3 for RGB, 1 for gray; what reads pictures gives no others.
        quantization: what was done to it for int8, see `phonecv.models.quantized`; empty for an ordinary network.
        preprocessing: how a picture becomes the input at evaluation.
        class_names: one per class, or None when unknown.
        thresholds: where pictures have several labels or none, the probability (sigmoid) of each class from which on it
            is told; None where classes exclude each other (softmax).
        checkpoint_activations: in training keep only what goes into each block, and compute the rest again in the
            backward pass; see `phonecv.models.recompute`.
        feature_info: per stage a dict of `num_chs`, `reduction` (stride) and `module` (timm's convention).
    """

    task: ClassVar[str] = DEFAULT_TASK
    #: Attribute that holds the Linear classifier.
    classifier_name = "head"
    stage0: nn.Module
    stage1: nn.Module
    stage2: nn.Module
    stage3: nn.Module
    stage4: nn.Module
    norm: nn.Module

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Out: ...

    def __init__(
        self,
        *,
        widths: Sequence[int],
        num_classes: int,
        in_chans: int,
        out_indices: Sequence[int] | None,
        frozen_stages: int,
        norm_eval: bool,
    ) -> None:
        super().__init__()
        if not (isinstance(in_chans, int) and in_chans >= 1):
            raise UserError(f"in_chans {in_chans!r} is not a whole number >= 1 (3: RGB, 1: gray)")
        self.in_chans = in_chans
        if not (isinstance(num_classes, int) and num_classes >= 0):
            raise UserError(f"num_classes {num_classes!r} is not a whole number >= 0 (0: no classifier)")
        if not -1 <= frozen_stages <= 4:
            raise UserError(f"frozen_stages {frozen_stages!r} is not in -1 (none) .. 4 (stages 0 to 4)")
        self.name = ""
        self.overrides: dict[str, Any] = {}
        self.form: Form = "training"
        self.quantization: dict[str, Any] = {}
        self.preprocessing = Preprocessing().of_channels(in_chans)
        self.class_names: tuple[str, ...] | None = None
        self.thresholds: tuple[float, ...] | None = None
        self.checkpoint_activations = False
        self.num_features = widths[-1]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": 2 ** (i + 1), "module": f"stage{i}"} for i, width in enumerate(widths)
        ]
        self.out_indices = None if out_indices is None else take_indices(out_indices, len(widths))
        # A dense backbone has no classifier: unused parameters would break distributed training.
        self.num_classes = num_classes if out_indices is None else 0
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    def stages(self) -> Iterator[nn.Module]:
        """Stage 0 (the stem) to stage 4, in order."""
        for info in self.feature_info:
            yield self.get_submodule(info["module"])

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that tell parameters of the stem and of each block apart, for timm's `group_parameters`.

        Args:
            coarse: by stages in the place of blocks.
        """
        return {"stem": r"^stage0", "blocks": r"^stage([1-4])" if coarse else r"^stage([1-4])\.(\d+)"}

    def _add_classifier(self) -> None:
        head = nn.Linear(self.num_features, self.num_classes) if self.num_classes else nn.Identity()
        setattr(self, self.classifier_name, head)

    def _freeze(self) -> None:
        """Apply `frozen_stages` and `norm_eval`; a constructor calls it once the stages exist."""
        for stage in list(self.stages())[: self.frozen_stages + 1]:
            stage.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen stages, and BatchNorm under `norm_eval`, stay in evaluation mode."""
        super().train(mode)
        if mode:
            for stage in list(self.stages())[: self.frozen_stages + 1]:
                stage.eval()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def get_classifier(self) -> nn.Module:
        """The classifier: a Linear, or Identity when there is none."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one; 0 classes removes it. Class names and thresholds are forgotten.

        Raises:
            UserError: a pooling other than the average is asked for.
        """
        if global_pool not in (None, "avg"):
            raise UserError(f"global_pool {global_pool!r} is not offered; the networks pool by 'avg'")
        old = next(self.parameters())
        self.num_classes = num_classes
        self.class_names = self.thresholds = None
        self._add_classifier()
        head = self.get_classifier()
        if isinstance(head, nn.Linear):
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
            head.to(device=old.device, dtype=old.dtype)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What timm and its tools ask a network for, in timm's words: input, normalisation, names of its ends."""
        spec = self.preprocessing
        convolutions = {
            f"stage0.{name}": part.in_channels
            for name, part in self.stage0.named_modules()
            if isinstance(part, nn.Conv2d)
        }
        channels = next(iter(convolutions.values()), 3)
        return {
            "architecture": self.name,
            "num_classes": self.num_classes,
            "input_size": (channels, spec.size, spec.size),
            "pool_size": (-(-spec.size // 32),) * 2,
            "crop_pct": spec.crop,
            "crop_mode": "center",
            "interpolation": spec.interpolation,
            "mean": spec.mean,
            "std": spec.std,
            "first_conv": tuple(name for name, count in convolutions.items() if count == channels),
            "classifier": self.classifier_name,
        }

    @property
    def default_cfg(self) -> dict[str, Any]:
        """timm's older name of `pretrained_cfg`."""
        return self.pretrained_cfg

    @property
    def head_hidden_size(self) -> int:
        """timm's name for the width of what the classifier takes."""
        return self.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm's switch for `checkpoint_activations`."""
        self.checkpoint_activations = enable

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that the published EMO and EMOv2 training leaves without weight decay."""
        return {name for name, parameter in self.named_parameters() if no_weight_decay(name, parameter)}

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map after the final norm, ``B C H/32 W/32``."""
        for stage in self.stages():
            x = self._through(stage, x)
        return self.norm(x)

    def _through(self, stage: nn.Module, x: Tensor) -> Tensor:
        if not (self.checkpoint_activations and torch.is_grad_enabled()):
            return stage(x)
        # The stem is one piece: its parts keep little of their own.
        pieces = stage if isinstance(stage, nn.Sequential) and stage is not self.stage0 else (stage,)
        for piece in pieces:
            x = recomputed(piece, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Average over the map, then the classifier unless `pre_logits`."""
        x = x.mean((2, 3))
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Any:
        """Logits ``B num_classes``; with `out_indices` the list of these stages' maps, ``B C H W`` each."""
        if self.out_indices is not None:
            return self.forward_intermediates(x, self.out_indices, intermediates_only=True)
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Feature maps of chosen stages, with timm's signature.

        Args:
            x: ``B 3 H W``.
            indices: stages 0..4 (negative counts from the end), the last n as an int, or None for all.
            norm: apply the final norm to the last stage's map.
            stop_early: skip the stages after the last one asked for.
            output_fmt: only "NCHW".
            intermediates_only: return the list alone.

        Returns:
            The list of maps, or (last feature map after the final norm, list).

        Raises:
            UserError: a stage that does not exist, or another output format.
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt {output_fmt!r} is not offered; feature maps come as 'NCHW'")
        wanted = take_indices(indices, len(self.feature_info))
        maps = []
        for i, stage in enumerate(self.stages()):
            if i > max(wanted) and (stop_early or intermediates_only):
                break
            x = self._through(stage, x)
            if i in wanted:
                maps.append(self.norm(x) if norm and i == len(self.feature_info) - 1 else x)
        return maps if intermediates_only else (self.norm(x), maps)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] | None = None, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the chosen stages do not need (timm's hook for `features_only`)."""
        wanted = take_indices(indices, len(self.feature_info))
        for info in self.feature_info[max(wanted) + 1 :]:
            setattr(self, info["module"], nn.Sequential())
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return list(wanted)


def take_indices(indices: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Stage numbers as a rising tuple of 0..count-1."""
    if indices is None:
        return tuple(range(count))
    if isinstance(indices, int):
        indices = range(count - indices, count)
    wanted = []
    for index in indices:
        if not -count <= index < count:
            raise UserError(f"stage {index} does not exist: stages are 0..{count - 1} (strides 2 to {2**count})")
        wanted.append(index % count)
    if not wanted:
        raise UserError(f"no stage was asked for; choose from 0..{count - 1}")
    return tuple(sorted(set(wanted)))


def no_weight_decay(name: str, parameter: Tensor) -> bool:
    """Whether the published EMO and EMOv2 training leaves this parameter without weight decay.

    That is every tensor of one axis, every bias, and whatever is called alpha, beta, gamma or token:
    EMOv2's layer scale has four axes, so only its name spares it.
    """
    return (
        parameter.ndim <= 1
        or name.endswith(".bias")
        or any(word in name for word in ("alpha", "beta", "gamma"))
        or name == "token"
    )


def init_emo_weights(module: nn.Module) -> None:
    """Initial values of EMO and EMOv2: Linear normal cut at 2 with std 0.02; convolutions keep PyTorch's."""
    if isinstance(module, nn.Linear):
        torch.nn.init.trunc_normal_(module.weight, std=0.02)
        torch.nn.init.zeros_(module.bias)
