"""V-EMO: EMOv2 over time and space, a classifier of clips.

Zhang et al., "EMOv2: Pushing 5M Vision Model Frontier", arXiv 2412.06674, table XIII, and the log of its training. No
code of it is public: kernels (5 x 5 x 5), windows (2, 5, 5), widths, head and data stand in the log. That the first
convolution halves the frames follows from the published count of operations (1.3 G); that the stem's kernels reach over
time is our choice, which the counts cannot tell.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.clips import ClipConv, inflate
from phonecv.models.emov2 import EMOv2
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import Preprocessing

#: Name of the architecture, as it stands in recipes and files.
ARCHITECTURE = "v_emov2"

#: Its options, as published.
OPTIONS: dict[str, Any] = {"frames": 4, "dropout": 0.5}


class VideoClassifier(HeadedModel[Preprocessing]):
    """Clips ``B 3 T H W`` -> logits ``B num_classes``: the mean over time and space, and a linear layer.

    On a clip whose frames are all the same an inflated network says what the network of pictures says of one of them.

    Attributes:
        frames: of a clip.
    """

    task: ClassVar[str] = "video"

    def __init__(
        self,
        backbone: EMOv2,
        preprocessing: Preprocessing,
        *,
        frames: int = 4,
        dropout: float = 0.5,
        fresh: bool = False,
    ) -> None:
        """Make a network of pictures one of clips.

        Args:
            backbone: with its classifier, which becomes the head. It is changed in place.
            preprocessing: of a frame.
            frames: of a clip, 1, 2, or a multiple of 4.
            dropout: share of the features left out before the head, in training.
            fresh: the backbone has no weights worth keeping; new ones for all taps in time.

        Raises:
            UserError: a value out of range.
        """
        if not 0 <= dropout < 1:
            raise UserError(f"dropout {dropout!r} is not in 0 .. 1")
        super().__init__(ARCHITECTURE, backbone, backbone.num_classes, preprocessing)
        options = {"frames": frames, "dropout": dropout}
        self.options = {name: value for name, value in options.items() if value != OPTIONS[name]}
        self.form, self.class_names = backbone.form, backbone.class_names
        self.frames, self.later = frames, inflate(backbone, frames)
        self.dropout, self.head = nn.Dropout(dropout), backbone.get_classifier()
        backbone.reset_classifier(0)
        if fresh:
            for module in backbone.modules():
                if isinstance(module, ClipConv):
                    module.spread()

    def network(self, batch: Tensor) -> Tensor:
        """See `HeadedModel`; clips of another length are refused."""
        if batch.shape[2] != self.frames:
            raise UserError(f"clips of {batch.shape[2]} frames; this network takes {self.frames} (its option `frames`)")
        frames = batch.permute(2, 0, 1, 3, 4).flatten(0, 1)  # T*B 3 H W
        features = cast(EMOv2, self.backbone).forward_features(frames).mean((2, 3))
        return self.head(self.dropout(features.unflatten(0, (self.later, -1)).mean(0)))

    def forward(self, clips: Tensor) -> Tensor:
        """See `network`."""
        return self.network(clips)
