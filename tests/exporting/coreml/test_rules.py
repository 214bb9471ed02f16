"""Every rule of the Core ML interpreter against PyTorch, through programs that coremltools itself builds and saves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from exporting.coreml.cases import CASES, INPUTS
from phonecv.exporting import EXPORTERS
from phonecv.exporting.coreml.interpreter import RULES, Interpreter
from phonecv.exporting.coreml.package import open_package
from phonecv.exporting.coreml.program import Program, read_program
from phonecv.exporting.coreml.toolkit import toolkit
from phonecv.exporting.perform import captured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(EXPORTERS["coreml"].missing()), reason="coremltools is not installed"),
]

#: Made ready before anything runs, or left out by coremltools: tested on packages made by hand.
ELSEWHERE = {"fill", "range_1d"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, dict[str, Tensor]]:
    """One program of all cases, as coremltools saves it, and what the interpreter makes of it."""
    path = tmp_path_factory.mktemp("rules") / "rules.mlpackage"
    with captured():
        coremltools = toolkit()
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.mil import types

        specs = [mb.TensorSpec(shape=array.shape) for array in INPUTS.values()]

        @mb.program(input_specs=specs, opset_version=coremltools.target.iOS16)
        def program(x: Any, p: Any, y: Any, whole: Any, whole2: Any, wide: Any, flat: Any) -> Any:
            given = dict(zip(INPUTS, (x, p, y, whole, whole2, wide, flat), strict=True))
            results = []
            for number, case in enumerate(CASES.values()):
                result = case.built(mb, given)
                result = mb.cast(x=result, dtype="fp32") if result.dtype == types.bool else result
                results.append(mb.identity(x=result, name=f"case{number}"))
            return tuple(results)

        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT32,
            pass_pipeline=coremltools.PassPipeline.EMPTY,  # the operators as they were asked for
            skip_model_load=True,
        )
        model.save(str(path))
    read = read_program(open_package(path))
    results = Interpreter(read, "rules")({name: torch.from_numpy(array) for name, array in INPUTS.items()})
    return read, dict(zip(read.outputs, results, strict=True))


def test_every_rule_has_a_case(built: tuple[Program, dict[str, Tensor]]) -> None:
    kinds = {item.kind for item in built[0].operations}
    assert {kind for kind in RULES if not kind.startswith("constexpr_")} - kinds <= ELSEWHERE


@pytest.mark.parametrize("name", CASES)
def test_rule_agrees_with_pytorch(built: tuple[Program, dict[str, Tensor]], name: str) -> None:
    wanted = CASES[name].wanted({key: torch.from_numpy(array) for key, array in INPUTS.items()})
    got = built[1][f"case{list(CASES).index(name)}"]
    assert got.shape == wanted.shape
    if got.dtype == torch.float32:
        torch.testing.assert_close(got, wanted.float(), rtol=1e-5, atol=1e-5)
    else:
        assert got.dtype == torch.int32
        assert torch.equal(got, wanted.to(torch.int32))
