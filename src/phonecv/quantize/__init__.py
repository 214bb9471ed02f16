"""8-bit files that keep a network's accuracy: remedies before, measurements after, and a search between the two.

`quantize` does it all. The remedies are functions from a network to a new one: `equalize`, `rescale_to_relu6`,
`correct_biases`; `layer_noise` says which layers lose most.
"""

from __future__ import annotations

from phonecv.quantize.bias import correct_biases
from phonecv.quantize.data import calibration
from phonecv.quantize.equalize import equalize
from phonecv.quantize.relu6 import rescale_to_relu6
from phonecv.quantize.result import QuantizeResult
from phonecv.quantize.search import quantize
from phonecv.quantize.sensitivity import layer_noise
from phonecv.quantize.simulation import input_ranges, simulate

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
