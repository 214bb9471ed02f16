"""What can be wrong with the training of a classifier, said before torch is loaded."""

from __future__ import annotations

from phonecv.classify.config import ClassifyConfig
from phonecv.classify.training_data import list_once
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS
from phonecv.training.checks import check_file


def check_training(config: ClassifyConfig, *, keep: bool) -> None:
    """Check that the teacher is known or there, and that the data can be listed."""
    teacher = config.distill.teacher
    if teacher is None and config.distill.kind == "features":
        raise UserError(
            "distill.kind=features needs a teacher; pass --teacher (distill.teacher): timm:NAME, a network's name or a"
            " checkpoint"
        )
    if teacher is not None and not teacher.startswith("timm:") and teacher not in MODELS:
        check_file(teacher, f"distill.teacher={teacher!r}", [f"timm:NAME, {len(MODELS)} of `phonecv models`"])
    list_once(config, keep=keep)
