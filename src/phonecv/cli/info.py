"""`phonecv info`: one network or one checkpoint file."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from phonecv.cli.completing import models_like
from phonecv.cli.output import millions, say, say_json, say_places, say_table
from phonecv.tables import fields, text_table


def info(
    name_or_file: Annotated[str, Parameter(name="NAME|FILE", completer=models_like)],
    /,
    *,
    form: Literal["training", "deploy"] | None = None,
    size: int | None = None,
    json: bool = False,
) -> None:
    """Take a network or a checkpoint apart, stage by stage.

    Shows form, preprocessing, classes, public weights and, for a file, what it holds. A checkpoint of any supported
    layout is read without running anything in it. Of an exported file its record is shown, and what of it the
    accelerators of phones leave to the processor, by rules whose sources are named.

    For example:

    - `phonecv info emov2_5m`
    - `phonecv info mobileone_s0 --form deploy`
    - `phonecv info runs/signs/best.safetensors`
    - `phonecv info signs.tflite`

    Args:
        name_or_file: A name that `phonecv models` lists, the path of a checkpoint, or `hf://owner/name`.
        form: Count this form of the network; by default the file's, or the training form.
        size: Count at this input side in pixels; by default the network's own.
        json: Print JSON.
    """
    from phonecv.inspection import info as run

    found = run(name_or_file, form=form, size=size)
    if json:
        say_json(found.to_dict())
        return
    say(fields(found.fields()))
    if found.named is not None:
        say()
        say(text_table(found.named.header, found.named.rows, right=range(2, len(found.named.header) - 1)))
    say_places(found.where)
    if found.model is not None:
        rows = [
            (row.stage, row.channels, row.stride or "", row.blocks, f"{row.parameters:,}", f"{row.macs:,}")
            for row in found.model.stages
        ]
        total = ("total", "", "", "", f"{found.model.parameters:,}", f"{found.model.macs:,}")
        say()
        say_table((("stage", "channels", "stride", "blocks", "parameters", "MACs"), [*rows, total], range(1, 6)))
        say(f"\n{found.model.form} form, {millions(found.model.macs)} MACs at {found.model.input_size} px")
    if found.record is not None and found.record.weights and found.file is None:
        from phonecv.cli.tables import weight_rows

        say()
        say_table(weight_rows([found.record]))
