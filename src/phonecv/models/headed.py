"""Networks of a backbone and the heads of a task: the contract of `HeadedModel`."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import Form, Freezable, VisionModel
from phonecv.models.fusing import fuse
from phonecv.preprocessing import RGB, DensePreprocessing, Preprocessing
from phonecv.text import counted

P = TypeVar("P", bound=Preprocessing | DensePreprocessing)


class HeadedModel(Freezable, Generic[P]):
    """A backbone with heads; a task says which and what they give.

    Attributes:
        task: key of `phonecv.task.TASKS`.
        takes_pictures: whether a batch is pictures ``B 3 H W``.
        architecture: name of the heads, such as "ssdlite320".
        options: arguments of the heads that differ from the architecture's, JSON values.
        backbone: the network, with `out_indices`.
        backbone_name: what `phonecv.dense.backbone.make_backbone` takes, or "" for a module of the person's own.
        backbone_overrides: constructor arguments that differ from the catalog's, JSON values. These five together
            rebuild the model.
        form: "training", or "deploy" after `phonecv.fuse`, which takes heads and backbone together.
        backbone_form: of the backbone alone; with "deploy" heads in training form are trained on a fused backbone.
        num_classes: without background.
        class_names: one per class, or None when unknown.
        preprocessing: how pictures are brought to the network.
    """

    task: ClassVar[str]
    takes_pictures: ClassVar[bool] = True

    def __init__(self, architecture: str, backbone: nn.Module, num_classes: int, preprocessing: P) -> None:
        super().__init__()
        self.architecture = architecture
        self.options: dict[str, Any] = {}
        self.backbone = backbone
        self.backbone_name: str = getattr(backbone, "name", "")
        # Which maps are needed follows from the architecture.
        overrides = {key: value for key, value in getattr(backbone, "overrides", {}).items() if key != "out_indices"}
        self.backbone_overrides: dict[str, Any] = overrides
        self.form: Form = "training"
        self.num_classes = num_classes
        self.class_names: tuple[str, ...] | None = None
        self.preprocessing: P = preprocessing

    def network(self, batch: Tensor) -> Any:
        """Raw outputs of the heads for a normalised batch ``B 3 H W``: tensors, nested as the architecture says."""
        raise NotImplementedError

    @property
    def backbone_form(self) -> Form:
        """ "deploy" for a fused backbone, which training heads may stand on, too."""
        return "deploy" if getattr(self.backbone, "form", self.form) == "deploy" else "training"

    @property
    def name(self) -> str:
        """For people: heads and backbone."""
        return f"{self.architecture} on {self.backbone_name or type(self.backbone).__name__}"

    def fuse_backbone(self) -> None:
        """Bring the backbone alone into deploy form, in place: fused weights go into it, and heads are trained on it.

        Raises:
            UserError: as `phonecv.fuse`.
        """
        self.backbone = fuse(self.backbone.eval()).train(self.training)


#: Whatever the package trains, saves and exports.
Network = VisionModel | HeadedModel


class RawOutputs(nn.Module):
    """A model's ``network`` as its forward pass: a normalised batch in, all tensors of the heads out, in a flat tuple.

    For whatever runs a network without knowing what its task does with the outputs.
    """

    def __init__(self, model: HeadedModel) -> None:
        super().__init__()
        self.model, self.training = model, model.training

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the network takes, pictures ``B 3 H W`` mostly -> whatever the architecture's heads give."""
        return tuple(_tensors(self.model.network(*inputs)))


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for part in outputs or () for tensor in _tensors(part)]


def check_takes_pictures(net: nn.Module, name: str) -> None:
    """Refuse a network of pictures whose first convolution takes another number of channels than they have.

    Networks of ours take three, or one. One with heads is told by its backbone; one that takes something else says so
    (`HeadedModel.takes_pictures`). A stem that folds pixels into channels takes more (networks of timm).

    Raises:
        UserError: it takes another number.
    """
    if not getattr(net, "takes_pictures", True):
        return
    spec, net = getattr(net, "preprocessing", None), getattr(net, "backbone", net)
    if isinstance(net, VisionModel):
        channels = net.in_chans
    else:
        first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
        channels = RGB if first is None else first.in_channels
    own = type(net).__module__.startswith("phonecv.")
    gray = channels == 1 and (spec is None or spec.channels == 1)  # who gives it colours gave it a mean of three
    if not gray and channels != RGB and (own or channels < RGB):
        raise UserError(
            f"{name} takes pictures of {counted(channels, 'channels')}, and what reads them gives RGB or gray; leave"
            f" out in_chans={channels} (model.overrides), or feed the network yourself: it runs, trains in your own"
            " loop, fuses and is saved"
        )
