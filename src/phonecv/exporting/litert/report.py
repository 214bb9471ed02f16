"""What of a LiteRT file XNNPACK takes here; what a phone's accelerators take is a matter of rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from phonecv.exporting.litert.graph import Node, read_nodes
from phonecv.exporting.where.finding import found_in


def report(path: Path) -> dict[str, Any]:
    """Operators by kind, where they run, and those outside XNNPACK by layer."""
    nodes = read_nodes(path)
    outside = outside_xnnpack(nodes, path)
    counts = Counter((node.operator.layer, node.operator.kind) for node in outside)
    return {
        **found_in("litert", [node.operator for node in nodes]),
        "xnnpack": {
            "share": round(1 - len(outside) / max(1, len(nodes)), 4),
            "outside": [{"layer": layer, "operator": kind, "count": count} for (layer, kind), count in counts.items()],
        },
    }


def outside_xnnpack(nodes: list[Node], path: Path) -> list[Node]:
    """Operators that the interpreter runs by itself, found by going back from the outputs of the opened file.

    A delegate adds an operator to the graph that makes the same tensors as those it replaces.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    # LiteRT offers no public way to list what is delegated.
    delegates = [node for node in interpreter._get_ops_details() if node["op_name"] == "DELEGATE"]
    maker: dict[int, Node | tuple[int, ...]] = {number: node for node in nodes for number in node.outputs}
    for delegate in delegates:
        maker.update(dict.fromkeys(map(int, delegate["outputs"]), tuple(map(int, delegate["inputs"]))))
    waiting = [int(one["index"]) for one in interpreter.get_output_details()]
    seen: set[int] = set()
    outside: list[Node] = []
    while waiting:
        number = waiting.pop()
        if number in seen or number not in maker:
            continue
        seen.add(number)
        made_by = maker[number]
        if isinstance(made_by, Node):
            if made_by not in outside:
                outside.append(made_by)
            waiting += made_by.inputs
        else:
            waiting += made_by
    return sorted(outside, key=nodes.index)
