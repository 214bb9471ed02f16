"""Which networks take what reads pictures gives: RGB, or gray where a classifier is of one channel."""

from __future__ import annotations

from torch import nn

from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.preprocessing import RGB


def check_takes_pictures(net: nn.Module, name: str) -> None:
    """Refuse a network of pictures whose first convolution takes another number of channels than they have.

    A classifier of ours takes three, or one; a backbone with heads three: its pictures are resized in colour. One with
    heads is told by its backbone; one that takes something else says so (`HeadedModel.takes_pictures`). A stem that
    folds pixels into channels takes more (networks of timm); fewer than three take no picture at all.

    Raises:
        UserError: it takes another number.
    """
    if not getattr(net, "takes_pictures", True) or (isinstance(net, VisionModel) and net.in_chans in (1, RGB)):
        return
    headed, net = hasattr(net, "backbone"), getattr(net, "backbone", net)
    if isinstance(net, VisionModel):
        channels = net.in_chans
    else:
        first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
        channels = RGB if first is None else first.in_channels
    own = type(net).__module__.startswith("phonecv.")
    if channels < RGB or (own and channels != RGB):
        counted = f"{channels} channel{'s' * (channels > 1)}"
        what = "RGB, gray pictures too; of one channel there are classifiers" if headed else "RGB or gray"
        raise UserError(
            f"{name} takes pictures of {counted}, and what reads them gives {what}; leave out in_chans={channels}"
            " (model.overrides), or feed the network yourself: it runs, trains in your own loop, fuses and is saved"
        )
