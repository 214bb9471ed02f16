"""`phonecv bundle`: a model with all that an app needs of it, in one folder or zip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from phonecv.bundles.options import BundleOptions
from phonecv.cli.options import Ema, Model, Source, load, loading
from phonecv.cli.output import say_found
from phonecv.cli.task_options import with_options


@with_options
def bundle(
    source: Source,
    target: Path,
    /,
    *,
    model: Model = None,
    ema: Ema = None,
    json: bool = False,
    options: BundleOptions,
) -> None:
    """Export to several formats, check every file, and put all that an app needs into one folder or zip.

    The bundle holds the model files and their records, labels, a test picture with what has to be found in it, readers
    for C++, JavaScript, Kotlin and Swift that do what a file leaves to do, a README and a page that opens offline, the
    licence of the weights, and digests.

    For example:

    - `phonecv bundle runs/signs/best.safetensors signs.zip --to litert,coreml,onnx`
    - `phonecv bundle runs/signs/best.safetensors app --to onnx --include int8/signs.tflite --licence "CC BY 4.0"`
    - `phonecv bundle runs/cells/best.safetensors cells.zip --to litert --images cells/images`

    Args:
        target: The folder to make, or a name that ends in .zip.
        json: Print JSON.
    """
    chosen = loading(source, model, ema)
    from phonecv.bundles.build import bundle_with

    if options.name is None and Path(source).exists():
        options = replace(options, name=Path(source).stem)
    result = bundle_with(load(source, model, ema) if chosen else source, target, options)
    names = ("files", "licence", "bytes")
    say_found(lambda: {"path": str(result.path)} | {name: getattr(result, name) for name in names}, result, json=json)
