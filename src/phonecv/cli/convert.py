"""`phonecv convert`: between checkpoint layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.options import Ema, Force, Model, Source, destination, loading
from phonecv.cli.output import say
from phonecv.text import counted


def convert(
    source: Source,
    target: Path,
    /,
    *,
    to: Literal["phonecv", "emo", "emov2", "apple", "timm", "mmpretrain", "paddlevit"] = "phonecv",
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
) -> None:
    """Rewrite a checkpoint in our layout, or back in another.

    Ours is a .safetensors file with a JSON record of network, form, classes and preprocessing. The form stays as it
    is; `phonecv fuse` changes it.

    For example:

    - `phonecv convert net.pth emo_5m.safetensors`
    - `phonecv convert ckpt.pth emov2_5m.safetensors --model emov2_5m --ema`
    - `phonecv convert best.safetensors s0.pth.tar --to apple`

    Args:
        target: The file to write; for our layout also a folder.
        to: Layout to write.
    """
    path = destination(target, force=force, source=source, suffix=".safetensors" if to == "phonecv" else "")
    chosen = loading(source, model, ema)
    from phonecv.converting import convert as run

    written = run(source, path, to=to, **chosen)
    say(f"{source}: {written.model}, {written.form} form, {counted(written.num_classes, 'classes')}")
    say(f"wrote {written.path} ({to} layout)")
