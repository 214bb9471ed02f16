"""Where a classifier looks: which places of a picture speak for a class.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) weighs the last feature maps by the gradient of a class's logit.
Our classifiers are an average over these maps and one linear layer, so that the gradient is a row of its weights, the
same at every place: the map is that of CAM (Zhou et al. 2016, arXiv 1512.04150), in closed form and without a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from phonecv.data.pictures.opening import ImageError, open_image
from phonecv.data.pictures.reading import eval_transform
from phonecv.opening import Placed

if TYPE_CHECKING:
    from torch import Tensor

#: Pictures with outputs -> each as the network sees it, with the places that speak for the output; None for one that
#: cannot be read.
Look = Callable[[Sequence[tuple[Path, int]]], Iterator["tuple[Image.Image, np.ndarray] | None"]]


def class_maps(network: object, images: Tensor, outputs: Tensor) -> Tensor:
    """How much each place speaks for a class: the part of its logit that comes from there, as far as it is positive.

    Args:
        network: a `phonecv.models.VisionModel` with a classifier, in evaluation mode.
        images: ``B 3 H W``, normalised.
        outputs: ``B``, int64.

    Returns:
        ``B h w``, float32; the largest of a picture is 1, or all are 0.
    """
    import torch

    maps = network.forward_features(images)  # type: ignore[attr-defined]  # B C h w
    classifier = network.get_classifier()  # type: ignore[attr-defined]
    scores = classifier(maps.movedim(1, -1)) - classifier(maps.new_zeros(1, maps.shape[1]))  # B h w classes
    own = scores[torch.arange(len(maps), device=maps.device), :, :, outputs].float().clamp(min=0)
    return own / own.amax((1, 2), keepdim=True).clamp(min=1e-12)


def looked(placed: Placed, wanted: Sequence[tuple[Path, int]]) -> Iterator[tuple[Image.Image, np.ndarray] | None]:
    """See `Look`; the map is as large as the picture, bilinearly."""
    import torch

    reader = eval_transform(placed.network.preprocessing)
    for path, output in wanted:
        try:
            pixels = reader.pixels(open_image(path, bits=reader.preprocessing.bits))
        except ImageError:
            yield None
            continue
        with torch.inference_mode(), placed.computing():
            given = reader.normalise(pixels[None]).to(placed.device)
            heat = class_maps(placed.network, given, torch.tensor([output], device=placed.device))
        size = (pixels.shape[1], pixels.shape[2])
        heat = torch.nn.functional.interpolate(heat[None], size=size, mode="bilinear")[0, 0]
        yield Image.fromarray(pixels.permute(1, 2, 0).numpy()), heat.cpu().numpy()


def heated(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """A picture beside itself in gray, warm where the map (``H W``, 0..1) is high."""
    from matplotlib import colormaps

    gray = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    colour = colormaps["inferno"](heat)[..., :3]
    strength = 0.75 * heat[..., None] ** 0.7
    shown = (1 - strength) * gray * 0.8 + strength * colour
    both = Image.new("RGB", (2 * picture.width + 4, picture.height), "white")
    both.paste(picture, (0, 0))
    both.paste(Image.fromarray((255 * shown).clip(0, 255).astype(np.uint8)), (picture.width + 4, 0))
    return both
