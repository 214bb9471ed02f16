"""Which networks take what reads pictures gives: RGB, or gray."""

from __future__ import annotations

from torch import nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.preprocessing import RGB
from phonecv.text import counted


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
