"""Compilers and parsers of the languages that bundles are written in, where this machine has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Kotlin:
    """A compiler of Kotlin.

    Attributes:
        command: that compiles.
        runtime: what compiled classes need beside them.
    """

    command: tuple[str, ...]
    runtime: Path

    def compile(self, sources: Iterable[Path], made: Path) -> None:
        """Compile sources into a jar; a warning is an error."""
        command = [*self.command, *map(str, sources), "-Werror", "-d", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def kotlin() -> Kotlin:
    """The compiler `kotlinc`, or that within the package kotlin-jupyter-kernel; the test is skipped without one."""
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine, which the Kotlin compiler needs")
    if compiler := shutil.which("kotlinc"):
        return Kotlin((compiler,), Path(compiler).resolve().parent.parent / "lib/kotlin-stdlib.jar")
    kernel = find_spec("run_kotlin_kernel")
    if kernel is None or kernel.origin is None:
        pytest.skip("no Kotlin compiler on this machine; pip install kotlin-jupyter-kernel brings one")
    jars = Path(kernel.origin).parent / "jars"
    (runtime,) = jars.glob("kotlin-stdlib-*.jar")
    start = ("java", "-cp", f"{jars}/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler")
    return Kotlin((*start, "-no-stdlib", "-no-reflect", "-cp", str(runtime)), runtime)


def faults(language: str, text: str) -> list[str]:
    """What a parser of Kotlin or Swift cannot read."""
    parsers = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip(f"tree_sitter_{language.lower()}")
    tree = parsers.Parser(parsers.Language(grammar.language())).parse(text.encode())
    found, waiting = [], [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.type == "ERROR" or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {text.splitlines()[node.start_point[0]].strip()}")
        waiting += node.children
    return found
