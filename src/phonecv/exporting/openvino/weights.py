"""8-bit weights in an OpenVINO model that computes in floating point."""

from __future__ import annotations

from typing import Any

import nncf
import openvino

from phonecv.exporting.job import Job


def quantize(job: Job, model: openvino.Model) -> tuple[openvino.Model, dict[str, Any]]:
    """The model with int8 weights, symmetric, one scale per output channel.

    Args:
        job: needs no calibration; settings are not used.
        model: float; it may be changed.

    Returns:
        The model to save, and what was done, as JSON values.
    """
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    tensors = sum(
        operator.get_type_name() == "Constant" and operator.get_element_type() == openvino.Type.i8
        for operator in compressed.get_ops()
    )
    return compressed, {"weights": "int8, symmetric, per output channel", "activations": "float32", "tensors": tensors}
