"""`create_generator`: D-EMO, or DiT to compare with, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.create import in_form, with_own_weights
from phonecv.errors import UserError
from phonecv.generation.catalog import get_generator
from phonecv.generation.network import ARCHITECTURE, Generator
from phonecv.models.base import Form, check_form
from phonecv.models.factory import check_known, listed
from phonecv.preprocessing import Preprocessing


def create_generator(
    name: str,
    *,
    num_classes: int = 1000,
    weights: Path | str | None = None,
    form: Form | None = None,
    **overrides: Any,
) -> Generator:
    """Build a generator by its catalog name.

    Args:
        name: "d_emov2_s", "_b", "_l" or "_xl" on latents of pictures of 256 px, "d_emov2_digits" on pixels; "dit_*" for
            DiT of the same size; see `phonecv.list_generators`.
        num_classes: classes it is asked for.
        weights: the path of a checkpoint of ours; None for fresh values.
        form: "training", or "deploy" for the fused network; None for the form of the weights, training without any.
        **overrides: constructor arguments that replace the catalog's, such as ``depth=6`` or ``size=64``.

    Returns:
        The network in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown name or override, a value out of range, or weights that do not fit.
    """
    check_form(form)
    record = get_generator(name)
    known = [key for key in inspect.signature(Generator).parameters if key not in ("num_classes", "preprocessing")]
    check_known(name, "argument", overrides, known)
    config = dict(record.config) | {"latent": record.latent} | overrides
    side = record.picture if config["latent"] else config["size"]
    pictures = Preprocessing(side, 1.0, "bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    net = Generator(num_classes=num_classes, preprocessing=pictures, **config)
    net.backbone_name = net.backbone.name = name
    net.backbone_overrides = net.backbone.overrides = listed(overrides)
    return in_form(net, form) if weights is None else with_own_weights(net, weights, form=form)


def create_headed(
    architecture: str,
    backbone: str,
    *,
    num_classes: int,
    form: Form | None = None,
    options: Mapping[str, Any],
    **overrides: Any,
) -> Generator:
    """See `phonecv.weights.headed.Building`; `backbone` is the generator's catalog name."""
    if architecture != ARCHITECTURE or options:
        raise UserError(f"{architecture!r} is not {ARCHITECTURE!r}, the one frame of generators, or it has options")
    return create_generator(backbone, num_classes=num_classes, form=form, **overrides)
