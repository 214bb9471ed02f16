"""The Frechet distance of two sets of pictures: how far the Gaussians lie apart that fit their features.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500. The
published FID compares 50,000 samples by the Inception v3 of 2015; distances by other features, or of fewer pictures,
are of the same kind but on another scale.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.create import load_network
from phonecv.data.class_mapping import display_names
from phonecv.devices import pick_device
from phonecv.errors import UserError
from phonecv.opening import task_of
from phonecv.preprocessing import Preprocessing
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.weights.reader import read_file

WHAT = (
    "give --features FILE: a checkpoint of ours that tells the same classes apart, or weights of Inception v3:"
    " torch-fidelity's weights-inception-2015-12-05-6726825d.pth, which published distances are by, or torchvision's"
    " inception_v3_google-0cc3c7bd.pth"
)

#: Classes of the Inception v3 of 2015; torchvision's has 1000.
_CLASSES_2015 = 1008

#: Side and normalisation that torchvision's Inception v3 was trained with.
_INCEPTION = Preprocessing(299, 1.0, "bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass(frozen=True, slots=True)
class Features:
    """What pictures are compared by.

    Attributes:
        run: uint8 pictures ``B 3 H W`` -> their features ``B D``, and logits ``B C`` where `classes` are known.
        name: for people.
        classes: names of the classes that the logits are of, in order; None where it tells none.
    """

    run: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    name: str
    classes: tuple[str, ...] | None = None


def open_features(path: Path | str | None, device: str | torch.device | None = None) -> Features:
    """A classifier of ours (a catalog name or a file), or Inception v3: that of 2015, or torchvision's.

    Raises:
        UserError: nothing is named, none of these, or a program (TorchScript).
    """
    if path is None:
        raise UserError(f"samples are compared with pictures by the features of a network; {WHAT}")
    place = pick_device(device)
    if Path(path).is_file() and Path(path).suffix in (".pth", ".pt"):
        try:
            weights = read_file(Path(path)).content
        except UserError as error:
            raise UserError(f"{error}; {WHAT}") from error
        if isinstance(weights, dict) and "Mixed_7c.branch_pool.conv.weight" in weights:
            return _inception(Path(path), weights, place)
    try:
        if (task := task_of(path)) != DEFAULT_TASK:
            raise UserError(f"{path} is {TASKS[task].noun}")
        network = load_network(path).to(place).eval()
    except UserError as error:
        raise UserError(f"{error}; {WHAT}") from error
    spec = network.preprocessing

    @torch.inference_mode()
    def see(pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        found = network.forward_head(network.forward_features(_prepared(pictures.to(place), spec)), pre_logits=True)
        head = network.get_classifier()
        return found.float().cpu(), None if head is None else head(found).float().cpu()

    names = display_names(network.class_names, network.num_classes) if network.num_classes else None
    return Features(see, f"{network.name or Path(path).name} ({network.num_features} features)", names)


class FrechetDistance:
    """Counts features of pictures and of samples, and gives their distance; sums are kept in double precision."""

    def __init__(self, features: int) -> None:
        if importlib.util.find_spec("torchmetrics") is None:
            raise UserError("the Frechet distance needs torchmetrics; install it with: pip install 'phonecv[generate]'")
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.metric = FrechetInceptionDistance(feature=_Given(features))
        self.metric.set_dtype(torch.float64)

    def update(self, features: Tensor, *, real: bool) -> None:
        """Take features ``B D`` of pictures, or of samples."""
        self.metric.update(features, real=real)

    def distance(self) -> float:
        """The distance; NaN with fewer than two of either."""
        metric: Any = self.metric
        if min(int(metric.real_features_num_samples), int(metric.fake_features_num_samples)) < 2:
            return float("nan")
        return float(metric.compute())


class _Given(nn.Module):
    """Features that are there already, as torchmetrics takes a network."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _prepared(pictures: Tensor, spec: Preprocessing) -> Tensor:
    """uint8 pictures ``B 3 H W`` as a classifier takes them: the whole picture at its size."""
    values, size = pictures.float() / 255, (spec.size, spec.size)
    if values.shape[-2:] != size:
        values = F.interpolate(values, size, mode=spec.interpolation, antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(triple, device=values.device)[:, None, None] for triple in (spec.mean, spec.std))
    return (values - mean) / std


def _inception(path: Path, weights: Mapping[str, Any], place: torch.device) -> Features:
    """Inception v3 by its weights: the 2048 features before the classifier."""
    state = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    of_2015 = len(state.get("fc.bias", ())) == _CLASSES_2015
    network = _inception_2015(path, state) if of_2015 else _inception_of_torchvision(path, state)
    network.to(place).eval()

    @torch.inference_mode()
    def run(pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        if of_2015:  # bytes of any size: it resizes as TensorFlow did
            (found,) = network(pictures.to(place))
        else:
            found = network(_prepared(pictures.to(place), _INCEPTION))
        return found.float().cpu(), None

    return Features(run, f"Inception v3 of {'2015' if of_2015 else 'torchvision'} (2048 features)")


def _inception_2015(path: Path, state: Mapping[str, Tensor]) -> nn.Module:
    """The one that published distances are by, ported from TensorFlow by torch-fidelity."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise UserError(f"{path} needs torch-fidelity; install it with: pip install 'phonecv[generate]'")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # It reads a pickle, which may be a program: what it gets is written anew, from tensors that were read safely.
    written = io.BytesIO()
    torch.save(dict(state), written)
    written.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], written)
    except RuntimeError as error:
        raise UserError(
            f"{path} is not the Inception v3 of 2015: {str(error).strip().splitlines()[-1].strip()}"
        ) from error


def _inception_of_torchvision(path: Path, state: Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    unused = ("AuxLogits", "fc.")
    for name, value in network.state_dict().items():
        if not name.startswith(unused) and getattr(state.get(name), "shape", None) != value.shape:
            raise UserError(f"{path} is not torchvision's Inception v3: it lacks {name} or has it in another shape")
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith(unused)}, strict=False)
    network.fc = nn.Identity()  # type: ignore[assignment]
    return network
