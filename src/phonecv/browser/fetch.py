"""Bring the runtimes that pages use: ``python -m phonecv.browser.fetch`` (needs npm).

They are not in the repository. npm gets exactly what package-lock.json names and checks every package against its
SHA-512; no script of a package runs. The few files that pages need are copied to ``vendor/``, everything else is
deleted. Only the standard library is used, so that builds and ``dev.py`` can run this file by its path.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
VENDOR = FOLDER / "vendor"

#: File of an npm package -> where it goes in `VENDOR`. Of ONNX Runtime Web the build for the CPU alone, which is the
#: faster one there, and the one with WebGPU that runs in every browser; of LiteRT.js the threaded build, the one for
#: pages that cannot share memory, and the one for browsers without relaxed SIMD.
PARTS = {
    "onnxruntime-web/dist/ort.wasm.min.mjs": "ort/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs": "ort/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "ort/ort-wasm-simd-threaded.wasm",
    "onnxruntime-web/dist/ort.webgpu.min.mjs": "ort/ort.webgpu.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs": "ort/ort-wasm-simd-threaded.asyncify.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm": "ort/ort-wasm-simd-threaded.asyncify.wasm",
    "@litertjs/core/dist/index.js": "litert/index.js",
    "@litertjs/wasm-utils/dist/index.js": "litert/wasm-utils.js",
    **{
        f"@litertjs/core/wasm/litert_wasm_{kind}internal{suffix}": f"litert/wasm/litert_wasm_{kind}internal{suffix}"
        for kind in ("threaded_", "", "compat_")
        for suffix in (".js", ".wasm")
    },
}

#: Packages whose code is in the parts, for the list of licences.
PACKAGES = ("onnxruntime-web", "onnxruntime-common", "@litertjs/core", "@litertjs/wasm-utils")


class FetchError(Exception):
    """The parts cannot be had; the message says why."""


def stamp() -> str:
    """What the present parts must have been made from."""
    return hashlib.sha256((FOLDER / "package-lock.json").read_bytes() + json.dumps(PARTS).encode()).hexdigest()


def versions() -> dict[str, str]:
    """The runtimes and their versions."""
    return json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]


def ready() -> bool:
    """Whether all parts are there, and of the versions in the lock file."""
    mark = VENDOR / "stamp"
    return mark.is_file() and mark.read_text() == stamp() and all((VENDOR / part).is_file() for part in PARTS.values())


def fetch() -> Path:
    """Fill `VENDOR`; at once when it is filled already.

    Raises:
        FetchError: npm is not installed or fails.
    """
    if ready():
        return VENDOR
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("npm is needed to get the page's runtimes; it comes with Node.js")
    with tempfile.TemporaryDirectory(prefix="phonecv-page-") as place:
        folder = Path(place)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FetchError(f"npm ci failed:\n{done.stderr.strip() or done.stdout.strip()}")
        _copy(folder / "node_modules")
    return VENDOR


def _copy(modules: Path) -> None:
    made = VENDOR.with_name(".vendor-new")
    shutil.rmtree(made, ignore_errors=True)
    for source, target in PARTS.items():
        path = made / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / source, path)
    (made / "LICENSES.txt").write_text(_licences(modules), encoding="utf-8")
    (made / "stamp").write_text(stamp())
    shutil.rmtree(VENDOR, ignore_errors=True)
    made.rename(VENDOR)


def _licences(modules: Path) -> str:
    lines = ["The files in this folder come from these packages; licences.txt beside the page has the texts.", ""]
    for name in PACKAGES:
        facts = json.loads((modules / name / "package.json").read_text(encoding="utf-8"))
        lines.append(f"{name} {facts['version']}: {facts['license']}")
    return "\n".join(lines) + "\n"


def main(quiet: bool = False) -> int:
    """Fetch, and say how much; when quiet, only if something was to be done."""
    quiet = quiet and ready()
    try:
        folder = fetch()
    except FetchError as error:
        print(f"phonecv: error: {error}", file=sys.stderr)
        return 2
    if quiet:
        return 0
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main("--quiet" in sys.argv[1:]))
