"""Static int8 for OpenVINO by NNCF, its own quantizer, which corrects biases itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import nncf
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
from nncf.quantization.range_estimator import (
    AggregatorType,
    RangeEstimatorParameters,
    RangeEstimatorParametersSet,
    StatisticsCollectorParameters,
    StatisticsType,
)
from openvino._offline_transformations import apply_moc_transformations

from phonecv.errors import UserError
from phonecv.exporting.job import Job
from phonecv.exporting.ranges import calibration_pictures, int8_settings

#: NNCF's bias correction: from the means of each layer's input, by running the network again and again, or not at all.
CORRECTIONS = ("fast", "accurate", "none")
PRESETS = ("mixed", "performance")


def quantize(job: Job, model: openvino.Model) -> tuple[openvino.Model, dict[str, Any]]:
    """The model with int8 weights (symmetric, per output channel) and 8-bit activations (per tensor).

    Args:
        job: with pictures to calibrate on. Of `Job.settings` all are supported, and beside them range "own" (NNCF's
            choice, the default), ``bias`` (of `CORRECTIONS`, "fast" by default) and ``preset`` ("mixed", with affine
            activations, by default; "performance" makes them symmetric).
        model: float, made from ``job.module`` by way of ONNX; it may be changed.

    Returns:
        The model to save, and what was used, as JSON values.

    Raises:
        UserError: bad settings or calibration pictures.
    """
    own = dict(job.settings)
    correction, preset = own.pop("bias", "fast"), own.pop("preset", "mixed")
    if correction not in CORRECTIONS:
        raise UserError(f"bias correction {correction!r} is not one of {', '.join(CORRECTIONS)}")
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
    chosen_range = own.pop("range", "own")
    if chosen_range != "own":
        own["range"] = chosen_range
    settings = int8_settings(replace(job, settings=own))
    pictures = calibration_pictures(job)
    # A graph just read from ONNX has its biases behind reshapes: NNCF finds none to correct.
    apply_moc_transformations(model, cf=True)
    stay = operators_of(model, settings.float_layers)
    advanced = AdvancedQuantizationParameters(disable_bias_correction=correction == "none")
    if chosen_range == "minmax":
        advanced.activations_range_estimator_params = RangeEstimatorParametersSet.MINMAX
    elif chosen_range == "percentile":
        advanced.activations_range_estimator_params = _quantiles(settings.percentile)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(pictures[:, None])),  # one picture at a time
        preset=nncf.QuantizationPreset.MIXED if preset == "mixed" else nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(pictures),
        fast_bias_correction=correction != "accurate",
        ignored_scope=nncf.IgnoredScope(names=stay) if stay else None,
        advanced_parameters=advanced,
    )
    return quantized, settings.used(pictures) | {
        "range": chosen_range,
        "bias": correction,
        "preset": preset,
        "activations": f"8 bits, {'affine' if preset == 'mixed' else 'symmetric'}, per tensor",
        "quantizers": sum(operator.get_type_name() == "FakeQuantize" for operator in quantized.get_ops()),
    }


def _quantiles(percentile: float) -> RangeEstimatorParameters:
    """The mean over the pictures of the quantiles of each, which is all that NNCF has of the kind."""
    one_end = StatisticsCollectorParameters(
        statistics_type=StatisticsType.QUANTILE,
        aggregator_type=AggregatorType.MEAN,
        quantile_outlier_prob=(100 - percentile) / 200,
    )
    return RangeEstimatorParameters(min=one_end, max=one_end)


def operators_of(model: openvino.Model, paths: Sequence[str]) -> list[str]:
    """Names of the operators whose weights belong to modules at these paths."""
    found = []
    for operator in model.get_ops():
        if operator.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        weights = operator.input_value(1).get_node()
        while weights.get_type_name() != "Constant" and weights.get_input_size():
            weights = weights.input_value(0).get_node()  # reshaped for groups, turned, or converted from fp16
        if any(weights.get_friendly_name().startswith(f"{path}.") for path in paths):
            found.append(operator.get_friendly_name())
    return found
