"""Static int8 for ExecuTorch: PyTorch's graph with quantizers where XNNPACK has 8-bit kernels."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from torch import Tensor, fx
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationConfig, QuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from phonecv.exporting.job import Job
from phonecv.exporting.ranges import Tails, calibration_pictures, int8_settings

_RELU6 = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)
_CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)

#: Smallest scale, as in XNNPACK's own settings: a layer that is always zero must not divide by zero.
_EPS = 2**-12


class TailObserver(MinMaxObserver):
    """Watches one activation over so many pictures, one at a time.

    Its range is the percentile asked for (see `Tails`), exactly, or minimum and maximum.
    """

    def __init__(self, pictures: int, percentile: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pictures, self.percentile = pictures, percentile
        self.tails: Tails | None = None

    def forward(self, x_orig: Tensor) -> Tensor:
        """Take the values in and give them on."""
        if self.tails is None:
            self.tails = Tails(x_orig.numel() * self.pictures, self.percentile)
        self.tails.add(x_orig.detach().float().numpy())
        low, high = self.tails.range()
        self.min_val.fill_(low)
        self.max_val.fill_(high)
        return x_orig


class _Quantizer(XNNPACKQuantizer):
    """XNNPACK's quantizer, which knows that a ReLU belongs to the convolution before it, but not that a ReLU6 does.

    It rounds what goes into the ReLU6, in steps that also span what is cut away behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        # Batch norms are folded before; to look for them it would trace a dozen small networks, for seconds.
        self.SUPPORTED_PATTERNS = [pattern for pattern in self.SUPPORTED_PATTERNS if not pattern.is_qat]

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        annotated = super().annotate(model)
        for node in annotated.graph.nodes:
            if node.target not in _RELU6:
                continue
            (source,) = node.all_input_nodes
            before = source.meta.get(Q_ANNOTATION_KEY)
            if source.target in _CONVOLUTIONS and len(source.users) == 1 and before and before.output_qspec:
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=before.output_qspec, _annotated=True)
                before.output_qspec = None
        return annotated


def quantized_program(job: Job) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    """The program of one picture, with int8 weights (per channel, symmetric) and activations (per tensor, affine).

    XNNPACK computes convolutions, linear layers, sums, products and means in 8 bits; norms, softmax, SiLU and the
    attention's matrix products stay float, with quantizers in between. The job's module is one that XNNPACK takes,
    with contiguous weights.

    Returns:
        The program, ready for lowering, and what was used, as JSON values.
    """
    settings = int8_settings(job)
    pictures = calibration_pictures(job)
    example = job.row
    quantizer = _Quantizer().set_global(_config(len(pictures), settings.span))
    quantizer.set_filter_function(lambda node: not any(_inside(node, path) for path in settings.float_layers))
    with torch.no_grad():
        graph = _one_reader_each(torch.export.export(job.module, example).module())
        prepared = prepare_pt2e(graph, quantizer)
        for picture in torch.from_numpy(pictures).split(1):
            prepared(picture)
        converted = convert_pt2e(prepared)
        program = torch.export.export(converted, example)
    operators = quantized_operators(program.graph_module)
    return program, settings.used(pictures) | {"activations": "int8, affine, per tensor", "operators": operators}


def _one_reader_each(graph: fx.GraphModule) -> fx.GraphModule:
    """Let every operator read weights through a node of its own, and a bias of its own, in place.

    Of several convolutions that read one weight, as a head's on each level of RetinaNet, the quantizer sees the first
    alone. The others kept weights in floating point between activations in 8 bits, which XNNPACK refuses when it loads
    the file ("Failed to create convolution node"). A bias is brought to the steps of the map that its layer reads, once
    for each tensor: one that several layers share is wrong for all but the first.
    """
    for node in list(graph.graph.nodes):
        if node.op != "get_attr":
            continue
        value = functools.reduce(getattr, node.target.split("."), graph)
        for number, reader in enumerate(list(node.users)[1:], start=1):
            target = node.target
            if value.ndim == 1:
                target = f"{target.replace('.', '_')}_{number}"
                graph.register_buffer(target, value.detach().clone())
            with graph.graph.inserting_before(reader):
                own = graph.graph.get_attr(target)
            own.meta = dict(node.meta)
            reader.replace_input_with(node, own)
    graph.recompile()
    return graph


def _config(pictures: int, percentile: float) -> QuantizationConfig:
    standard = get_symmetric_quantization_config(is_per_channel=True)
    activation = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=TailObserver.with_args(pictures=pictures, percentile=percentile, eps=_EPS),
    )
    return QuantizationConfig(activation, activation, standard.weight, standard.bias)


def _inside(node: fx.Node, path: str) -> bool:
    """Whether an operator belongs to a module or to one inside it."""
    stack = node.meta.get("nn_module_stack", {})
    where = [name.removeprefix("L['self'].") for name, _ in stack.values()]
    return any(name == path or name.startswith(f"{path}.") for name in where)


def quantized_operators(graph: fx.GraphModule) -> dict[str, int]:
    """How many operators of each kind compute in 8 bits: all that they read is quantized, but for biases."""
    counts: Counter[str] = Counter()
    for node in graph.graph.nodes:
        if node.op != "call_function" or "quantize" in str(node.target):
            continue
        floats = [source for source in node.all_input_nodes if "dequantize" not in str(source.target)]
        if len(floats) < len(node.all_input_nodes) and all(source.meta["val"].ndim <= 1 for source in floats):
            counts[node.target.__name__.partition(".")[0]] += 1
    return dict(sorted(counts.items()))
