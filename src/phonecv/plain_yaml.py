"""Reading YAML of unknown origin: plain values, bounded before anything is built, or one clear message.

PyYAML's own loaders follow aliases without end, read ``no`` as false and ``1:30`` as 90, take the second of two equal
keys, and recurse as deep as a file asks for. Here PyYAML only finds the nodes. Each unquoted scalar stays the text that
was typed, as a `Plain`; who knows what it is for reads it: a text field keeps ``001`` and ``no``, others use `scalar`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from phonecv.errors import UserError
from phonecv.plain_scalars import MAX_DEPTH, Plain

#: The largest of the shipped recipes has 3 KB, 90 values and 3 levels.
MAX_BYTES = 256 << 10
MAX_VALUES = 4000

_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
#: Tags that say what an unquoted scalar says by itself.
_SCALARS = {_PLAIN} | {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}
_MERGE = "<<"


def read_yaml_file(path: Path, where: str) -> Any:
    """The content of a YAML file, as `read_yaml` gives it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{where} is larger than {MAX_BYTES >> 10} KiB; no file of settings is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        line = 1 + data.count(b"\n", 0, error.start)
        what = "UTF-16 text" if utf16 else f"not UTF-8 text (line {line})"
        raise UserError(f"{where} is not readable YAML: {what}; save the file as UTF-8") from error
    return read_yaml(text, where)


def read_yaml(text: str, where: str, *, most: int = MAX_VALUES) -> Any:
    """Lists, dicts, texts and `Plain` texts of a YAML document; keys are texts.

    Aliases and merge keys (``<<``) are followed, each use a copy of its own, as far as `most` values allow.

    Raises:
        UserError: not YAML, a key given twice, more values or levels than any settings have, or other objects.
    """
    try:
        node = _Composer(text, most).get_single_node()
        return None if node is None else _Builder(most).value(node)
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{where} is not readable YAML: {_explained(error)}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not readable YAML: {' '.join(str(error).split())[:200]}") from error


class _Composer(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's way from text to nodes, which stops at too many or too deep ones."""

    def __init__(self, text: str, most: int) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._left, self._depth = most, 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._left -= 1
        self._depth += 1
        _bounded(self._left, self._depth, self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        return _PLAIN if kind is ScalarNode and implicit[0] else _TEXT if kind is ScalarNode else ""


class _Builder:
    """From nodes to values; what an alias names is built, and counted, each time."""

    def __init__(self, most: int) -> None:
        self._left = most

    def value(self, node: Node, depth: int = 1) -> Any:
        self._left -= 1
        _bounded(self._left, depth, node.start_mark)
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            _known(node, "seq")
            return [self.value(item, depth + 1) for item in node.value]
        if node.tag in _SCALARS:
            return Plain(node.value)
        _known(node, "str")
        return str(node.value)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        _known(node, "map")
        own: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise ComposerError(None, None, "the name of a setting is a list or a group", key.start_mark)
            if key.tag == _PLAIN and key.value == _MERGE:
                merged.extend(self._merged(item, depth))
                continue
            if key.value in own:
                raise ComposerError(None, None, f"{key.value[:60]!r} is given twice; keep one of them", key.start_mark)
            own[key.value] = self.value(item, depth + 1)
        # What stands in the group itself counts, then what is merged first.
        for group in merged:
            for name, value in group.items():
                own.setdefault(name, value)
        return own

    def _merged(self, node: Node, depth: int) -> Iterator[dict[str, Any]]:
        for item in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(item, MappingNode):
                raise ComposerError(None, None, "<< merges groups, and this is none", item.start_mark)
            yield self.value(item, depth + 1)


def _bounded(left: int, depth: int, place: Any) -> None:
    if depth > MAX_DEPTH:
        raise ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep, or in itself", place)
    if left < 0:
        raise ComposerError(None, None, "more values than any settings have, aliases followed", place)


def _known(node: Node, kind: str) -> None:
    if node.tag not in ("", f"tag:yaml.org,2002:{kind}"):
        raise ComposerError(None, None, f"the tag {str(node.tag)[:60]!r} stands for an object", node.start_mark)


def _explained(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's message on one line, with the place."""
    # The first half of some messages tells what was expected.
    halves = (error.context, error.problem) if (error.problem or "").startswith("but ") else (error.problem,)
    what = " ".join(" ".join(filter(None, halves)).split())[:200]
    if "'\\t'" in what:
        what += "; indent with spaces"
    mark = error.problem_mark or error.context_mark
    return what if mark is None else f"{what} (line {mark.line + 1}, column {mark.column + 1})"
