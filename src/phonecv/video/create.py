"""`create_video_classifier`: V-EMO by name, from fresh values or from any network of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.create import create_model, in_form, with_own_weights
from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import Form, check_form
from phonecv.models.catalog import MODELS
from phonecv.models.emov2 import EMOv2
from phonecv.models.factory import check_known
from phonecv.preprocessing import Preprocessing
from phonecv.video.network import ARCHITECTURE, OPTIONS, VideoClassifier
from phonecv.weights import read_checkpoint
from phonecv.weights.fill import NO_WAY_BACK

#: The published side of windows, and how a frame becomes the input: values less 114.75, divided by 57.375.
WINDOW = 5
PREPROCESSING = Preprocessing(160, 1.0, "bilinear", mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))

#: Name -> the network of pictures that it is made of.
BACKBONES = {f"v_{name}": name for name, record in MODELS.items() if record.builder.endswith(":EMOv2")}


def create_video_classifier(
    name: str,
    *,
    num_classes: int = 400,
    weights: Path | str | None = None,
    form: Form | None = None,
    frames: int = 4,
    dropout: float = 0.5,
    **overrides: Any,
) -> VideoClassifier:
    """Build a classifier of clips by name.

    Args:
        name: "v_emov2_1m", "_2m", "_5m" (published) and the other members of EMOv2.
        num_classes: classes.
        weights: None for fresh values; the path of a checkpoint of a classifier of clips; or whatever
            `phonecv.create_model` takes for the network of pictures ("official" or another tag, a checkpoint of any
            layout), which is inflated. With another class count than the file's, the head stays fresh.
        form: "training", or "deploy" for the fused network; None for the form of the weights, training without any.
        frames: of a clip, 1, 2, or a multiple of 4.
        dropout: before the head, in training.
        **overrides: constructor arguments of EMOv2 that replace the catalog's, such as ``window=7``, ``drop_path=0.1``.

    Returns:
        The network in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown name, override or weights; a value out of range.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown network {name!r}{did_you_mean(name, BACKBONES)} (known: {', '.join(BACKBONES)})")
    check_form(form)
    file = Path(weights) if weights is not None and Path(weights).is_file() else None
    own = file is not None and read_checkpoint(file).task == VideoClassifier.task
    options = {"frames": frames, "dropout": dropout}
    pictures = None if own else weights
    made = create_headed(
        ARCHITECTURE, BACKBONES[name], num_classes=num_classes, options=options, weights=pictures, **overrides
    )
    if own and file is not None:
        return with_own_weights(made, file, form=form)
    if form == "training" and made.form == "deploy":
        raise UserError(f"{weights} {NO_WAY_BACK}")
    return in_form(made, form)


def create_headed(
    architecture: str,
    backbone: str,
    *,
    num_classes: int,
    form: Form | None = None,
    options: Mapping[str, Any],
    weights: Path | str | None = None,
    **overrides: Any,
) -> VideoClassifier:
    """See `phonecv.weights.headed.Building`; `weights` are those of the network of pictures."""
    if architecture != ARCHITECTURE:
        raise UserError(f"unknown architecture {architecture!r} (known: {ARCHITECTURE})")
    check_known(architecture, "option", options, list(OPTIONS))
    arguments: dict[str, Any] = {"window": WINDOW} | overrides
    net = create_model(backbone, num_classes=num_classes, weights=weights, **arguments)
    if not isinstance(net, EMOv2) or net.out_indices is not None:
        raise UserError(f"{backbone} cannot be inflated to clips; choose from {', '.join(BACKBONES.values())}")
    return in_form(VideoClassifier(net, PREPROCESSING, fresh=weights is None, **options), form)
