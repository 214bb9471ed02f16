"""Lightweight vision backbones (EMO, EMOv2, MobileOne) from training to the phone.

Everything public is reachable from here and imported when first used, so ``import phonecv`` is
cheap and the command line can print its help without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.late import late_modules, late_names
from phonecv.timm_bridge import install as _install_timm_names

if TYPE_CHECKING:
    from phonecv.accelerating.network import accelerate as accelerate
    from phonecv.api import evaluate as evaluate
    from phonecv.api import generate as generate
    from phonecv.api import predict as predict
    from phonecv.benchmarking import bench as bench
    from phonecv.bundles import bundle as bundle
    from phonecv.bundles import verify as verify
    from phonecv.comparing import compare as compare
    from phonecv.converting import convert as convert
    from phonecv.create import create_model as create_model
    from phonecv.data.audit import audit as audit
    from phonecv.data.rewriting import convert_data as convert_data
    from phonecv.data.samples import samples as samples
    from phonecv.demonstration import demo as demo
    from phonecv.detect.architectures import list_detectors as list_detectors
    from phonecv.detect.create import create_detector as create_detector
    from phonecv.exporting import export as export
    from phonecv.generation.catalog import list_generators as list_generators
    from phonecv.generation.create import create_generator as create_generator
    from phonecv.hub import from_pretrained as from_pretrained
    from phonecv.hub import push_to_hub as push_to_hub
    from phonecv.inspection import info as info
    from phonecv.installation import doctor as doctor
    from phonecv.models.catalog import list_models as list_models
    from phonecv.models.fusing import fuse as fuse
    from phonecv.quantization import quantize as quantize
    from phonecv.segment.architectures import list_segmenters as list_segmenters
    from phonecv.segment.create import create_segmenter as create_segmenter
    from phonecv.training import distill as distill
    from phonecv.training import train as train
    from phonecv.video.create import create_video_classifier as create_video_classifier
    from phonecv.weights import load_checkpoint as load_checkpoint
    from phonecv.weights import read_checkpoint as read_checkpoint
    from phonecv.weights import save_checkpoint as save_checkpoint

__all__ = ["UserError", "__version__", *late_modules(__name__)]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)


def __dir__() -> list[str]:
    return sorted(__all__)


_install_timm_names()
