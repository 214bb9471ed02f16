"""The ways to int8, format by format, in the order in which they are tried.

The order is that of measurements on Apple's MobileOne-S0 (docs/quantize.md): what is cheap and mostly enough comes
first, and a training of minutes last. Per-tensor weights are not among them: they ruin re-parameterised networks under
every toolkit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn

from phonecv.quantization.remedies import allowed


def _settings(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


@dataclass(frozen=True, slots=True)
class Method:
    """One way.

    Attributes:
        name: for people and result files.
        remedies: done to the network, see `phonecv.quantization.remedies`.
        settings: of the toolkit, see `phonecv.exporting.job.Job`.
        float_layers: how many of the most sensitive layers stay in floating point.
    """

    name: str
    remedies: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    float_layers: int = 0

    @property
    def fine_tunes(self) -> bool:
        """Whether it trains, which takes minutes where all else takes seconds."""
        return "qat" in self.remedies


_MINMAX, _PERCENTILE = _settings(range="minmax"), _settings(range="percentile")
#: OpenVINO's toolkit corrects biases itself, quickly or thoroughly; with ours it must not do so again.
_NNCF, _THOROUGH = _settings(range="own", bias="fast"), _settings(range="own", bias="accurate")

RANGES_MINMAX = Method("ranges: extremes", settings=_MINMAX)
RANGES_PERCENTILE = Method("ranges: percentile", settings=_PERCENTILE)
BIAS = Method("percentile, bias", ("bias",), _PERCENTILE)
EQUAL_BIAS = Method("percentile, equalize, bias", ("equalize", "bias"), _PERCENTILE)
RELU6_BIAS = Method("relu6, bias", ("relu6", "bias"), _MINMAX)
ALL = Method("equalize, relu6, bias", ("equalize", "relu6", "bias"), _MINMAX)
RELU6_FLOAT = Method("relu6, bias, 4 layers float", ("relu6", "bias"), _MINMAX, 4)
FLOAT = Method("percentile, bias, 4 layers float", ("bias",), _PERCENTILE, 4)

#: The last resort, which starts from what bias correction reached; the first of these that a network allows.
RELU6_TUNED = Method("relu6, bias, fine-tuning", ("relu6", "bias", "qat"), _MINMAX)
TUNED = Method("percentile, bias, fine-tuning", ("bias", "qat"), _PERCENTILE)

_USUAL = (RANGES_PERCENTILE, RELU6_BIAS, BIAS, EQUAL_BIAS, ALL, RELU6_FLOAT, FLOAT, RELU6_TUNED, TUNED)

METHODS: dict[str, tuple[Method, ...]] = {
    "onnx": _USUAL,
    "openvino": (
        Method("NNCF, fast bias correction", settings=_NNCF),
        Method("NNCF, accurate bias correction", settings=_THOROUGH),
        Method("relu6, NNCF accurate", ("relu6",), _THOROUGH),
        Method("equalize, NNCF accurate", ("equalize",), _THOROUGH),
        *(
            Method(method.name, method.remedies, _settings(**method.settings, bias="none"), method.float_layers)
            for method in (RELU6_BIAS, BIAS, ALL, RELU6_FLOAT, FLOAT, RELU6_TUNED, TUNED)
        ),
    ),
    "ort": _USUAL,
    "executorch": _USUAL,
    "litert": _USUAL,
    "ncnn": _USUAL,
}

PLAIN = Method("plain")
#: For weights alone there are no ranges to find.
WEIGHTS = (PLAIN, Method("bias", ("bias",)), Method("equalize, bias", ("equalize", "bias")))


def methods_for(format: str, precision: str, network: nn.Module, *, fine_tune: bool = True) -> list[Method]:
    """What to try for a fused network, in order, fine-tuning as the last resort; without what it does not allow."""
    if precision == "int8-weights":
        tried = WEIGHTS
    elif precision == "int8":
        tried = METHODS.get(format, _USUAL)
    else:
        tried = (PLAIN,)
    found = [method for method in tried if allowed(network, method.remedies)]
    tuned = [method for method in found if method.fine_tunes]
    # One training is enough: the other would start from less.
    return [method for method in found if not method.fine_tunes or (fine_tune and method is tuned[0])]
