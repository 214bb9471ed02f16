"""`phonecv demo`: the whole way on sample pictures."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.output import say


def demo(
    *,
    out: Path = Path("runs/demo"),
    seed: int = 0,
    epochs: int | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
) -> int:
    """The whole way on sample pictures, in a few minutes.

    Make pictures (handwritten digits on photographs), train, evaluate, fuse, export, compare, report. Nothing is
    downloaded; the extras samples and onnx are needed. The exit status is 1 when a promise of the demo is missed.

    For example:

    - `phonecv demo`
    - `phonecv demo --out runs/demo-1 --seed 1`

    Args:
        out: Run folder; the same command goes on where an interrupted one stopped.
        seed: Of pictures and training.
        epochs: Another number of passes, for a quick look.
        train_images: Another number of pictures to train on.
        val_images: Another number of held-out pictures.
    """
    from phonecv.demonstration import demo as run

    sizes = {"epochs": epochs, "train_images": train_images, "val_images": val_images}
    result = run(out, seed=seed, say=say, **{key: value for key, value in sizes.items() if value is not None})
    return int(not result.passed)
