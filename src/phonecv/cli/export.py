"""`phonecv export`: a file for another runtime, checked against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.options import Ema, Force, Model, Source, destination, load, loading, pixels
from phonecv.cli.output import fields, say, say_json


def export(
    source: Source,
    target: Path,
    /,
    *,
    format: str = "onnx",
    form: Literal["deploy", "training"] = "deploy",
    size: str | None = None,
    verify: bool = True,
    max_diff: float = 1e-4,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    json: bool = False,
) -> None:
    """Write a network for another runtime, and compare there.

    For example:

    - `phonecv export runs/signs/best.safetensors signs.onnx`
    - `phonecv export mobileone_s0.pth.tar s0.onnx --size 256x192`

    Args:
        target: The file to write, or a folder.
        format: Format to write; `phonecv doctor` lists them.
        form: Deploy fuses the network first.
        size: Input side in pixels, or HEIGHTxWIDTH; by default the network's own.
        verify: Run the written file and compare.
        max_diff: Largest difference of the outputs that passes.
        json: Print JSON.
    """
    from phonecv.export import export as run
    from phonecv.export import get_exporter

    exporter = get_exporter(format)
    path = destination(target, force=force, source=source, suffix=exporter.suffix)
    shape = pixels(size)
    exporter.require()
    chosen = loading(source, model, ema)
    network = load(source, model, ema) if chosen else source
    result = run(network, path, format=format, form=form, size=shape, verify=verify, max_diff=max_diff)
    if json:
        say_json(result.to_dict())
        return
    checked = "not run" if result.difference is None else f"{result.difference:.2e} (limit {max_diff:g})"
    say(
        fields(
            (
                ("wrote", f"{result.path} ({result.bytes / 2**20:.2f} MiB, {result.operators} operators)"),
                ("record", result.record),
                ("network", f"{result.model}, {result.form} form, input {result.size[0]}x{result.size[1]}"),
                ("difference", checked),
                ("time", f"{result.seconds:.1f} s"),
            )
        )
    )
