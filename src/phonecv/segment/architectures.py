"""The architectures of `phonecv.create_segmenter` by name. A table alone, so that listing them needs no torch."""

from __future__ import annotations

#: Name -> what it is.
SEGMENTERS: dict[str, str] = {
    "deeplabv3": "atrous spatial pyramid pooling on the map of stride 32, auxiliary head on stride 16",
    "pspnet": "pyramid of average pools on the map of stride 32, auxiliary head on stride 16",
    "semantic_fpn": "feature pyramid of 256 channels, its levels added up at stride 4",
    "segformer": "one 1x1 convolution per map, concatenated at stride 4 and mixed by another",
    "unet": "decoder with skips from strides 16 to 2, on any backbone",
    "unet_hrf": "the published EMOv2 UNet for retinal vessels, an encoder of its own, sliding windows",
}


def list_segmenters() -> list[str]:
    """Names for `phonecv.create_segmenter`."""
    return list(SEGMENTERS)
