"""`phonecv bundle`: a model with all that an app needs of it, in one folder or zip."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.options import Ema, Force, Model, Source, load, loading, pixels
from phonecv.cli.output import fields, say, say_json, text_table


def bundle(
    source: Source,
    target: Path,
    /,
    *,
    to: str = "onnx",
    precision: Literal["float32", "fp16"] = "float32",
    include: list[Path] | None = None,
    name: str | None = None,
    licence: str | None = None,
    size: str | None = None,
    bake: bool = False,
    decode: bool = False,
    images: str | None = None,
    max_diff: float | None = None,
    min_agreement: float | None = None,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    json: bool = False,
) -> None:
    """Export to several formats, check every file, and put all that an app needs into one folder or zip.

    The bundle holds the model files and their records, labels, a test picture with the expected outputs, readers for
    C++, JavaScript, Kotlin and Swift, a page that opens offline, the licence of the weights, and digests.

    For example:

    - `phonecv bundle runs/signs/best.safetensors signs.zip --to litert,coreml,onnx`
    - `phonecv bundle runs/signs/best.safetensors app --to onnx --include int8/signs.tflite --licence "CC BY 4.0"`

    Args:
        target: The folder to make, or a name that ends in .zip.
        to: Formats, separated by commas; empty for none. `phonecv doctor` lists them.
        precision: Arithmetic of the exported files; bring int8 files with --include.
        include: An exported file to take as it is, once for each file.
        name: Of the model files; by default the source's.
        licence: Of the weights: a text, or the path of a text file.
        size: Input side in pixels, or HEIGHTxWIDTH; by default the network's own.
        bake: The files take pixel values 0..255 and normalise them themselves.
        decode: Detectors give final boxes, scores and labels; segmenters the class of every pixel.
        images: Pictures to compare on: a folder, a file or a pattern; by default embedded photographs.
        max_diff: Largest difference of the outputs that passes, a share of the largest output (float32 1e-4).
        min_agreement: Least share of pictures whose best class stays the same (float32 1).
        json: Print JSON.
    """
    from phonecv.bundle import bundle as run

    chosen = loading(source, model, ema)
    result = run(
        load(source, model, ema, dense=True) if chosen else source,
        target,
        formats=[part.strip() for part in to.split(",") if part.strip()],
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
            record["precision"],
            f"{record['bytes'] / 1e6:.2f} MB",
            "not checked" if record["difference"] is None else f"{record['difference']:.1e}",
        )
        for record in result.exported
    ]
    say(text_table(("file", "precision", "size", "difference"), rows))
    say(
        fields(
            (
                ("wrote", f"{result.path} ({len(result.files)} files, {result.bytes / 2**20:.2f} MiB)"),
                ("look at", "index.html in it, which opens in any browser"),
                ("licence", result.licence),
                ("time", f"{result.seconds:.1f} s"),
            )
        )
    )
