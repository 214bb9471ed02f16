"""Networks of a backbone and the heads of a task: the contract of `HeadedModel`."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from phonecv.models.base import Form, Freezable, VisionModel
from phonecv.models.fusing import fuse
from phonecv.preprocessing import DensePreprocessing, Preprocessing

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
