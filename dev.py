#!/usr/bin/env python3
"""Set up and run from a fresh clone; needs only Python >= 3.11 with pip.

    python3 dev.py demo     make .venv from the lock file, install phonecv, run `phonecv demo`
    python3 dev.py test     the same, then the whole test suite
    python3 dev.py fast     ... then the fast subset of it
    python3 dev.py lint     ... then ruff, the type checker and the contracts of imports
    python3 dev.py docs     ... then build the documentation site into build/docs/site
    python3 dev.py lock     write requirements.lock anew from pyproject.toml
    python3 dev.py page     bring the browser runtimes of the phone page (`phonecv bench --serve`); needs npm

Anything after the first word goes to the tool that is run, as in `python3 dev.py test -k golden`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
LOCK = ROOT / "requirements.lock"
FETCH = ROOT / "src" / "phonecv" / "browser" / "fetch.py"

#: Two processes, each with one half of the tests in order: what several tests of a module share is made once.
PARALLEL = ("--numprocesses=2", "--dist=worksteal")

#: Verb -> the commands it runs inside the environment, first the tool.
VERBS: dict[str, list[list[str]]] = {
    "demo": [["phonecv", "demo"]],
    "test": [["pytest", *PARALLEL]],
    "fast": [["pytest", *PARALLEL, "-m", "not slow"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyrefly", "check"],
        ["lint-imports", "--no-cache"],
    ],
    "docs": [["python", "docs/build_site.py"]],
}


def run(*command: str | Path, **env: str) -> None:
    """Run a command in the project's folder; end with its status if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=os.environ | env)
    if done.returncode:
        sys.exit(done.returncode)


def find_uv() -> Path:
    """uv from the PATH, or a private copy in .uv; pip alone may resolve torch to a build that torchvision refuses."""
    if found := shutil.which("uv"):
        return Path(found)
    private = ROOT / ".uv"
    uv = private / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    pinned = locked("uv")
    stamp = private / "pinned"
    if not uv.exists() or not stamp.exists() or stamp.read_text() != pinned:
        print("getting uv ...", flush=True)
        private.mkdir(exist_ok=True)
        (private / "requirements.txt").write_text(pinned)
        run(
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade",
            "--target", private, "--requirement", private / "requirements.txt",
        )  # fmt: skip
        stamp.write_text(pinned)
    return uv


def locked(name: str) -> str:
    """What the lock file says of one package: its version and the digests of its files."""
    lines = LOCK.read_text().splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    except StopIteration:
        sys.exit(f"{LOCK.name} has no {name}; write it anew with `python3 dev.py lock`")
    end = start + 1
    while lines[end - 1].endswith("\\"):
        end += 1
    return "\n".join(lines[start:end]) + "\n"


def set_up() -> None:
    """Make .venv exactly as requirements.lock says; at once when it is already so."""
    stamp = VENV / "phonecv-lock"
    digest = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    uv = find_uv()
    if not BIN.exists():
        run(uv, "venv", "--quiet", "--python", sys.executable, VENV)
    print("installing the locked packages into .venv (torch is large: a minute or more on a slow line) ...", flush=True)
    python = BIN / "python"
    # Compiled here once: where Python may not write bytecode, every start would compile torch and timm anew.
    run(uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", python, LOCK, PYC_INVALIDATION_MODE="TIMESTAMP")
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", ROOT)
    run(python, "-m", "compileall", "-q", ROOT / "src" / "phonecv")
    stamp.write_text(digest)


def fetch_page() -> None:
    """The phone page's runtimes, at once when they are there; where they cannot be had, the tests of the page skip."""
    if not shutil.which("npm"):
        print("no npm here: the phone page stays without its runtimes", flush=True)
        return
    done = subprocess.run([sys.executable, str(FETCH), "--quiet"], cwd=ROOT)
    if done.returncode and os.environ.get("CI"):
        sys.exit(done.returncode)  # a green run must not hide that they were left out


def main(arguments: list[str]) -> None:
    """Run one verb."""
    if sys.version_info < (3, 11):
        sys.exit(f"phonecv needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    verb, *rest = arguments or ["--help"]
    if verb == "lock":
        run(
            find_uv(), "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--all-extras",
            "--python-version", "3.11", "--no-header", "--output-file", LOCK.name, "pyproject.toml",
        )  # fmt: skip
        return
    if verb == "page":
        run(sys.executable, FETCH)
        return
    if verb not in VERBS:
        sys.exit(__doc__)
    set_up()
    if verb in ("test", "fast"):
        fetch_page()
    for tool, *options in VERBS[verb]:
        run(BIN / tool, *options, *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
