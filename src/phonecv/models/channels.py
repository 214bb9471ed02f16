"""Networks take the pictures that all loaders give: three channels, red, green and blue."""

from __future__ import annotations

from torch import nn

from phonecv.errors import UserError

RGB = 3


def check_takes_rgb(net: nn.Module, name: str) -> None:
    """Refuse a network of pictures whose first convolution takes another number of channels.

    One with heads is told by its backbone; one that takes something else says so (`HeadedModel.takes_pictures`). A stem
    that folds pixels into channels takes more (networks of timm); fewer than three take no picture at all.

    Raises:
        UserError: it takes one or two channels, or ours more than three.
    """
    if not getattr(net, "takes_pictures", True):
        return
    net = getattr(net, "backbone", net)
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return
    own = type(net).__module__.startswith("phonecv.")
    if first.in_channels < RGB or (own and first.in_channels != RGB):
        channels = f"{first.in_channels} channel{'s' * (first.in_channels > 1)}"
        raise UserError(
            f"{name} takes pictures of {channels}, and all pictures come as RGB, gray ones too; leave out"
            f" in_chans={first.in_channels} (model.overrides), or set it to 3"
        )
