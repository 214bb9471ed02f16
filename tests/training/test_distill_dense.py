"""Detectors and segmenters that learn from a larger one beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY, mostly_long
from phonecv import create_detector, create_segmenter, load_checkpoint, save_checkpoint
from phonecv.dense.distilling import Taught, channelwise
from phonecv.errors import UserError
from phonecv.training import train
from phonecv.training.groups import DistillConfig
from training.conftest import DENSE, SEGMENTERS, Configure


def test_the_divergence_is_that_of_the_sum_written_out() -> None:
    torch.manual_seed(0)
    student, teacher, T = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5, requires_grad=True), 2.0
    found = channelwise(student, teacher, T)
    p, q = (np.exp(x.detach().double().numpy().reshape(6, 20) / T) for x in (teacher, student))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    assert found.item() == pytest.approx((p * np.log(p / q)).sum(1).mean() * T**2, rel=1e-5)
    found.backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert channelwise(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    # What a channel is as a whole says nothing: places alone do.
    assert channelwise(teacher + 3, teacher).item() == pytest.approx(0, abs=1e-5)
    assert channelwise(torch.randn(1, 3, 4, 4), torch.randn(1, 3, 8, 8)).isfinite()


@pytest.mark.parametrize("architecture", mostly_long(DENSE, "ssdlite320", "segformer"))
def test_the_student_comes_nearer_and_the_teacher_stays(architecture: str, tmp_path: Path) -> None:
    options = {
        "retinanet_fpn": {"channels": 16},
        "mask_rcnn_fpn": {"channels": 16, "hidden": 16, "proposals": 20, "candidates": 20, "train_candidates": 20},
    }.get(architecture, {"channels": 16} if architecture in SEGMENTERS else {"size": 64})
    create: Any = create_segmenter if architecture in SEGMENTERS else create_detector
    torch.manual_seed(0)
    teacher, student = (
        create(architecture, "emov2_1m", num_classes=3, options=options, drop_path=0.0, **TINY["emov2_1m"])
        for _ in "ab"
    )
    for name, part in [*teacher.named_modules(), *student.named_modules()]:  # fresh heads say nearly nothing
        if isinstance(part, nn.Conv2d) and not name.startswith("backbone."):
            nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        teacher.train().network(torch.randn(8, 3, 64, 64))
    file = str(save_checkpoint(teacher.eval(), tmp_path / "teacher.safetensors"))
    config = DistillConfig(teacher=file, temperature=0.01, weight=1e4)  # maps of fresh networks are nearly flat
    taught = Taught(config, student, same_heads=architecture not in SEGMENTERS)
    before = {name: value.clone() for name, value in taught.teacher.net.state_dict().items()}
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[0, :, 8:40, 8:50] = pictures[1, :, 30:60, 4:20] = 1
    if architecture in SEGMENTERS:
        batch: Any = (pictures, torch.zeros(2, 64, 64, dtype=torch.int64))
    else:
        target = {"boxes": torch.tensor([[8.0, 8, 40, 50]]), "labels": torch.tensor([1])}
        masks = {"masks": torch.ones(1, 64, 64, dtype=torch.bool)} if architecture == "mask_rcnn_fpn" else {}
        batch = (pictures, [target | masks, target | masks])
    values = []
    for _ in range(12):
        losses = student.train()(*batch, taught.losses)
        student.zero_grad()
        losses["kd"].backward()
        given = [parameter for parameter in student.parameters() if parameter.grad is not None]
        length = sum(float(parameter.grad.square().sum()) for parameter in given)
        for parameter in given:  # a third of the way to where the slope says that the loss is zero
            parameter.data -= losses["kd"].item() / length / 3 * parameter.grad
        values.append(losses["kd"].item())
    assert len(losses) > 1
    assert 0 < values[-1] < 0.7 * values[0], values
    assert not taught.teacher.net.training
    assert all(parameter.grad is None for parameter in taught.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in taught.teacher.net.state_dict().items())


@pytest.mark.parametrize("architecture", ["ssdlite320", pytest.param("segformer", marks=pytest.mark.long)])
def test_a_taught_run_logs_its_losses(architecture: str, configure_dense: Configure) -> None:
    first = train(configure_dense(architecture, "schedule.epochs=1", out="teacher"))
    result = train(configure_dense(architecture, f"distill.teacher={first.last}", "schedule.epochs=1", out="taught"))
    rows = [row for row in result.steps if "kd" in row]
    assert len(rows) == 2
    names = set(rows[0]) & {"cls", "box", "ce", "kd"}
    assert all(row["loss"] == pytest.approx(sum(row[name] for name in names), rel=1e-4) for row in rows)
    assert not any("teacher" in name for name in load_checkpoint(None, str(result.last)).state_dict())


def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written(
    configure_dense: Configure, tmp_path: Path
) -> None:
    tiny = TINY["emov2_1m"]
    files = {
        "other_heads": create_detector("retinanet_fpn", "emov2_1m", num_classes=10, options={"channels": 16}, **tiny),
        "other_size": create_detector("ssdlite320", "emov2_1m", num_classes=10, options={"size": 96}, **tiny),
        "other_classes": create_detector("ssdlite320", "emov2_1m", num_classes=4, options={"size": 64}, **tiny),
        "segmenter": create_segmenter("segformer", "emov2_1m", num_classes=11, options={"channels": 16}, **tiny),
    }
    swapped = create_segmenter("segformer", "emov2_1m", num_classes=11, options={"channels": 16}, **tiny)
    swapped.class_names = tuple(f"{n}" for n in reversed(range(11)))
    for name, net in files.items():
        save_checkpoint(net, tmp_path / f"{name}.safetensors")
    for architecture, name, told in (
        ("ssdlite320", "other_heads", "has architecture retinanet_fpn, the student ssdlite320"),
        ("ssdlite320", "other_size", "has options"),
        ("ssdlite320", "other_classes", "knows 4 classes, the student 10"),
        ("ssdlite320", "segmenter", "is a segmenter, not a detector"),
        ("segformer", "absent", "no such file; a segmenter is taught by a checkpoint of one"),
    ):
        config = configure_dense(architecture, f"distill.teacher={tmp_path / name}.safetensors")
        with pytest.raises(UserError, match=told):
            train(config)
        assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"distill.kind is for classifiers, a detector has no use"):
        configure_dense("ssdlite320", "distill.kind=hard")


def test_how_boxes_are_chosen_does_not_matter(tmp_path: Path) -> None:
    tiny, options = TINY["emov2_1m"], {"size": 64, "score_threshold": 0.2}
    teacher = create_detector("ssdlite320", "emov2_1m", num_classes=10, options=options, **tiny)
    file = str(save_checkpoint(teacher, tmp_path / "teacher.safetensors"))
    options = {"size": 64, "tiles": {"side": 64}, "max_detections": 9}
    student = create_detector("ssdlite320", "emov2_1m", num_classes=10, options=options, **tiny)
    assert Taught(DistillConfig(teacher=file), student, same_heads=True).teacher.name == file


def test_classes_in_another_order_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny = TINY["emov2_1m"]

    def made(*names: str) -> object:
        net = create_segmenter("segformer", "emov2_1m", num_classes=3, options={"channels": 16}, **tiny)
        net.class_names = names
        return net

    teacher: object = made("sky", "road", "car")
    file = str(save_checkpoint(teacher, tmp_path / "teacher.safetensors"))  # type: ignore[arg-type]
    for names, told in ((("road", "sky", "car"), "in another order"), (("sky", "street", "car"), "")):
        student = made(*names)
        if told:
            with pytest.raises(UserError, match=told):
                Taught(DistillConfig(teacher=file), student, same_heads=False)  # type: ignore[arg-type]
        else:
            Taught(DistillConfig(teacher=file), student, same_heads=False)  # type: ignore[arg-type]
            assert "are taken to be the same" in caplog.text


def test_segmenters_learn_from_any_heads(tmp_path: Path) -> None:
    tiny = TINY["emov2_1m"]
    teacher = create_segmenter("deeplabv3", "emov2_1m", num_classes=3, options={"channels": 16}, **tiny)
    student = create_segmenter("segformer", "emov2_1m", num_classes=3, options={"channels": 16}, **tiny)
    file = str(save_checkpoint(teacher.eval(), tmp_path / "teacher.safetensors"))
    taught = Taught(DistillConfig(teacher=file), student, same_heads=False)
    pictures, labels = torch.rand(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    losses = student.train()(pictures, labels, taught.losses)
    assert list(losses) == ["ce", "kd"]
    losses["kd"].backward()
    assert any(parameter.grad is not None for parameter in student.parameters())
    assert sorted(SEGMENTERS) == ["deeplabv3", "segformer"]
