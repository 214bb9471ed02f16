"""Accelerated networks against the networks themselves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import phonecv
from conftest import mostly_long
from exporting.dense_files import busy, busy_masks
from exporting.small import tiny
from generation.test_network import SMALL, awake, given
from phonecv.accelerating import choosing, engine, known
from phonecv.accelerating.network import Accelerated
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.devices import computes_bf16
from phonecv.errors import UserError
from phonecv.exporting.job import Job, Session
from phonecv.models import VisionModel
from segment.tiny import tiny as tiny_segmenter

pytestmark = pytest.mark.skipif(bool(RUNTIMES["openvino"].missing()), reason="OpenVINO is not installed")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHONECV_CACHE", str(folder))
        yield folder


def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for size in ((3, 80, 100), (3, 120, 64))
    ]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def plain() -> VisionModel:
    return tiny("mobileone_s0")


@pytest.fixture(scope="module")
def fast(plain: VisionModel) -> VisionModel:
    return phonecv.accelerate(plain, runtime="openvino")


def tensors(whole: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(whole) if isinstance(leaf, Tensor)]


def detector(architecture: str) -> nn.Module:
    return busy_masks() if architecture == "mask_rcnn_fpn" else busy(architecture)


def maps() -> nn.Module:
    return tiny("emov2_1m", out_indices=(1, 2, 3, 4))


CASES: dict[str, Any] = {
    "maps": (maps, lambda net: (noise(3, 3, 64, 64),)),
    "ssdlite320": (lambda: detector("ssdlite320"), lambda net: (pictures(),)),
    "retinanet_fpn": (lambda: detector("retinanet_fpn"), lambda net: (pictures(),)),
    "mask_rcnn_fpn": (lambda: detector("mask_rcnn_fpn"), lambda net: (pictures(),)),
    "segformer": (lambda: tiny_segmenter("segformer"), lambda net: (pictures(),)),
    "d_emov2": (lambda: awake(phonecv.create_generator("d_emov2_digits", num_classes=3, **SMALL)), given),
}


@pytest.mark.parametrize("case", mostly_long(CASES, "maps", "ssdlite320"))
def test_every_task_gives_what_its_network_gives(case: str) -> None:
    make, inputs = CASES[case]
    network = make().eval()
    fast = phonecv.accelerate(network, runtime="openvino")
    assert isinstance(fast, type(network))
    with torch.no_grad():
        wanted, _ = network(*inputs(network)), fast(*inputs(network))
        found = fast(*inputs(network))  # and again: what it keeps between calls went through torch.export
    assert pytree.tree_structure(found) == pytree.tree_structure(wanted)
    for want, have in zip(tensors(wanted), tensors(found), strict=True):
        torch.testing.assert_close(have, want, rtol=1e-3, atol=1e-3, check_stride=False)
    assert tensors(wanted)[0].numel()


def test_any_number_of_rows_and_other_sizes(plain: VisionModel, fast: VisionModel) -> None:
    with torch.no_grad():
        for shape in ((1, 3, 64, 64), (5, 3, 64, 64), (0, 3, 64, 64), (2, 3, 96, 64)):
            torch.testing.assert_close(fast(noise(*shape)), plain(noise(*shape)), rtol=1e-4, atol=1e-4)
        turned = noise(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(fast(turned), plain(turned), rtol=1e-4, atol=1e-4)
        with pytest.raises(RuntimeError, match=r"channels|convolution"):  # as PyTorch says it
            fast(noise(2, 4, 64, 64))


def test_several_threads_compute_rows_side_by_side(plain: VisionModel) -> None:
    fast = phonecv.accelerate(plain, runtime="openvino", threads=2)
    with torch.no_grad():
        torch.testing.assert_close(fast(noise(7, 3, 64, 64)), plain(noise(7, 3, 64, 64)), rtol=1e-4, atol=1e-4)
    assert "2 threads" in repr(fast)


def test_it_is_for_inference_alone(plain: VisionModel, fast: VisionModel) -> None:
    assert not fast.training
    assert fast.eval() is fast
    assert fast.cpu().float().to("cpu") is fast
    for step in (fast.train, fast.half, fast.requires_grad_, lambda: fast.load_state_dict(plain.state_dict())):
        with pytest.raises(UserError, match="accelerate"):
            step()
    with pytest.raises(UserError, match="gradient"):
        fast(noise(1, 3, 64, 64).requires_grad_())
    assert "OpenVINO" in repr(fast)
    assert "ms a row" in repr(fast)
    assert fast.class_names == plain.class_names


def test_copies_and_pickles_run_as_well(plain: VisionModel, fast: VisionModel) -> None:
    wanted = fast(noise(2, 3, 64, 64))
    copied: Any = copy.deepcopy(fast)
    copied.class_names = ("other",)
    assert fast.class_names == plain.class_names
    read = pickle.loads(pickle.dumps(copied))
    assert isinstance(read, Accelerated)
    assert read.runtime == copied.runtime
    assert read.class_names == ("other",)
    assert torch.equal(copied(noise(2, 3, 64, 64)), wanted)
    torch.testing.assert_close(read(noise(2, 3, 64, 64)), wanted)


def test_what_differs_is_refused_with_the_figure(plain: VisionModel) -> None:
    with pytest.raises(UserError, match=r"OpenVINO differs from PyTorch by \d\.\de-0\d .* 1e-12 is allowed"):
        phonecv.accelerate(plain, runtime="openvino", max_diff=1e-12)


@pytest.mark.skipif(not computes_bf16(), reason="the processor does not compute in bfloat16")
def test_bf16_has_a_tolerance_of_its_own(plain: VisionModel) -> None:
    fast = phonecv.accelerate(plain, runtime="openvino", precision="bf16")
    with torch.no_grad():
        wanted, found = plain(noise(3, 3, 64, 64)), fast(noise(3, 3, 64, 64))
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    assert 1e-4 < difference < engine.LIMITS["bf16"]


def halved(job: Job) -> Session:
    return Session(lambda *arrays: [2 * one.numpy() for one in job.module(*map(torch.from_numpy, arrays))], "wrong")


def test_the_fastest_that_is_right_is_chosen_and_remembered(
    plain: VisionModel, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    made: list[str] = []
    real = engine.session_in

    def session_in(runtime: str, job: Job, **settings: Any) -> Session:
        made.append(runtime)
        return halved(job) if runtime == "onnxruntime" else real("eager", job, **settings)

    monkeypatch.setattr(engine, "session_in", session_in)
    monkeypatch.setattr(choosing, "interleave", lambda calls, **_: {name: Took(name) for name in calls})
    network = tiny("mobileone_s0", num_classes=3)
    with torch.no_grad():
        fast: Any = phonecv.accelerate(network)
    assert set(made) == {"eager", "onnxruntime", "openvino"}
    assert fast.engine.runtime == "openvino"
    assert "ONNX Runtime was refused: ONNX Runtime differs from PyTorch" in repr(fast)
    made.clear()
    fast = phonecv.accelerate(network)
    assert made == ["openvino"]
    made.clear()
    # Other weights in the same network: what was measured holds, the outputs are compared again.
    fast = phonecv.accelerate(tiny("mobileone_s0", num_classes=3), threads=torch.get_num_threads())
    assert made == ["openvino"]
    for path in (cache / "accelerate").iterdir():
        for text in ('{"seconds": 1, "start": {}, "refused": {}}', "damaged"):
            path.write_text(text)
            assert known.recall(path.stem) is None
    phonecv.accelerate(network)
    assert "eager" in made


class Took:
    """A timing of a runtime: OpenVINO is the fastest right one."""

    def __init__(self, name: str) -> None:
        self.median = {"openvino": 1.0, "onnxruntime": 0.5, "eager": 3.0}[name]


def test_runtimes_that_are_not_there() -> None:
    network = tiny("mobileone_s0")
    with pytest.raises(UserError, match="unknown runtime 'openvin'; did you mean 'openvino'"):
        phonecv.accelerate(network, runtime="openvin")
    # Either the processor or the runtime has no bfloat16.
    with pytest.raises(UserError, match=r"no bf16 kernels|not compute in bfloat16"):
        phonecv.accelerate(network, runtime="onnxruntime", precision="bf16")
    with pytest.raises(UserError, match="no network of this package"):
        phonecv.accelerate(nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"int8.* float32, bf16"):
        phonecv.accelerate(network, precision="int8")  # type: ignore[arg-type]


def test_without_a_quick_runtime_all_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"eager", "compiled", "executorch"}
    monkeypatch.setattr(choosing, "refusal", lambda record, *_: "" if record.name in there else "missing")
    assert set(choosing.candidates("auto", "float32")) == there
    there.add("openvino")
    assert choosing.candidates("auto", "float32") == ("eager", "openvino")
    assert set(choosing.candidates("all", "float32")) == there


@pytest.mark.long
@pytest.mark.parametrize("runtime", ["compiled", "executorch", "onnxruntime", "litert", "ncnn"])
def test_every_runtime(plain: VisionModel, runtime: str) -> None:
    if RUNTIMES[runtime].missing():
        pytest.skip(f"{runtime} is not installed")
    fast = phonecv.accelerate(plain, runtime=runtime)
    with torch.no_grad():
        torch.testing.assert_close(fast(noise(3, 3, 64, 64)), plain(noise(3, 3, 64, 64)), rtol=1e-4, atol=1e-4)
