"""The operators of a .tflite file, read without LiteRT; numbers of fields and kinds are those of its schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from phonecv.exporting.flatbuffer import Table, reading
from phonecv.exporting.litert.record import read_content
from phonecv.exporting.where.graph import Operator, Value

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE
STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE
DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
STABLEHLO_CASE
"""
#: Of the schema's BuiltinOperator, by number.
KINDS = tuple(_NAMES.split())
#: Of its TensorType, by number.
TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16",
)  # fmt: skip
_CUSTOM = KINDS.index("CUSTOM")
#: Fields of the tables Model, OperatorCode, SubGraph, Tensor, Operator, Buffer and ResizeBilinearOptions.
_CODES, _GRAPHS, _BUFFERS = 1, 2, 4
_OLD_CODE, _CUSTOM_CODE, _CODE = 0, 1, 3
_TENSORS, _OPERATORS = 0, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _SIGNATURE = 0, 1, 2, 3, 7
_OPCODE, _INPUTS, _OUTPUTS, _OPTIONS = 0, 1, 2, 4
_DATA, _OFFSET = 0, 1
_ALIGN_CORNERS, _HALF_PIXEL = 2, 3
#: Entries of any list that are looked at; a damaged file may speak of billions.
_MOST = 1_000_000

#: A module in the name that the converter gives a value: package, class, attribute.
_MODULE = re.compile(r"(?:\w+\.)*_*[A-Z]\w*?_(\w+)")


@dataclass(frozen=True, slots=True)
class Node:
    """An operator, with the numbers of the tensors that it reads and makes."""

    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_operators(path: Path) -> list[Operator]:
    """The operators of a file, in order."""
    return [node.operator for node in read_nodes(path)]


def read_nodes(path: Path) -> list[Node]:
    """The operators of the file's first graph, in order.

    Raises:
        UserError: it is no LiteRT file, or damaged.
    """
    content = read_content(path)
    with reading(path, "operators"):
        return _nodes(Table.root(content))


def _nodes(model: Table) -> list[Node]:
    kinds = [_kind(code) for code in model.tables(_CODES, _MOST)]
    filled = [_is_filled(buffer) for buffer in model.tables(_BUFFERS, _MOST)]
    (graph, *_) = model.tables(_GRAPHS, 1)
    tensors = graph.tables(_TENSORS, _MOST)
    values = [_value(tensor, filled) for tensor in tensors]
    found = []
    for item in graph.tables(_OPERATORS, _MOST):
        reads, makes = (
            tuple(number for number in item.numbers(field) or () if number >= 0) for field in (_INPUTS, _OUTPUTS)
        )
        kind = kinds[item.number(_OPCODE, "<I")]
        options = item.table(_OPTIONS)
        settings = {}
        if kind == "RESIZE_BILINEAR":
            pairs = (("align_corners", _ALIGN_CORNERS), ("half_pixel", _HALF_PIXEL))
            settings = {name: options is not None and options.number(field, "<B") > 0 for name, field in pairs}
        layer = layer_of(tensors[makes[0]].text(_NAME)) if makes else ""
        operator = Operator(
            kind, layer, tuple(values[number] for number in reads), tuple(values[number] for number in makes), settings
        )
        found.append(Node(operator, reads, makes))
    return found


def _kind(code: Table) -> str:
    # Kinds up to 127 stand in the older field, too.
    number = max(code.number(_OLD_CODE, "<b"), code.number(_CODE, "<i"))
    if number == _CUSTOM:
        return f"custom {code.text(_CUSTOM_CODE)}"
    return KINDS[number] if 0 <= number < len(KINDS) else f"operator {number}"


def _is_filled(buffer: Table) -> bool:
    """Whether it holds data, here or, in large files, behind all tables."""
    return bool(buffer.vector(_DATA)) or buffer.number(_OFFSET, "<Q") > 1


def _value(tensor: Table, filled: list[bool]) -> Value:
    shape = tensor.numbers(_SIGNATURE) or tensor.numbers(_SHAPE) or ()
    number = tensor.number(_TYPE, "<b")
    return Value(
        TYPES[number] if 0 <= number < len(TYPES) else "",
        tuple(None if length < 0 else length for length in shape),
        filled[tensor.number(_BUFFER, "<I")],
    )


def layer_of(name: str) -> str:
    """The path of the module behind a value, as "stages.3.0.norm", from the converter's name of it.

    That is ``package.Class/package.Class_attribute/...;``; names of values that were merged are joined, the last is the
    operator's own. Lists of modules stand in no name of their own.
    """
    own = name.rpartition(";;")[2].partition(";")[0]
    found = [match[1] for part in own.split("/")[1:] if (match := _MODULE.fullmatch(part))]
    return ".".join(found).removeprefix("network").removeprefix(".")
