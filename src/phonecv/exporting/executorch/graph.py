"""The operators of a .pte file, read without ExecuTorch; numbers of fields are those of its schema (program.fbs)."""

from __future__ import annotations

from pathlib import Path

from phonecv.errors import UserError
from phonecv.exporting.flatbuffer import Table, reading
from phonecv.exporting.where.graph import Operator, Value

#: Fields of the tables Program, ExecutionPlan, EValue, Tensor, Operator, BackendDelegate, Chain, Instruction and of
#: the calls.
_PLANS = 1
_NAME, _VALUES, _CHAINS, _OPERATORS, _DELEGATES = 0, 2, 5, 6, 7
_VALUE_KIND, _VALUE = 0, 1
_SCALAR_TYPE, _SIZES, _BUFFER = 0, 2, 5
_OPERATOR_NAME, _OVERLOAD = 0, 1
_DELEGATE_NAME = 0
_INSTRUCTIONS = 2
_CALL_KIND, _CALL = 0, 1
_INDEX, _ARGUMENTS = 0, 1
#: Members of the unions KernelTypes and InstructionArguments.
_TENSOR, _KERNEL, _DELEGATE = 5, 1, 2
#: PyTorch's numbers of types.
_TYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "", "", "", "bool")
_BACKEND = "XnnpackBackend"
_MOST = 1_000_000


def read_operators(path: Path) -> list[Operator]:
    """What a program runs, in order; each part that XNNPACK takes counts as one operator.

    Raises:
        UserError: it is no ExecuTorch file, or damaged.
    """
    content = path.read_bytes()
    if content[4:6] != b"ET":
        raise UserError(f"{path} is not an ExecuTorch file: it does not start as one")
    with reading(path, "operators"):
        return _operators(Table.root(content))


def _operators(program: Table) -> list[Operator]:
    (plan, *_) = program.tables(_PLANS, 1)
    values = [_value(item) for item in plan.tables(_VALUES, _MOST)]
    names = [(item.text(_OPERATOR_NAME), item.text(_OVERLOAD)) for item in plan.tables(_OPERATORS, _MOST)]
    backends = [item.text(_DELEGATE_NAME) for item in plan.tables(_DELEGATES, _MOST)]
    found = []
    for chain in plan.tables(_CHAINS, _MOST):
        for instruction in chain.tables(_INSTRUCTIONS, _MOST):
            kind, call = instruction.number(_CALL_KIND, "<B"), instruction.table(_CALL)
            if call is None or kind not in (_KERNEL, _DELEGATE):
                continue
            index = call.number(_INDEX, "<i")
            name = f"delegate {backends[index]}" if kind == _DELEGATE else ".".join(filter(None, names[index]))
            # Which of the arguments come out is the operator's business; the rules need both alike.
            arguments = tuple(value for place in call.numbers(_ARGUMENTS) or () if (value := values[place]) is not None)
            settings = {"delegated": kind == _DELEGATE and backends[index] == _BACKEND}
            found.append(Operator(name, "", arguments, settings=settings))
    return found


def _value(item: Table) -> Value | None:
    tensor = item.table(_VALUE) if item.number(_VALUE_KIND, "<B") == _TENSOR else None
    if tensor is None:
        return None
    constant = tensor.number(_BUFFER, "<I") > 0
    number = tensor.number(_SCALAR_TYPE, "<b")
    return Value(_TYPES[number] if 0 <= number < len(_TYPES) else "", tensor.numbers(_SIZES) or (), constant)
