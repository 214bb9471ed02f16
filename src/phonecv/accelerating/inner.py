"""The part of a network that a runtime takes over: tensors in, tensors out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from phonecv.benchmarking.exported import job_for_timing
from phonecv.benchmarking.subject import Subject
from phonecv.exporting.deployable import Deployable
from phonecv.exporting.inputs import Input
from phonecv.exporting.job import Job
from phonecv.exporting.room import exporting_of
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import DensePreprocessing
from phonecv.task import done_by


def inner_name(kind: type[nn.Module]) -> str:
    """The method that takes and gives tensors alone: heads have one beside what they do with pictures of any size."""
    own = issubclass(kind, HeadedModel) and kind.network is not HeadedModel.network
    return "network" if own else "forward"


class Inner(nn.Module):
    """A network's `inner_name` as a module whose outputs are a flat tuple of tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.inner = inner_name(type(network))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the network takes -> all tensors that it gives."""
        return tensors_of(self.whole(*inputs))

    def whole(self, *inputs: Tensor) -> Any:
        """What the network itself gives: tensors, lists and tuples of them."""
        return getattr(self.network, self.inner)(*inputs)


def tensors_of(whole: Any) -> tuple[Tensor, ...]:
    """All tensors of what a network gives, in order."""
    return tuple(leaf for leaf in pytree.tree_leaves(whole) if isinstance(leaf, Tensor))


class Shape:
    """How what a network gives is nested, so that flat tensors become the same again."""

    def __init__(self, whole: Any) -> None:
        leaves, self._tree = pytree.tree_flatten(whole)
        self._leaves = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]

    def restored(self, flat: Sequence[Tensor]) -> Any:
        """The tensors as the network gives them."""
        tensors = iter(flat)
        leaves = [next(tensors) if leaf is None else leaf[0] for leaf in self._leaves]
        return pytree.tree_unflatten(leaves, self._tree)


def varied(network: Any) -> bool:
    """Whether pictures come to it in many sizes: their aspect is kept, and no windows of one size are cut."""
    spec = network.preprocessing
    return isinstance(spec, DensePreprocessing) and spec.longest is not None and not getattr(network, "windows", None)


def job_of(inner: Inner, inputs: tuple[Input, ...], *, dynamic_size: bool = False) -> Job:
    """The network for these inputs, as it goes into a runtime or a file that is used here and thrown away."""
    network = cast(Any, inner.network)
    height, width = inputs[0].shape[-2:]
    name = network.name or type(network).__name__
    job = job_for_timing(Subject(name, network.form, (height, width), inputs, network=inner))
    if not dynamic_size:
        return job
    traceable, first = exporting_of(done_by(network)).traceable(copy.deepcopy(network), job.examples[0])
    examples = (first.contiguous(), *job.examples[1:])
    return replace(job, module=Deployable(Inner(traceable)).eval(), examples=examples, dynamic_size=True)
