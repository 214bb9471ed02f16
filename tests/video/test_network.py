"""V-EMO: the published counts, weights of networks of pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phonecv
from conftest import TINY
from phonecv.benchmarking.count import count_cost_on, count_parameters
from phonecv.errors import UserError
from phonecv.models.clips import ClipConv
from phonecv.training import load_config
from phonecv.training.schedule import Schedule
from phonecv.video.network import VideoClassifier
from phonecv.video.published import CLASSIFIERS
from settle import settle

SMALL = TINY["emov2_1m"] | {"window": 2}


@pytest.mark.parametrize(("name", "record"), CLASSIFIERS.items())
def test_counts_of_the_table(name: str, record: tuple[int, int, float | None]) -> None:
    with torch.device("meta"):
        net = phonecv.create_video_classifier(name)
    cost = count_cost_on(net, torch.zeros(1, 3, 4, 160, 160, device="meta"))
    assert (count_parameters(net), cost.macs) == record[:2]
    assert cost.executed_macs < cost.macs


def test_published_counts() -> None:
    """5.9 M and 1.3 G in the paper, which cuts digits (table XIII)."""
    parameters, macs, _ = CLASSIFIERS["v_emov2_5m"]
    assert (parameters // 10**5, macs // 10**8) == (59, 13)


@pytest.fixture(scope="module")
def pictures_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a classifier of pictures."""
    net = settle(phonecv.create_model("emov2_1m", num_classes=5, **SMALL))
    net.class_names = tuple("abcde")
    return phonecv.save_checkpoint(net, tmp_path_factory.mktemp("weights") / "pictures.safetensors")


@pytest.mark.parametrize("form", ["training", "deploy"])
@pytest.mark.parametrize("frames", [1, 4])
def test_weights_of_pictures_say_the_same_of_still_clips(
    pictures_file: Path, tmp_path: Path, frames: int, form: str
) -> None:
    pictures = phonecv.load_checkpoint(None, pictures_file)
    if form == "deploy":
        pictures_file = phonecv.save_checkpoint(phonecv.fuse(pictures), tmp_path / "fused.safetensors")
    clips = phonecv.create_video_classifier(
        "v_emov2_1m", num_classes=5, weights=pictures_file, frames=frames, **SMALL
    ).eval()
    assert (clips.form, clips.class_names) == (form, tuple("abcde"))
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        wanted, found = pictures.eval()(x), clips(x.unsqueeze(2).expand(-1, -1, frames, -1, -1))
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_files_of_clips_come_back_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = phonecv.create_video_classifier("v_emov2_1m", num_classes=3, frames=8, dropout=0.2, **SMALL).eval()
    file = phonecv.save_checkpoint(net, tmp_path / "clips.safetensors")
    again = phonecv.load_checkpoint(None, file)
    assert isinstance(again, VideoClassifier)
    assert (again.frames, again.dropout.p, again.options) == (8, 0.2, {"frames": 8, "dropout": 0.2})
    x = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
    # As starting weights, of other classes too: the head stays fresh then.
    more = phonecv.create_video_classifier("v_emov2_1m", num_classes=7, frames=8, weights=file, **SMALL)
    state = net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in more.state_dict().items() if "head" not in name)


def test_fresh_kernels_reach_over_time_and_unused_taps_are_not_trained() -> None:
    net = phonecv.create_video_classifier("v_emov2_1m", num_classes=3, **SMALL)
    conv = net.get_submodule("backbone.stage4.0.conv_local.conv")
    assert isinstance(conv, ClipConv)
    assert [tap.weight.requires_grad for tap in conv.convolutions] == [False, True, True, True, False]
    assert all(tap.weight.std() > 0 for tap in conv.convolutions)
    net.train()(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "v_emov2_5"}, "did you mean 'v_emov2_5m'"),
        ({"frames": 3}, "frames 3 is not 1, 2 or a multiple of 4"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"weights": "absent.pth"}, "absent.pth"),
        ({"form": "fast"}, "form 'fast'"),
        ({"windows": 5}, "windows"),
    ],
)
def test_what_does_not_fit_is_said(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phonecv.create_video_classifier(**({"name": "v_emov2_1m"} | SMALL | given))  # type: ignore[arg-type]


def test_clips_of_another_length_are_refused() -> None:
    net = phonecv.create_video_classifier("v_emov2_1m", num_classes=3, **SMALL)
    with pytest.raises(UserError, match="clips of 8 frames; this network takes 4"):
        net(torch.randn(1, 3, 8, 32, 32))


def test_rates_of_the_published_log() -> None:
    """1e-4 for 256 clips: from a tenth in 30 epochs, then a half cosine down to a tenth at epoch 200."""
    config = load_config("v_emov2_k400", ["data.path=x", "run.out=y"])
    steps = 10
    parameter = torch.nn.Parameter(torch.zeros(1))
    schedule = Schedule(
        torch.optim.SGD([parameter], lr=1e-4), config.schedule, config.optimizer, steps_per_epoch=steps, batch_size=256
    )
    rates = {epoch: schedule.set(round(epoch * steps)) for epoch in (0, 15, 30, 115, 200)}
    assert rates == pytest.approx({0: 1e-5, 15: 5.5e-5, 30: 1e-4, 115: 5.5e-5, 200: 1e-5})
