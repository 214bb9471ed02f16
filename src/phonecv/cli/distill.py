"""`phonecv distill`: train with a teacher."""

from __future__ import annotations

from typing import Any

from phonecv.cli.task_options import with_flags
from phonecv.cli.train import Devices, Overrides, Recipe, Show, list_recipes, run_recipe
from phonecv.training.flags import FLAGS, TEACHER_FLAGS, flag_overrides


@with_flags({**TEACHER_FLAGS, **FLAGS})
def distill(
    recipe: Recipe = None, /, *overrides: Overrides, devices: Devices = 1, show: Show = False, **flags: Any
) -> int:
    """Train with a teacher, beside the labels or without any.

    As `phonecv train`, with the teacher's opinion as a second loss. Any network of timm or of the catalog, or a
    checkpoint file, can teach; a detector or segmenter is taught by a checkpoint of one. A classifier's teacher sees
    the picture at its own size and normalisation. Recipe `distill_features` learns from a folder of pictures without
    labels.

    For example:

    - `phonecv distill emov2_224_kd --data imagenet --out runs/kd`
    - `phonecv distill finetune --teacher runs/large/best.safetensors --data photos --out runs/kd --epochs 30`
    - `phonecv distill distill_features --teacher mobileone_s4 --teacher-weights official --data photos --out runs/kd`
    """
    if recipe is None:
        list_recipes()
        return 0
    chosen = flag_overrides({**TEACHER_FLAGS, **FLAGS}, flags, overrides)
    return run_recipe(recipe, [*overrides, *chosen], devices, show, distill=True)
