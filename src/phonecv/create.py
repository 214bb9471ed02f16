"""Networks from whatever names one: `create_model` by catalog name, `load_network` also from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models import VisionModel, build_model
from phonecv.models.base import Form, check_form
from phonecv.models.catalog import MODELS, get_record
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel, Network
from phonecv.models.names import check_named
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.weights import Loading, load_checkpoint, load_public_or_file, read_checkpoint
from phonecv.weights.fill import NO_WAY_BACK
from phonecv.weights.hub import local

H = TypeVar("H", bound=HeadedModel)


@overload
def create_model(
    name: str,
    *,
    out_indices: Sequence[int],
    weights: str | Path | None = ...,
    num_classes: int = ...,
    form: Form | None = ...,
    **overrides: Any,
) -> VisionModel[list[Tensor]]: ...
@overload
def create_model(
    name: str,
    *,
    weights: str | Path | None = ...,
    num_classes: int = ...,
    form: Form | None = ...,
    **overrides: Any,
) -> VisionModel[Tensor]: ...
def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int = 1000,
    form: Form | None = None,
    **overrides: Any,
) -> VisionModel[Any]:
    """Build a network by its catalog name.

    Args:
        name: see `phonecv.list_models`.
        weights: None for fresh values; "official" or another tag of the catalog for public weights, downloaded
            to the cache; or the path of a checkpoint of any layout that `phonecv.load_checkpoint` reads. With
            another class count than the file's, the classifier stays fresh.
        num_classes: classes of the classifier; 0 for none.
        form: "training", or "deploy" for the fused network; None for the form of the weights, training without any.
        **overrides: constructor arguments that replace the catalog's, such as ``window=10``, ``drop_path=0.1``,
            ``out_indices=(1, 2, 3, 4)`` (dense backbone), ``frozen_stages=1``, ``norm_eval=True``.

    Returns:
        The network in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown name, override or weights; a value out of range.
    """
    check_form(form)
    if "pretrained" in overrides:
        tags = [record.tag for record in get_record(name).weights]
        public = f'weights="official" gives public ones (or {", ".join(tags)})' if tags else "public ones do not exist"
        raise UserError(f"{name} takes weights, not pretrained: {public}, weights=PATH those of a checkpoint")
    model = build_model(name, num_classes=num_classes, **overrides)
    if weights is not None:
        model = load_public_or_file(model, weights, form=form)
    if form == "deploy" and model.form != "deploy":
        # A fresh network has nothing to get wrong in train mode; its statistics are those it will be fused with.
        model = fuse(model.eval()).train()
    return model


def with_own_weights(network: H, file: Path | str, *, form: Form | None, ema: bool | None = None) -> H:
    """A fresh network in training form with the weights of a file of its own kind, in the form of the file, or `form`.

    For networks whose heads and backbone belong together; with another class count than the file's, what depends on it
    stays fresh.

    Raises:
        UserError: the file cannot be read or does not fit, or is fused and the training form was asked for.
    """
    if read_checkpoint(file).form == "deploy":
        if form == "training":
            raise UserError(f"{file} {NO_WAY_BACK}")
        network = fuse(network.eval()).train()
    load_checkpoint(network, file, ema=ema, head="auto")
    return in_form(network, form)


def in_form(network: H, form: Form | None) -> H:
    """The network, fused where that is asked for and it is not yet; in training mode, as PyTorch makes modules.

    A frozen one becomes one that can change.
    """
    if network.frozen:
        network = fuse(network)
    return fuse(network.eval()).train() if form == "deploy" and network.form != "deploy" else network


@overload
def load_network(model: VisionModel | Path | str, *, loading: Loading = ...) -> VisionModel: ...
@overload
def load_network(model: nn.Module | Path | str, *, task: str | None, loading: Loading = ...) -> Any: ...
def load_network(
    model: nn.Module | Path | str,
    *,
    task: str | None = DEFAULT_TASK,
    loading: Loading = Loading(),  # noqa: B008  (frozen)
) -> Any:
    """A network from itself, a checkpoint path, or a catalog name with public weights ("name" or "name:tag").

    Raises:
        UserError: there is no such file or name, or it is for another task than `task`.
    """
    if task not in (None, DEFAULT_TASK) and str(model).partition(":")[0] in MODELS and not Path(str(model)).exists():
        found, wanted = TASKS[DEFAULT_TASK].noun, TASKS[task]
        raise UserError(f"{str(model)!r} is {found}, not {wanted.noun}; give the path of a {wanted.title}'s checkpoint")
    network = model if isinstance(model, nn.Module) else _load_named(model, loading)
    if task is not None and not (isinstance(network, VisionModel | HeadedModel) and network.task == task):
        name = getattr(network, "name", "") or "the network"
        known = isinstance(network, VisionModel | HeadedModel)
        kind = TASKS[network.task].noun if known else f"a {type(network).__name__}"
        wanted = f"; this needs {TASKS[task].noun} of ours" if task == DEFAULT_TASK else f", not {TASKS[task].noun}"
        raise UserError(f"{name} is {kind}{wanted}")
    return network


def _load_named(model: Path | str, loading: Loading) -> Network:
    check_named(model)
    model = local(model)
    path = Path(model)
    if path.exists():
        return loading.read(path)
    name, _, tag = str(model).partition(":")
    weights = MODELS[name].weights
    if not weights:
        raise UserError(f"{name} has no public weights; give the path of a checkpoint of it")
    return create_model(name, weights=tag or weights[0].tag)
