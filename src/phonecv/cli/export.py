"""`phonecv export`: files for other runtimes, checked against the original."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from phonecv.cli.options import Ema, Force, Formats, Model, Source, destination, listed, load, loading
from phonecv.cli.output import say, say_json, say_places
from phonecv.cli.task_options import with_options
from phonecv.errors import UserError
from phonecv.exporting.options import ExportOptions


@with_options
def export(
    source: Source,
    target: str,
    /,
    *,
    to: Formats = None,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    report: Annotated[bool, Parameter(negative="")] = False,
    json: bool = False,
    options: ExportOptions,
) -> None:
    """Write a network for other runtimes, run every file there, and compare.

    For example:

    - `phonecv export runs/signs/best.safetensors signs.onnx`
    - `phonecv export runs/signs/best.safetensors phone --to litert,coreml,executorch`
    - `phonecv export mobileone_s0.pth.tar s0.onnx --size 256x192`
    - `phonecv export emov2_5m.safetensors any.onnx --any-size`

    A file whose outputs differ too much from PyTorch's is not written, and the exit status is 2; other formats of the
    same call are written all the same.

    Args:
        target: The file to write, or a folder: one that exists, or a name that ends in a slash or has no suffix.
        to: Formats, separated by commas (onnx, ort, openvino, executorch, litert, coreml, ncnn, mnn, pt2); by default
            the one of the file's suffix. `phonecv doctor --formats` says what each can hold.
        report: Show where each file will run: what phones' accelerators leave to the processor, by layer and with the
            reason. `phonecv info FILE` shows it later, too.
        json: Print JSON.
    """
    from phonecv.exporting import exporter_for, get_exporter
    from phonecv.exporting.targets import is_folder

    chosen = loading(source, model, ema)
    path, into = Path(target), is_folder(target)
    if to is None:
        own = exporter_for(path)
        names = [own.format if own is not None else "onnx"]
    else:
        names = listed(to)
    exporters = [get_exporter(name) for name in names]
    if not exporters:
        raise UserError(f"--to {to!r} names no format; `phonecv doctor --formats` lists them")
    if into and path.is_file():
        raise UserError(f"{target!r} is a file; give a folder, or a name that ends in {exporters[0].suffix}")
    if len(exporters) > 1 and not into:
        raise UserError(
            f"{target!r} is one file for {len(exporters)} formats; give a folder, such as {path.stem + '/'!r}"
        )
    paths = [destination(path, force=force, source=source, suffix=exporter.suffix, into=into) for exporter in exporters]
    # Of several formats, those that have operator sets get the one asked for.
    taking = [exporter for exporter in exporters if exporter.opsets] or exporters[:1]
    for exporter in taking:
        exporter.check_opset(options.opset)
    for exporter in exporters:
        exporter.require()
    from phonecv.exporting.run import export_with

    network = load(source, model, ema) if chosen or len(exporters) > 1 else source
    results, failures = [], []
    for exporter, file in zip(exporters, paths, strict=True):
        try:
            opset = options.opset if exporter in taking else None
            own = replace(options, format=exporter.format, opset=opset, replace_file=force)
            result = export_with(network, file, own)
        except UserError as error:
            if len(exporters) == 1:
                raise
            failures.append(f"{exporter.format}: {error}")
            continue
        results.append(result)
        if not json:
            say(str(result))
            if report:
                say_places(result.report.get("where", ()))
    if json:
        say_json(results[0].to_dict() if len(exporters) == 1 else [result.to_dict() for result in results])
    if failures:
        raise UserError(f"{len(failures)} of {len(exporters)} formats were not written; {'; '.join(failures)}")
