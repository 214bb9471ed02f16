"""What is said of a name that is neither a file nor a network of the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

import phonecv
from phonecv.errors import UserError
from phonecv.inspection import info
from phonecv.models.names import check_named, published_room, task_named
from phonecv.task import TASKS
from phonecv.training.recipe import load_config

NAMES = {"d_emov2_s": "generate", "dit_digits": "generate", "v_emov2_5m": "video", "ssdlite320": "detect",
         "unet_hrf": "segment", "deeplabv3": "segment"}  # fmt: skip


@pytest.mark.parametrize(("name", "task"), NAMES.items())
def test_networks_of_other_tasks_are_known_by_name(name: str, task: str, tmp_path: Path) -> None:
    assert task_named(name) == task
    with pytest.raises(UserError, match=rf"{name}' is {TASKS[task].noun}.*phonecv train .* runs/new/best.safetensors"):
        check_named(name)
    # The command that is shown names a training of just that network.
    recipe, *settings = published_room(task).recipe_for(name).split()
    config = load_config(recipe, [*settings, f"data.path={tmp_path}", f"run.out={tmp_path}"])
    assert config.task == task
    assert name.removeprefix("v_") in (config.model.name, getattr(getattr(config, task), "architecture", ""))
    found = info(name)
    assert found.named is not None
    assert found.named.rows
    assert all(row[0] == name for row in found.named.rows)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("d_emov2_x", "did you mean 'd_emov2_xl'"),
        ("emov2_5n", "did you mean 'emov2_5m'"),
        ("v_emov2_5m:official", "is a video classifier"),
        ("runs/new/best.safetensors", "there is no file"),
    ],
)
def test_slips_are_answered(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_named(name)
    with pytest.raises(UserError, match=said):
        phonecv.generate(name)
    with pytest.raises(UserError, match=said):
        phonecv.evaluate(name, ".")


def test_a_network_of_the_catalog_makes_no_pictures() -> None:
    with pytest.raises(UserError, match=r"is a classifier, which generate does not take; .*generate takes a generator"):
        phonecv.generate("emov2_1m")
