"""The Frechet distance of two sets of pictures: how far the Gaussians lie apart that fit their features.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500. The
published FID compares 50,000 samples by the Inception v3 of 2015; distances by other features, or of fewer pictures,
are of the same kind but on another scale.
"""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from collections.abc import Callable
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
    "give --features FILE: a checkpoint of ours that tells the same classes apart, or Inception v3: torchvision's"
    " inception_v3_google-0cc3c7bd.pth, or with --run-features a TorchScript file such as inception-2015-12-05.pt"
)

#: Side and normalisation that torchvision's Inception v3 was trained with.
_INCEPTION = Preprocessing(299, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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


def open_features(path: Path | str | None, device: str | torch.device | None = None, *, run: bool = False) -> Features:
    """A classifier of ours (a catalog name or a file), or Inception v3 of torchvision or as TorchScript.

    TorchScript is a program: it is run as what it is, where `run` allows that.

    Raises:
        UserError: nothing is named, none of these, or a program that is not to be run.
    """
    if path is None:
        raise UserError(f"samples are compared with pictures by the features of a network; {WHAT}")
    place = pick_device(device)
    if Path(path).is_file() and _is_script(Path(path)):
        if not run:
            raise UserError(
                f"{path} is TorchScript, a program and no mere weights; if you trust where it is from, --run-features"
                f" (run_features=True) runs it. Otherwise {WHAT}"
            )
        return _scripted(Path(path), place)
    if Path(path).is_file() and Path(path).suffix in (".pth", ".pt") and _is_inception(Path(path)):
        return _inception(Path(path), place)
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


def _is_script(path: Path) -> bool:
    """Whether a file is TorchScript, told by the code in its archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _scripted(path: Path, place: torch.device) -> Features:
    """A TorchScript network of bytes, as torch-fidelity, torchmetrics and NVIDIA's metrics take it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what the file is was not the person's choice
            network = torch.jit.load(str(path), map_location=place).eval()
    except RuntimeError as error:
        raise UserError(f"{path} is no TorchScript that can be loaded ({str(error).splitlines()[0]})") from error
    arguments = [one.name for one in network.forward.schema.arguments]
    more = {"return_features": True} if "return_features" in arguments else {}

    @torch.inference_mode()
    def run(pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            found = network(pictures.to(place), **more)
        except RuntimeError as error:
            raise UserError(f"{path} does not take bytes B 3 H W: {str(error).strip().splitlines()[-1]}") from error
        if not isinstance(found, Tensor) or found.ndim != 2:
            raise UserError(f"{path} gives no features B D, but {getattr(found, 'shape', type(found).__name__)}")
        return found.float().cpu(), None

    return Features(run, path.name)


def _is_inception(path: Path) -> bool:
    return "Mixed_7c.branch_pool.conv.weight" in read_file(path).content


def _inception(path: Path, place: torch.device) -> Features:
    """torchvision's Inception v3, its 2048 features before the classifier."""
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    state = {name: value for name, value in read_file(path).content.items() if isinstance(value, Tensor)}
    lacking = [
        name for name, value in network.state_dict().items() if getattr(state.get(name), "shape", None) != value.shape
    ]
    lacking = [name for name in lacking if not name.startswith(("AuxLogits", "fc."))]
    if lacking:
        raise UserError(f"{path} is not torchvision's Inception v3: it lacks {lacking[0]} or has it in another shape")
    kept = {name: value for name, value in state.items() if not name.startswith(("AuxLogits", "fc."))}
    network.load_state_dict(kept, strict=False)
    network.fc = nn.Identity()  # type: ignore[assignment]
    network.to(place).eval()

    @torch.inference_mode()
    def run(pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        return network(_prepared(pictures.to(place), _INCEPTION)).float().cpu(), None

    return Features(run, "Inception v3 of torchvision (2048 features)")
