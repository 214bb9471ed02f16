"""`phonecv distill`: train with a teacher."""

from __future__ import annotations

from typing import Literal

from phonecv.cli.train import Data, Devices, Out, Overrides, Recipe, Show, list_recipes, run_recipe


def distill(
    recipe: Recipe = None,
    /,
    *overrides: Overrides,
    teacher: str | None = None,
    teacher_weights: str | None = None,
    kind: Literal["soft", "hard"] | None = None,
    weight: float | None = None,
    temperature: float | None = None,
    data: Data = None,
    out: Out = None,
    devices: Devices = 1,
    show: Show = False,
) -> int:
    """Train with a teacher beside the labels.

    As `phonecv train`, with the teacher's opinion as a second loss. Any network of timm or of the catalog, or a
    checkpoint file, can teach. It sees the picture at its own size and normalisation.

    For example:

    - `phonecv distill emov2_224_kd --data imagenet --out runs/kd`
    - `phonecv distill finetune --teacher runs/large/best.safetensors --data photos --out runs/kd`

    Args:
        teacher: `timm:NAME`, a name that `phonecv models` lists, or a checkpoint file (`distill.teacher`).
        teacher_weights: A tag of the catalog; for timm `pretrained` or a file (`distill.weights`).
        kind: Soft matches the teacher's probabilities, hard its first guess (`distill.kind`).
        weight: Factor of the teacher's loss (`distill.weight`).
        temperature: Softens both opinions (`distill.temperature`).
    """
    if recipe is None:
        list_recipes()
        return 0
    chosen = {
        "teacher": teacher,
        "weights": teacher_weights,
        "kind": kind,
        "weight": weight,
        "temperature": temperature,
    }
    extra = [f"distill.{name}={value}" for name, value in chosen.items() if value is not None]
    return run_recipe(recipe, [*overrides, *extra], data, out, devices, show, distill=True)
