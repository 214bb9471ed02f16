"""Training: recipes, one engine, exact resume. `train(load_config("finetune", ["data.path=...", "run.out=..."]))`.

Names are imported when first used, so that `wait_quietly` runs before torch is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names
from phonecv.training.threads import wait_quietly

if TYPE_CHECKING:
    from phonecv.training.config import TrainConfig
    from phonecv.training.recipe import load_config, recipe_names
    from phonecv.training.run import RunResult, distill, train

wait_quietly()

__all__ = ["RunResult", "TrainConfig", "distill", "load_config", "recipe_names", "train"]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
