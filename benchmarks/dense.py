"""Detectors and segmenters against torchvision's: inference and training step, in runs where the candidates take turns.

    python benchmarks/dense.py                         all, about ten minutes
    python benchmarks/dense.py --only "ssdlite 320"    one of GROUPS, renewed in the file
    python benchmarks/dense.py --dry                   writes nothing

Everything is built by name with random weights, classes as on COCO (detection) and ADE20K (segmentation), and gets the
same random pictures and objects; ours run in deploy form for inference. The class layer of every detector is widened
until it finds boxes as on a busy photograph: a fresh one finds nothing, and nothing is quickly sorted. Parameters stand
beside the times, because torchvision's networks are of other sizes. Run it with nothing else on the machine; it writes
this kind of processor's part of results/dense.json after every table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import phonecv
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.count import count_parameters
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.timing import interleave, ratios
from phonecv.dense.model import DenseModel
from phonecv.models.headed import RawOutputs

RESULTS = Path(__file__).parent / "results" / "dense.json"
METHOD = (
    "candidates of a table take turns in one process, bound to one core where it has one thread; medians;"
    " ratio = time of torchvision's (the first) / time of the candidate, median of the rounds' own"
)


@dataclass(frozen=True)
class Group:
    """Candidates of one task and size; the first is the baseline.

    Attributes:
        task: "detect" or "segment".
        size: height and width of the pictures.
        rival: names of torchvision's networks.
        ours: heads and backbone.
        batch: of the training step.
    """

    task: str
    size: tuple[int, int]
    rival: tuple[str, ...]
    ours: tuple[tuple[str, str], ...]
    batch: int


GROUPS = {
    "ssdlite 320": Group(
        "detect", (320, 320), ("ssdlite320_mobilenet_v3_large",),
        (("ssdlite320", "emov2_1m"), ("ssdlite320", "emov2_5m"), ("ssdlite320", "mobileone_s0")), 8,
    ),
    "retinanet 400 x 640": Group(
        "detect", (400, 640), ("retinanet_resnet50_fpn_v2",),
        (("retinanet_fpn", "emov2_1m"), ("retinanet_fpn", "emov2_5m")), 2,
    ),
    "segmentation 512": Group(
        "segment", (512, 512), ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
        (("deeplabv3", "emov2_1m"), ("deeplabv3", "emov2_5m"), ("segformer", "emov2_1m"), ("semantic_fpn", "emov2_1m"),
         ("deeplabv3", "mobileone_s0")), 4,
    ),
}  # fmt: skip


def rival(name: str, task: str, size: tuple[int, int]) -> nn.Module:
    """One of torchvision's, as its builder makes it; detectors at the pictures' own size."""
    if task == "segment":
        return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=150, aux_loss=None)
    own = {} if name.startswith("ssdlite") else {"min_size": size[0], "max_size": size[1]}
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=81, **own)


def ours(architecture: str, backbone: str, task: str, size: tuple[int, int]) -> nn.Module:
    """One of ours, at the pictures' own size."""
    from dataclasses import replace

    if task == "segment":
        return phonecv.create_segmenter(architecture, backbone, num_classes=150)
    detector = phonecv.create_detector(architecture, backbone, num_classes=80)
    if detector.preprocessing.longest is not None:
        detector.preprocessing = replace(detector.preprocessing, size=size[0], longest=size[1])
    return detector


def pictures(count: int, size: tuple[int, int]) -> Tensor:
    """Random pictures with values in 0..1."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))


def objects(count: int, size: tuple[int, int], background: int) -> list[dict[str, Tensor]]:
    """Eight objects in every picture; labels start at 1 where 0 is the background."""
    generator = torch.Generator().manual_seed(2)
    scale = torch.tensor([size[1], size[0], size[1], size[0]])
    targets = []
    for _ in range(count):
        corner = torch.rand(8, 2, generator=generator) * 0.6
        side = 0.05 + torch.rand(8, 2, generator=generator) * 0.35
        labels = torch.randint(80, (8,), generator=generator) + background
        targets.append({"boxes": torch.cat([corner, corner + side], 1) * scale, "labels": labels})
    return targets


def widen(detector: nn.Module, images: Tensor) -> int:
    """Raise the spread of a detector's class scores until it finds something; how many boxes it then finds.

    The layers are those whose outputs are classes times anchors; their weights are scaled together.
    """
    layers = [
        module
        for name, module in detector.named_modules()
        if isinstance(module, nn.Conv2d)
        and ("class" in name or "cls" in name)
        and module.bias is not None
        and module.out_channels in (80 * 9, 81 * 6, 81 * 9)
    ]
    assert layers, "no class layer found"
    found = 0
    with torch.no_grad():
        for _ in range(12):
            found = sum(len(one["boxes"]) for one in detector(list(images)))
            if found >= 100 * len(images):
                break
            for layer in layers:
                layer.weight.mul_(2)
    return found


def settled(network: nn.Module, task: str, size: tuple[int, int]) -> nn.Module:
    """Statistics and layer scales of a trained network; through the backbone where the whole needs targets."""
    if task == "segment":
        settle(RawOutputs(network) if isinstance(network, DenseModel) else network, size=128)
        return network.eval()
    body: Any = network.backbone
    settle(body.body if hasattr(body, "body") else body, size=128)
    return network.eval()


def inference(group: Group, threads: int) -> dict[str, Any]:
    """One picture at a time; detectors with boxes and scores, segmenters with logits at the picture's size."""
    images = pictures(1, group.size)
    calls: dict[str, Callable[[], object]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, make in candidates(group):
        torch.manual_seed(0)
        network = settled(make(), group.task, group.size)
        network = phonecv.fuse(network) if not name.startswith("torchvision") else network
        facts[name] = {"parameters": count_parameters(network)}
        if group.task == "detect":
            facts[name]["boxes"] = widen(network, images)
        batch = list(images) if group.task == "detect" else images
        calls[name] = lambda network=network, batch=batch: network(batch)
    with torch.inference_mode():
        return rows(calls, facts, threads)


def training(group: Group, threads: int) -> dict[str, Any]:
    """Forward, backward and update with SGD, in each one's default layout."""
    images = pictures(group.batch, group.size)
    labels = torch.randint(150, (group.batch, *group.size), generator=torch.Generator().manual_seed(3))
    calls: dict[str, Callable[[], object]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, make in candidates(group):
        torch.manual_seed(0)
        foreign = name.startswith("torchvision")
        network = make().train()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
        targets = objects(group.batch, group.size, int(foreign))

        def step(
            network: nn.Module = network,
            optimizer: torch.optim.Optimizer = optimizer,
            targets: Any = targets,
            foreign: bool = foreign,
        ) -> None:
            if group.task == "detect":
                loss = sum(network(list(images), targets).values())
            elif foreign:
                loss = nn.functional.cross_entropy(network(images)["out"], labels)
            else:
                loss = network(images, labels)["ce"]
            assert isinstance(loss, Tensor)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        facts[name] = {"parameters": count_parameters(network)}
        calls[name] = step
    return rows(calls, facts, threads)


def candidates(group: Group) -> list[tuple[str, Callable[[], nn.Module]]]:
    """Names and builders, the baseline first."""
    found: list[tuple[str, Callable[[], nn.Module]]] = [
        (f"torchvision {name}", lambda name=name: rival(name, group.task, group.size)) for name in group.rival
    ]
    return found + [
        (f"{heads} {backbone}", lambda heads=heads, backbone=backbone: ours(heads, backbone, group.task, group.size))
        for heads, backbone in group.ours
    ]


def rows(calls: dict[str, Callable[[], object]], facts: dict[str, dict[str, Any]], threads: int) -> dict[str, Any]:
    """Time the candidates in turns."""
    torch.set_num_threads(threads)
    timings = interleave(calls, rounds=20, warmup=2, seconds=25)
    compared = ratios(timings, next(iter(calls)))
    return {
        name: facts[name]
        | {
            "milliseconds": round(timing.median * 1e3, 2),
            "spread": round(timing.spread, 3),
            "ratio": round(compared[name].median, 3),
            "ratio_low": round(compared[name].low, 3),
            "ratio_high": round(compared[name].high, 3),
            "rounds": len(timing.times),
        }
        for name, timing in timings.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every group in a process of its own, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=GROUPS, help="one table of inference for each number of threads, one of training"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        group, what, threads = chosen.child
        if int(threads) == 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        measure = {"inference": inference, "training": training}[what]
        print(json.dumps(measure(GROUPS[group], int(threads))))
        return
    tables: dict[str, Any] = {} if chosen.dry else kinds_of(RESULTS).get(kind_here(), {}).get("tables", {})
    part = {"disturbances": disturbances(), "tables": tables}
    for name in [chosen.only] if chosen.only else GROUPS:
        for what, threads in [("inference", count) for count in chosen.threads] + [("training", max(chosen.threads))]:
            command = [sys.executable, __file__, "--child", name, what, str(threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            tables[f"{name}, {what}, {threads} thread{'s' * (threads > 1)}"] = found
            print(f"{name}, {what}, {threads} threads")
            for candidate, row in found.items():
                print(
                    f"  {candidate:42} {row['milliseconds']:9.1f} ms  {row['ratio']:5.2f}x"
                    f" ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})  {row['parameters']:,}",
                    flush=True,
                )
            if not chosen.dry:
                write_kind(RESULTS, {"method": METHOD}, part)


if __name__ == "__main__":
    main()
