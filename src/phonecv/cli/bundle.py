"""`phonecv bundle`: a model with all that an app needs of it, in one folder or zip."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.options import (
    Bake,
    CheckImages,
    Decode,
    Ema,
    Force,
    MaxDiff,
    MinAgreement,
    Model,
    Precision,
    Size,
    Source,
    listed,
    load,
    loading,
    pixels,
)
from phonecv.cli.output import fields, say, say_json, text_table


def bundle(
    source: Source,
    target: Path,
    /,
    *,
    to: str = "onnx",
    precision: Precision = "float32",
    include: list[Path] | None = None,
    name: str | None = None,
    licence: str | None = None,
    size: Size = None,
    bake: Bake = False,
    decode: Decode = "raw",
    images: CheckImages = None,
    max_diff: MaxDiff = None,
    min_agreement: MinAgreement = None,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    json: bool = False,
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
        to: Formats, separated by commas; empty for none. `phonecv doctor` lists them.
        include: An exported file to take as it is, for example an int8 one; once for each file.
        name: Of the model files; by default the source's.
        licence: Of the weights: a text, or the path of a text file.
        json: Print JSON.
    """
    from phonecv.bundles import bundle as run
    from phonecv.bundles.records import difference_text
    from phonecv.exporting.example import example_text

    chosen = loading(source, model, ema)
    result = run(
        load(source, model, ema) if chosen else source,
        target,
        formats=listed(to),
        precision=precision,
        include=include or [],
        name=name or (Path(source).stem if Path(source).exists() else None),
        licence=licence,
        images=images,
        force=force,
        size=pixels(size),
        bake=bake,
        decode=decode,
        max_diff=max_diff,
        min_agreement=min_agreement,
    )
    if json:
        say_json(
            {"path": str(result.path), "files": list(result.files), "licence": result.licence, "bytes": result.bytes}
        )
        return
    rows = [
        (
            record["file"],
            record.get("precision"),
            f"{record['bytes'] / 1e6:.2f} MB",
            difference_text(record),
        )
        for record in result.exported
    ]
    say(text_table(("file", "precision", "size", "difference"), rows))
    say(
        fields(
            (
                ("wrote", f"{result.path} ({len(result.files)} files, {result.bytes / 2**20:.2f} MiB)"),
                ("test picture", example_text(result.exported[0].get("test") or {})),
                ("look at", "README.md in it, and index.html, which opens in any browser"),
                ("licence", result.licence),
                ("time", f"{result.seconds:.1f} s"),
            )
        )
    )
