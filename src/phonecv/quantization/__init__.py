"""8-bit files that keep a network's accuracy: remedies before, measurements after, and a search between the two.

`quantize` does it all. The remedies are functions from a network to a new one: `equalize`, `rescale_to_relu6`,
`correct_biases`; `layer_noise` says which layers lose most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.quantization.bias import correct_biases
    from phonecv.quantization.chains import equalize, rescale_to_relu6
    from phonecv.quantization.data import calibration
    from phonecv.quantization.result import QuantizeResult
    from phonecv.quantization.search import quantize
    from phonecv.quantization.sensitivity import layer_noise
    from phonecv.quantization.simulation import input_ranges, simulate

__all__ = [
    "QuantizeResult",
    "calibration",
    "correct_biases",
    "equalize",
    "input_ranges",
    "layer_noise",
    "quantize",
    "rescale_to_relu6",
    "simulate",
]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
