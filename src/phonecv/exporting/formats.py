"""The formats that the package writes: one table, which the command line, the documentation and the tests read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from phonecv.errors import UserError, did_you_mean

#: What a file needs that is laid out as MediaPipe's tasks read it (`phonecv.exporting.room`, `needs`).
MEDIAPIPE = "the layout of MediaPipe"
#: What one format alone can hold -> that format, and why.
ONLY: Mapping[str, tuple[str, str]] = MappingProxyType({MEDIAPIPE: ("litert", "MediaPipe reads .tflite files alone")})

#: Arithmetic of a file. "int8-weights" stores weights in 8 bits and computes in floating point.
PRECISIONS = ("float32", "fp16", "int8", "int8-weights")


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format the package can write.

    Attributes:
        format: its name in `export` and on the command line.
        title: its name in tables.
        suffix: of the main file, which is also how `open_session`, `evaluate` and `predict` recognise it.
        extra: what to install, ``pip install "phonecv[extra]"``.
        packages: import names that the extra brings.
        function: import path "module:function" of the writer, ``(Job, folder) -> Written``.
        session: import path of the function that opens such a file, ``(path, threads=, precision=) -> Session``.
        direct: import path of the function that runs a network without a file, ``(Job, threads=, precision=) ->
            Session``; empty where the runtime takes files alone.
        within: import path of the function that reads the record inside a file, ``(path) -> record``, and runs nothing
            of it; empty where files of the format hold none.
        graph: import path of the function that reads a file's operators for the rules of `phonecv.exporting.where`;
            empty where there are none.
        parts: suffixes of the other files that belong to the main one, which stand in its place.
        dynamic_batch: one file serves every batch size.
        dynamic_size: one file serves every height and width.
        precisions: of `PRECISIONS`, those that can be written.
        opsets: operator sets of ONNX that can be asked for.
        refused: family ("emo", "emov2", "mobileone"), architecture, or what a file needs beyond a backbone's operators
            ("suppression", "windows over frames", see `phonecv.exporting.room`; "other inputs" than one batch of
            pictures) -> why it cannot be written.
        isolated: written and run in a process of its own, because the toolkit is noisy or can crash.
        checked_by: what runs the file here, for people.
        repeats: another format that it is made from and run like; comparisons of formats leave it out.
    """

    format: str
    title: str
    suffix: str
    extra: str
    packages: tuple[str, ...]
    function: str
    session: str
    direct: str = ""
    within: str = ""
    graph: str = ""
    parts: tuple[str, ...] = ()
    dynamic_batch: bool = False
    dynamic_size: bool = False
    precisions: tuple[str, ...] = ("float32",)
    opsets: tuple[int, ...] = ()
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    isolated: bool = True
    checked_by: str = ""
    repeats: str = ""

    def missing(self) -> list[str]:
        """Packages of the extra that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    def files_of(self, main: Path) -> list[Path]:
        """The main file and those that belong to it."""
        return [main, *(main.with_suffix(suffix) for suffix in self.parts)]

    def require(self) -> None:
        """Check that the extra is installed; the message holds the line that installs it."""
        missing = self.missing()
        if missing:
            raise UserError(
                f"{self.title} needs {', '.join(missing)}, not installed here; "
                f'install with: pip install "phonecv[{self.extra}]"'
            )

    def check_precision(self, precision: str) -> None:
        """Check that files of this format are written so."""
        if precision not in PRECISIONS:
            raise UserError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        if precision not in self.precisions:
            able = ", ".join(name for name, other in EXPORTERS.items() if precision in other.precisions)
            raise UserError(
                f"{self.title} files are written as {', '.join(self.precisions)}, not as {precision} (formats with"
                f" {precision}: {able})"
            )

    def check_opset(self, opset: int | None) -> None:
        """Check that files of this format can be asked for in an operator set."""
        if opset is None or opset in self.opsets:
            return
        if not self.opsets:
            able = ", ".join(name for name, other in EXPORTERS.items() if other.opsets)
            raise UserError(f"{self.title} files have no ONNX opset; leave it out (--opset), or write {able}")
        raise UserError(
            f"opset {opset} cannot be written; {self.title} files have {self.opsets[0]} to {self.opsets[-1]} (--opset)"
        )


def _no_mask_rcnn(why: str) -> Mapping[str, str]:
    """Why a format cannot hold Mask R-CNN, whose second stage reads the features of many boxes with RoIAlign."""
    return MappingProxyType({"mask_rcnn_fpn": f"{why}; write ONNX, OpenVINO or torch.export"})


_ALL = (
    Exporter(
        format="onnx",
        title="ONNX",
        suffix=".onnx",
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        function="phonecv.exporting.onnx.exporter:write",
        session="phonecv.exporting.onnx.opening:open_session",
        graph="phonecv.exporting.onnx.graph:read_operators",
        within="phonecv.exporting.onnx.opening:record_within",
        dynamic_batch=True,
        dynamic_size=True,
        precisions=("float32", "fp16", "int8", "int8-weights"),
        opsets=tuple(range(13, 21)),
        isolated=False,
        checked_by="ONNX Runtime",
    ),
    Exporter(
        format="ort",
        title="ONNX Runtime format",
        suffix=".ort",
        parts=(".required_operators_and_types.config",),
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        function="phonecv.exporting.ort.exporter:write",
        session="phonecv.exporting.ort.exporter:open_session",
        within="phonecv.exporting.ort.exporter:record_within",
        dynamic_batch=True,
        dynamic_size=True,
        precisions=("float32", "fp16", "int8", "int8-weights"),
        checked_by="ONNX Runtime",
        repeats="onnx",
    ),
    Exporter(
        format="openvino",
        title="OpenVINO",
        suffix=".xml",
        parts=(".bin",),
        extra="openvino",
        packages=("openvino", "nncf", "onnx", "onnxscript"),
        function="phonecv.exporting.openvino.exporter:write",
        session="phonecv.exporting.openvino.exporter:open_session",
        direct="phonecv.exporting.openvino.exporter:session_of",
        within="phonecv.exporting.openvino.exporter:record_within",
        dynamic_batch=True,
        dynamic_size=True,
        precisions=("float32", "fp16", "int8", "int8-weights"),
        refused=MappingProxyType(
            {
                "windows over frames": "OpenVINO 2026.2 fails on them where the batch is free"
                " (ShuffleChannelsFusion); write ONNX, LiteRT, Core ML or torch.export"
            }
        ),
        checked_by="OpenVINO",
    ),
    Exporter(
        format="executorch",
        title="ExecuTorch (XNNPACK)",
        suffix=".pte",
        extra="executorch",
        packages=("executorch", "torchao"),
        function="phonecv.exporting.executorch.exporter:write",
        session="phonecv.exporting.executorch.exporter:open_session",
        graph="phonecv.exporting.executorch.graph:read_operators",
        precisions=("float32", "int8"),
        refused=_no_mask_rcnn("ExecuTorch has no kernel for RoIAlign"),
        checked_by="ExecuTorch",
    ),
    Exporter(
        format="litert",
        title="LiteRT",
        suffix=".tflite",
        extra="litert",
        packages=("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
        function="phonecv.exporting.litert.exporter:write",
        session="phonecv.exporting.litert.opening:open_session",
        graph="phonecv.exporting.litert.graph:read_operators",
        within="phonecv.exporting.litert.record:record_within",
        precisions=("float32", "fp16", "int8", "int8-weights"),
        refused=_no_mask_rcnn("LiteRT has no operator for RoIAlign"),
        checked_by="LiteRT",
    ),
    Exporter(
        format="coreml",
        title="Core ML",
        suffix=".mlpackage",
        extra="coreml",
        packages=("coremltools",),
        function="phonecv.exporting.coreml.exporter:write",
        session="phonecv.exporting.coreml.exporter:open_session",
        graph="phonecv.exporting.coreml.graph:read_operators",
        within="phonecv.exporting.coreml.exporter:record_within",
        precisions=("float32", "fp16", "int8-weights"),
        refused=_no_mask_rcnn("coremltools 9.0 converts no RoIAlign"),
        checked_by="interpreter of Core ML programs, not by Core ML",
    ),
    Exporter(
        format="ncnn",
        title="ncnn",
        suffix=".param",
        parts=(".ncnn.bin",),
        extra="ncnn",
        packages=("ncnn", "pnnx"),
        function="phonecv.exporting.ncnn.exporter:write",
        session="phonecv.exporting.ncnn.opening:open_session",
        graph="phonecv.exporting.ncnn.graph:read_operators",
        precisions=("float32", "fp16", "int8"),
        refused=MappingProxyType(
            {
                **_no_mask_rcnn("ncnn's RoIAlign reads one box, not a list"),
                "other inputs": "files for ncnn take one picture, this network takes something else; write another"
                " format, such as ONNX or LiteRT",
                "suppression": "ncnn has no operators that sort, gather and compare, which suppression needs; decode"
                " 'boxes' (--decode boxes) and suppress in the app, or write another format",
            }
        ),
        checked_by="ncnn",
    ),
    Exporter(
        format="mnn",
        title="MNN",
        suffix=".mnn",
        extra="mnn",
        packages=("MNN", "onnx", "onnxscript"),
        function="phonecv.exporting.mnn.exporter:write",
        session="phonecv.exporting.mnn.exporter:open_session",
        dynamic_batch=True,
        precisions=("float32", "fp16", "int8-weights"),
        refused=MappingProxyType(
            {
                **_no_mask_rcnn("MNN runs RoIAlign, but finds other objects than PyTorch"),
                "other inputs": "files for MNN take one batch of pictures, this network takes something else; write"
                " another format, such as ONNX or LiteRT",
            }
        ),
        checked_by="MNN",
    ),
    Exporter(
        format="pt2",
        title="torch.export",
        suffix=".pt2",
        extra="",
        packages=("torch",),
        function="phonecv.exporting.pt2.exporter:write",
        session="phonecv.exporting.pt2.exporter:open_session",
        within="phonecv.exporting.pt2.check:checked_record",
        dynamic_batch=True,
        dynamic_size=True,
        isolated=False,
        checked_by="PyTorch",
    ),
)

EXPORTERS: dict[str, Exporter] = {record.format: record for record in _ALL}


def get_exporter(format: str) -> Exporter:
    """The record of a format.

    Raises:
        UserError: there is no such format.
    """
    if format not in EXPORTERS:
        known = ", ".join(EXPORTERS)
        raise UserError(f"unknown export format {format!r}{did_you_mean(format, EXPORTERS)} (known: {known})")
    return EXPORTERS[format]


def exporter_for(path: Path | str) -> Exporter | None:
    """The format whose suffix a path has, or None."""
    suffix = Path(path).suffix.lower()
    return next((record for record in EXPORTERS.values() if record.suffix == suffix), None)
