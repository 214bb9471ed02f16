"""How much a score is worth: its standard error, the last one beside the best, and when "best" means little."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from phonecv.text import counted
from phonecv.training.log import FIGURES_OF
from phonecv.training.objective import Objective

#: From so many scores on, the best of them is no fair sample.
MANY = 5

#: Below so many pictures the best of many is noise, where no standard error is known.
FEW = 300

#: In percent points, likewise, where one is known.
COARSE = 1.0


def score_text(objective: Objective, figures: Mapping[str, float]) -> str:
    """The score among these figures, with its standard error where there is one: "96.97 ± 2.11"."""
    error = objective.error(figures)
    text = f"{figures.get(objective.score, math.nan):.2f}"
    return text if error is None else f"{text} ± {error:.2f}"


def last_figures(rows: Sequence[Mapping[str, str]], objective: Objective) -> dict[str, dict[str, float]]:
    """Figures of the last evaluation, by network ("net", "ema"), from the rows of metrics.csv; empty without any."""
    row = next((row for row in reversed(rows) if row.get(f"{FIGURES_OF['net']}_{objective.score}")), {})
    found = {
        net: {name: float(row[f"{prefix}_{name}"]) for name in objective.figures if row.get(f"{prefix}_{name}")}
        for net, prefix in FIGURES_OF.items()
    }
    return {net: figures for net, figures in found.items() if objective.score in figures}


def caution(rows: Sequence[Mapping[str, str]], objective: Objective, pictures: int) -> str | None:
    """What to know of the best score of a run, or None where it can be believed.

    The best of many scores is chosen by the pictures it is measured on: it is too high by one to two standard errors.
    """
    scores = sum(bool(row.get(f"{prefix}_{objective.score}")) for row in rows for prefix in FIGURES_OF.values())
    errors = [
        error for figures in last_figures(rows, objective).values() if (error := objective.error(figures)) is not None
    ]
    coarse = max(errors) >= COARSE if errors else pictures < FEW
    if scores < MANY or not coarse:
        return None
    return (
        f"the best of {scores} scores on {counted(pictures, 'pictures')} flatters, since these pictures chose it; go by"
        " the last epoch, or evaluate on pictures that chose nothing (phonecv eval --split test)"
    )
