"""8-bit weights in a LiteRT file that computes in floating point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_quantizer import quantizer as aeq
from ai_edge_quantizer.qtyping import TFLOperationName

from phonecv.exporting.job import Job


def quantize(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with int8 weights, symmetric, one scale per output channel.

    Args:
        job: needs no calibration; settings are not used.
        source: the float file.
        path: the file to write.

    Returns:
        What was done, as JSON values.
    """
    work = aeq.Quantizer(str(source))
    work.add_weight_only_config(".*", TFLOperationName.ALL_SUPPORTED, num_bits=8)
    result = work.quantize(enable_progress_report=False)
    assert result.quantized_model is not None
    path.write_bytes(result.quantized_model)
    return {"weights": "int8, symmetric, per output channel", "activations": "float32"}
