"""The one table of what accelerators of phones leave to the processor, each rule with who says so.

A rule is a condition on one operator of a file. The rules are those of public lists, guides and sources: makers do not
publish all of theirs, drivers differ from phone to phone, and what no rule finds may still stay on the processor. So
what is found here leaves the accelerator by somebody's word; only the phone itself shows the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from phonecv.exporting.where.graph import Operator


@dataclass(frozen=True, slots=True)
class Rule:
    """Operators that an accelerator does not take.

    Attributes:
        name: short, unique for the accelerator.
        why: for people.
        source: who says so: a page, or a file of a public repository.
        holds: whether an operator is one of them.
        remedy: what a person can do; empty where that is another network.
    """

    name: str
    why: str
    source: str
    holds: Callable[[Operator], bool]
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A place beside the processor where files of a format can run.

    Attributes:
        name: key in `ACCELERATORS`.
        title: for people.
        format: key of `phonecv.exporting.formats.EXPORTERS`.
        rules: the first that holds for an operator is the reason that is given.
        note: what a person must know to use it.
    """

    name: str
    title: str
    format: str
    rules: tuple[Rule, ...]
    note: str = ""


def listed(source: str, *lines: str, name: str = "operator", why: str = "not in its list of operators") -> Rule:
    """Operators of other kinds than those of a list, which are separated by spaces."""
    known = frozenset(" ".join(lines).split())
    return Rule(name, why, source, lambda item: item.kind not in known)


def holds_64_bits(item: Operator) -> bool:
    """It computes on 64-bit integers; constants such as axes and sizes are taken over when the file is opened."""
    return any(value.type in ("int64", "uint64") for value in item.flowing)


def more_axes_than(most: int) -> Callable[[Operator], bool]:
    """A tensor has more axes."""
    return lambda item: any(value.axes > most for value in item.values)


def free_sizes(item: Operator) -> bool:
    """A length is known only when it runs."""
    return any(value.shape is not None and None in value.shape for value in item.flowing)


# LiteRT on a GPU ----------------------------------------------------------------------------------------------------

_GPU = "google-ai-edge/LiteRT, tflite/tools/versioning/gpu_compatibility.cc"
_GPU_SHAPES = "tensorflow/tensorflow, lite/delegates/gpu/common/model_builder_helper.cc (bad input dims size)"
_STATIC = "tensorflow/tensorflow, lite/core/subgraph.cc (a delegate that only supports static-sized tensors)"

#: Operators that cut or pad.
_CUTTING = ("SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD")
#: Ways to place the corners of a picture, which exclude each other.
_CORNERS = ("align_corners", "half_pixel")
#: Constants among the inputs that say how an operator works, by kind; its others may be computed.
_SETTING_INPUTS = (
    "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ALL", "REDUCE_ANY", "PAD", "PADV2",
    "MIRROR_PAD", "REVERSE_V2",
)  # fmt: skip


def _other_cast(item: Operator) -> bool:
    known = {("bool", "float16"), ("bool", "float32"), ("float16", "bool"), ("float32", "bool")}
    known |= {(one, other) for one in ("float32", "int32") for other in ("float32", "int32")}
    return item.kind == "CAST" and (item.reads[0].type, item.makes[0].type) not in known


def _other_select(item: Operator) -> bool:
    if item.kind not in ("SELECT", "SELECT_V2"):
        return False
    made = item.makes[0].shape
    return any(one.shape not in (made, (), (1,)) for one in item.reads[1:])


def _other_broadcast(item: Operator) -> bool:
    """Shapes of two inputs that do not fit into each other."""
    if item.kind not in ("ADD", "MUL") or len(item.reads) != 2:
        return False
    one, other = (value.shape or () for value in item.reads)
    pairs = zip(reversed(one), reversed(other), strict=False)
    return any(1 not in (a, b) and a != b for a, b in pairs)


_LITERT_GPU = Accelerator(
    name="gpu",
    title="GPU delegate of LiteRT",
    format="litert",
    rules=(
        listed(
            _GPU,
            "ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL BITCAST CAST CEIL CONCATENATION CONV_2D COS CUMSUM",
            "DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP",
            "EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH",
            "LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LSTM MAXIMUM MAX_POOL_2D",
            "MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_ALL",
            "REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR",
            "RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RIGHT_SHIFT ROUND RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX",
            "SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CBRT",
            "STABLEHLO_CLAMP STABLEHLO_REMAINDER STABLEHLO_SHIFT_LEFT STRIDED_SLICE SUB SUM TANH TILE TOPK_V2",
            "TRANSPOSE TRANSPOSE_CONV",
        ),
        Rule("dynamic", "a size that is known only when it runs", _STATIC, free_sizes, "export with a fixed size"),
        Rule("int64", "64-bit integers", _GPU, holds_64_bits),
        Rule("cast", "a conversion between other types than floats, int32 and bool", _GPU, _other_cast),
        Rule("axes", "more than 4 axes", _GPU_SHAPES, more_axes_than(4), "--precision fp16 cuts windows with four"),
        Rule("scalar", "a computed value without axes", _GPU_SHAPES,
             lambda item: any(value.shape == () for value in item.flowing)),
        Rule("slice", "cuts or pads a tensor of other than 3 or 4 axes", _GPU,
             lambda item: item.kind in _CUTTING and item.reads[0].axes not in (3, 4)),
        Rule("gather", "indices that are not a list of int32", _GPU,
             lambda item: item.kind == "GATHER" and (item.reads[1].axes, item.reads[1].type) != (1, "int32")),
        Rule("computed-setting", "axes or padding that are computed", _GPU,
             lambda item: item.kind in _SETTING_INPUTS and len(item.reads) > 1 and not item.reads[1].constant),
        Rule("resize", "bilinear with aligned corners and half pixels at once", _GPU,
             lambda item: item.kind == "RESIZE_BILINEAR" and all(item.settings[mode] for mode in _CORNERS)),
        Rule("select", "a choice between tensors of another shape", _GPU, _other_select),
        Rule("broadcast", "shapes that do not fit into each other", _GPU, _other_broadcast),
    ),
    note="compile with the GPU accelerator, and look at the log for what it left out",
)  # fmt: skip

# LiteRT on Qualcomm's NPU -------------------------------------------------------------------------------------------

_QNN = "google-ai-edge/LiteRT, litert/vendors/qualcomm/compiler/Qualcomm_QNN_Compiler.md"
_HTP = "Qualcomm, HTP Backend Op Definition Supplement, docs.qualcomm.com/doc/80-63442-10"

_LITERT_NPU = Accelerator(
    name="npu",
    title="Qualcomm's NPU by LiteRT",
    format="litert",
    rules=(
        listed(
            _QNN,
            "ABS ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CAST CEIL CONCATENATION CONV_2D",
            "CONV_3D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU",
            "EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FULLY_CONNECTED GATHER GATHER_ND GELU GREATER",
            "GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND",
            "LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK",
            "PAD PADV2 POW PRELU QUANTIZE REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1",
            "RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT SELECT_V2",
            "SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_COMPOSITE",
            "STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK",
        ),
        Rule("dynamic", "a size that is known only when it runs", _STATIC, free_sizes, "export with a fixed size"),
        Rule("int64", "64-bit integers", _HTP, holds_64_bits),
        Rule("axes", "more than 5 axes", _HTP, more_axes_than(5)),
    ),
    note="files compiled for the chip ahead of time show what it takes; other makers' NPUs have lists of their own",
)

# Core ML on the Neural Engine ---------------------------------------------------------------------------------------

_TYPED = "Apple, Core ML Tools guide, Typed Execution"
_TRANSFORMERS = "Apple, Deploying Transformers on the Apple Neural Engine, machinelearning.apple.com, 2022"
_HOLLEMANS = "M. Hollemans, github.com/hollance/neural-engine, docs/unsupported-layers.md (partly guesses, he says)"
_FLEXIBLE = "an engineer of Apple's, developer.apple.com/forums/thread/724930"

_NEURAL_ENGINE = Accelerator(
    name="neural_engine",
    title="Neural Engine by Core ML",
    format="coreml",
    rules=(
        Rule("dynamic", "a range of sizes: only the default one", _FLEXIBLE, free_sizes, "export with a fixed size"),
        Rule("float32", "float32, it takes float16 alone", _TYPED,
             lambda item: item.kind != "cast" and any(value.type == "float32" for value in item.makes),
             "export with --precision fp16"),
        Rule("gather", "gathers values", _HOLLEMANS, lambda item: item.kind.startswith("gather")),
        Rule("recurrent", "a recurrent layer", _HOLLEMANS, lambda item: item.kind in ("lstm", "gru", "rnn")),
        Rule("dilated", "a dilated convolution", _HOLLEMANS,
             lambda item: item.kind == "conv" and max(item.settings.get("dilations", (1,))) > 1),
        Rule("custom", "a layer of the app's own", _HOLLEMANS, lambda item: item.kind.startswith("custom")),
        Rule("axes", "more than 4 axes, it works on B C H W", _TRANSFORMERS, more_axes_than(4)),
    ),
    note="Core ML decides on the device, by chip and system; Xcode's performance report tells (docs/coreml.md)",
)  # fmt: skip

# ExecuTorch with XNNPACK --------------------------------------------------------------------------------------------

_PARTITIONER = "ExecuTorch, XNNPACK partitioner API, operator support, docs.pytorch.org/executorch/stable"

_XNNPACK = Accelerator(
    name="xnnpack",
    title="XNNPACK by ExecuTorch",
    format="executorch",
    rules=(
        Rule("backend", "handed to another backend", _PARTITIONER,
             lambda item: item.kind.startswith("delegate ") and not item.settings.get("delegated")),
        Rule("int64", "64-bit integers", _PARTITIONER,
             lambda item: not item.settings.get("delegated") and holds_64_bits(item)),
        Rule("operator", "left out by its partitioner when the file was written", _PARTITIONER,
             lambda item: not item.settings.get("delegated")),
    ),
)  # fmt: skip

# ncnn on a GPU ------------------------------------------------------------------------------------------------------

_NCNN = "Tencent/ncnn, src/layer/vulkan (ncnn 1.0.20261020)"

_VULKAN = Accelerator(
    name="vulkan",
    title="GPU by Vulkan in ncnn",
    format="ncnn",
    rules=(
        listed(
            _NCNN,
            "AbsVal BatchNorm BinaryOp CELU Cast Clip Concat Convolution Convolution1D ConvolutionDepthWise",
            "Crop Deconvolution DeconvolutionDepthWise DeepCopy Dequantize Dropout ELU Eltwise Erf Flatten GELU",
            "Gemm GroupNorm HardSigmoid HardSwish InnerProduct InstanceNorm Interp LRN LayerNorm MemoryData",
            "Mish MultiHeadAttention Noop Normalize PReLU Packing Padding Permute PixelShuffle Pooling PriorBox",
            "Quantize RMSNorm ReLU Reduction Reorg Requantize Reshape RotaryEmbed SDPA SELU Scale Shrink",
            "ShuffleChannel Sigmoid Slice Softmax Softplus Split Swish TanH Tile UnaryOp Unfold",
            name="layer",
            why="has no Vulkan form",
        ),
    ),
    note="set `opt.use_vulkan_compute`; which of a GPU's drivers are good is another question",
)

# ONNX Runtime -------------------------------------------------------------------------------------------------------

_NNAPI_LIST = "ONNX Runtime 1.31, onnxruntime/tools/mobile_helpers/nnapi_supported_ops.md"
_NNAPI_BASE = "microsoft/onnxruntime, onnxruntime/core/providers/nnapi/.../impl/base_op_builder.cc"
_NNAPI_RESIZE = "microsoft/onnxruntime, onnxruntime/core/providers/nnapi/.../impl/resize_op_builder.cc"
_COREML_LIST = "ONNX Runtime 1.31, onnxruntime/tools/mobile_helpers/coreml_supported_mlprogram_ops.md"
_COREML_BASE = "microsoft/onnxruntime, onnxruntime/core/providers/coreml/builders/impl/base_op_builder.cc"
_FIXED = "ONNX Runtime, Making dynamic input shapes fixed, onnxruntime.ai/docs/tutorials/mobile/helpers"
_BATCH = "set the free dimension `batch` to 1 in the session's options, both providers want fixed shapes"


def _over_axes(axes: int, *kinds: str) -> Callable[[Operator], bool]:
    """One of these on tensors of another number of axes."""
    return lambda item: item.kind in kinds and item.reads[0].axes not in (0, axes)


def _other_resize(item: Operator) -> bool:
    """Other modes than bilinear and, from the upper left corner, nearest."""
    if item.kind != "Resize":
        return False
    mode = item.settings.get("mode", "nearest")
    corner = item.settings.get("coordinate_transformation_mode", "half_pixel")
    if item.settings.get("antialias") or item.settings.get("exclude_outside") or item.reads[0].axes not in (0, 4):
        return True
    if mode == "linear":
        return corner not in ("half_pixel", "align_corners", "asymmetric")
    return mode != "nearest" or corner != "asymmetric" or item.settings.get("nearest_mode") != "floor"


def _computed(kind: str, first: int) -> Callable[[Operator], bool]:
    """An operator of which inputs from the `first` on, its settings, are computed."""
    return lambda item: item.kind == kind and not all(value.constant for value in item.reads[first:])


def _reads_integers(item: Operator) -> bool:
    """The first input is neither a float nor an 8-bit number."""
    taken = ("", "float32", "float16", "uint8", "int8")
    return item.kind not in ("Cast", "Gather") and bool(item.reads) and item.reads[0].type not in taken


_POOLS = ("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")

_NNAPI = Accelerator(
    name="nnapi",
    title="NNAPI by ONNX Runtime",
    format="onnx",
    rules=(
        listed(
            _NNAPI_LIST,
            "Abs Add AveragePool BatchNormalization Cast Clip Concat Conv DepthToSpace DequantizeLinear Div Elu",
            "Exp Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Identity LRN LeakyRelu Log MatMul",
            "Max MaxPool Min Mul Neg PRelu Pad Pow QLinearAdd QLinearAveragePool QLinearConv QLinearMatMul",
            "QLinearSigmoid QuantizeLinear ReduceMean Relu Reshape Resize Sigmoid Sin Slice Softmax Split Sqrt",
            "Squeeze Sub Tanh Transpose Unsqueeze",
        ),
        Rule("dynamic", "a size that is known only when it runs", _NNAPI_BASE, free_sizes, "export with a fixed size"),
        Rule("integers", "integers where it takes floats", _NNAPI_BASE, _reads_integers),
        Rule("axes", "a convolution, pool or resize of other than 2 sides", _NNAPI_LIST,
             _over_axes(4, "Conv", "QLinearConv", *_POOLS)),
        Rule("resize", "resized in a way it does not know", _NNAPI_RESIZE, _other_resize),
        Rule("weights", "weights that are computed", _NNAPI_LIST, _computed("Conv", 1)),
    ),
    note=_BATCH,
)  # fmt: skip

_COREML_PROVIDER = Accelerator(
    name="coreml",
    title="Core ML by ONNX Runtime",
    format="onnx",
    rules=(
        listed(
            _COREML_LIST,
            "Add And ArgMax Argmax AveragePool Cast Ceil Clip Concat Conv ConvTranspose Cos DepthToSpace Div",
            "Elu Erf Exp FusedConv GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool GridSample",
            "GroupNormalization HardSigmoid Identity InstanceNormalization LayerNormalization LeakyRelu MatMul",
            "Max MaxPool Mul PRelu Pow QuickGelu Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape Resize",
            "Round Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Tanh Tile Transpose",
            "Unsqueeze Where",
        ),
        Rule("dynamic", "a size that is known only when it runs", _FIXED, free_sizes, "export with a fixed size"),
        Rule("integers", "integers where it takes floats", _COREML_BASE, _reads_integers),
        Rule("axes", "a convolution or pool of more than 2 sides", _COREML_LIST, _over_axes(4, "Conv", *_POOLS)),
        Rule("slice", "bounds that are computed", _COREML_LIST, _computed("Slice", 1)),
        Rule("weights", "a second factor that is computed", _COREML_LIST, _computed("Gemm", 1)),
    ),
    note=_BATCH,
)

ACCELERATORS: tuple[Accelerator, ...] = (
    _NEURAL_ENGINE, _LITERT_GPU, _LITERT_NPU, _XNNPACK, _VULKAN, _NNAPI, _COREML_PROVIDER,
)  # fmt: skip
