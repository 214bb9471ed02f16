"""EMOv2-5M with every head on one GPU: how fast, how much memory, and whether training takes hold of real pictures.

    python benchmarks/segmenters_gpu.py speed                            about a minute
    python benchmarks/segmenters_gpu.py overfit --data DIR --together    five trainings share the GPU: minutes
    python benchmarks/segmenters_gpu.py overfit --data DIR --only unet   one of them; the others' results stay
    python benchmarks/segmenters_gpu.py speed --device cpu --size 64 --batch 2 --out /tmp/tried.json

`speed` times the training step as `phonecv train` runs it on a GPU (bfloat16, channels last, one kernel for AdamW) and
inference of the fused network, torchvision's mobile segmenters beside them. `overfit` trains on DIR, photographs with
label maps in ADE20K's layout, from random values and without augmentation, and asks for the mean IoU of these very
pictures: at 0.9 and more everything between file and loss works. Run it with nothing else on the GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import phonecv
from phonecv.benchmarking.count import count_parameters
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import describe_machine
from phonecv.benchmarking.timing import interleave
from phonecv.files import write_json
from phonecv.models.fusing import lay_out
from phonecv.models.headed import RawOutputs

RESULTS = Path(__file__).parent / "results" / "segmenters_gpu.json"
BACKBONE, CLASSES = "emov2_5m", 150
HEADS = ("deeplabv3", "pspnet", "semantic_fpn", "segformer", "unet")
RIVALS = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
METHOD = {
    "speed": "150 classes, random pictures, bfloat16 autocast, convolutions channels last, cuDNN's search on; training:"
    " forward, loss, backward and fused AdamW; inference: the fused network, logits at the pictures' size; candidates"
    " take turns in one process, medians; memory: peak of PyTorch's allocator beyond what was there before the network",
    "overfit": "phonecv train, fresh weights, no augmentation, the training pictures as validation pictures",
}

#: What every training that is to overfit has in common: nothing random, and a backbone that is not at first switched
#: off by its layer scales of 1e-6.
OVERFIT = (
    f"model.name={BACKBONE}",
    "model.overrides={layer_scale: 0.5}",
    "model.drop_path=0",
    "segment.options={dropout: 0}",
    "segment.reduce_zero_label=true",
    "segment.ratio=[1, 1]",
    "segment.hflip=0",
    "segment.color=0",
    "segment.balance=0.5",
    "segment.val_images=images/training",
    "segment.val_labels=annotations/training",
    "data.eval_batch_size=1",
    "optimizer.lr_batch=0",
    "schedule.epochs=10",
    "schedule.warmup_epochs=0.5",
    "schedule.warmup_lr=1e-5",
    "schedule.min_lr=1e-6",
    "schedule.scale_ends=false",
    "ema.enabled=false",
    "run.log_every=20",
    "run.eval_every=5",
    "run.precise_bn=60",
    "run.audit=false",
)


@dataclass(frozen=True)
class Plan:
    """How a head is made to overfit.

    Attributes:
        side: that pictures are brought to, the longer one; they have 448 pixels there.
        batch: pictures in a step; the logits of a batch at the pictures' size must fit several times into memory.
        passes: over the pictures in each of ten epochs.
    """

    side: int
    batch: int
    passes: int


#: The heads on the map of stride 32 see pictures enlarged. A map that coarse can't draw thin things: logits fitted to
#: the label maps of `coco-semantic` themselves reach a mean IoU of 0.84 at 448 pixels, 0.92 at 896 and 0.94 at 1120.
COARSE, FINE = Plan(1120, 6, 7), Plan(448, 15, 20)
PLANS = {"deeplabv3": COARSE, "pspnet": COARSE, "semantic_fpn": FINE, "segformer": FINE, "unet": FINE}


@dataclass(frozen=True)
class Candidate:
    """A network for `speed`.

    Attributes:
        name: as shown.
        make: builds it in training mode.
        ours: whether it takes pictures and labels and gives losses.
    """

    name: str
    make: Callable[[], nn.Module]
    ours: bool = True

    def loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """All losses together."""
        if self.ours:
            return torch.stack(list(network(images, labels).values())).sum()
        return nn.functional.cross_entropy(network(images)["out"].float(), labels)

    def deploy(self, device: torch.device) -> nn.Module:
        """The network for inference, with statistics and layer scales of a trained one."""
        network = self.make()
        settle(RawOutputs(network) if self.ours else network, size=128)
        return laid_out(phonecv.fuse(network.eval()) if self.ours else network.eval(), device)


def candidates() -> list[Candidate]:
    """torchvision's, then ours."""
    options = {"weights": None, "weights_backbone": None, "num_classes": CLASSES, "aux_loss": None}
    found = [
        Candidate(f"torchvision {name}", lambda name=name: torchvision.models.get_model(name, **options), ours=False)
        for name in RIVALS
    ]
    return found + [
        Candidate(f"{head} {BACKBONE}", lambda head=head: phonecv.create_segmenter(head, BACKBONE, num_classes=CLASSES))
        for head in HEADS
    ]


def laid_out(network: nn.Module, device: torch.device) -> nn.Module:
    """On the device, convolutions channels last, as `phonecv train` has it."""
    network.to(device)
    lay_out(network, torch.channels_last)
    return network


def peak_mib(call: Callable[[], object], before: int, device: torch.device) -> float | None:
    """Most memory that PyTorch held during a call beyond `before` bytes; None on a CPU, where it does not count."""
    call()  # cuDNN's search takes memory of its own, once
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def held(device: torch.device) -> int:
    """Bytes that PyTorch holds on the GPU just now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def training(chosen: argparse.Namespace, device: torch.device) -> dict[str, dict[str, Any]]:
    """A step of `batch` pictures: images per second and memory."""
    images, labels = inputs(chosen.batch, chosen.size, device)
    calls: dict[str, Callable[[], object]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for candidate in candidates():
        before = held(device)
        torch.manual_seed(0)
        network = laid_out(candidate.make().train(), device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

        def step(
            candidate: Candidate = candidate,
            network: nn.Module = network,
            optimizer: torch.optim.Optimizer = optimizer,
        ) -> None:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = candidate.loss(network, images, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        facts[candidate.name] = {"parameters": count_parameters(network)}
        facts[candidate.name]["memory_mib"] = peak_mib(step, before, device)
        calls[candidate.name] = step
    return timed(calls, facts, chosen.batch, chosen.seconds)


def inference(chosen: argparse.Namespace, device: torch.device) -> Iterator[tuple[int, dict[str, dict[str, Any]]]]:
    """Logits of pictures at their size, `batch` of them and one: images per second and memory."""
    networks: dict[str, tuple[nn.Module, int]] = {}
    for candidate in candidates():
        before = held(device)
        torch.manual_seed(0)
        network = candidate.deploy(device)
        networks[candidate.name] = network, held(device) - before
    for batch in (chosen.batch, 1):
        images, _ = inputs(batch, chosen.size, device)
        calls: dict[str, Callable[[], object]] = {}
        facts: dict[str, dict[str, Any]] = {}
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
            for name, (network, own) in networks.items():
                calls[name] = lambda network=network, images=images: network(images)
                facts[name] = {"parameters": count_parameters(network)}
                facts[name]["memory_mib"] = peak_mib(calls[name], held(device) - own, device)
            found = timed(calls, facts, batch, chosen.seconds)
        yield batch, found


def inputs(batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random pictures with values in 0..1, and label maps."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(batch, 3, size, size, generator=generator)
    return images.to(device), torch.randint(CLASSES, (batch, size, size), generator=generator).to(device)


def timed(
    calls: dict[str, Callable[[], object]], facts: dict[str, dict[str, Any]], batch: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Time the candidates in turns; a call ends when the GPU has finished."""
    timings = interleave(calls, rounds=10, warmup=5, seconds=seconds)
    for name, timing in timings.items():
        facts[name] |= {
            "milliseconds": round(timing.median * 1e3, 2),
            "spread": round(timing.spread, 3),
            "images_per_second": round(batch / timing.median, 1),
            "rounds": len(timing.times),
        }
        memory = facts[name]["memory_mib"]
        print(
            f"  {name:42} {facts[name]['milliseconds']:9.2f} ms {facts[name]['images_per_second']:9.1f} images/s"
            + ("" if memory is None else f" {memory:9.0f} MiB"),
            flush=True,
        )
    return facts


def speed(chosen: argparse.Namespace, keep: Callable[[str, Any], None]) -> None:
    """Training step and inference of every head, and torchvision's two."""
    device = torch.device(chosen.device)
    torch.backends.cudnn.benchmark = True  # as `phonecv train` has it
    found: dict[str, Any] = {"size": chosen.size, "tables": {}}
    print(f"training, {chosen.size} px", flush=True)
    found["tables"][f"training, batch {chosen.batch}"] = {"batch": chosen.batch, "rows": training(chosen, device)}
    keep("speed", found)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    print("inference", flush=True)
    for batch, rows in inference(chosen, device):
        found["tables"][f"inference, batch {batch}"] = {"batch": batch, "rows": rows}
        keep("speed", found)


def command(head: str, chosen: argparse.Namespace, run: Path) -> list[str]:
    """Arguments of `phonecv train` for a head."""
    plan = PLANS[head]
    side = chosen.size or plan.side
    return [
        "segment_scratch",
        f"segment.architecture={head}",
        *OVERFIT,
        f"segment.crop={side}",
        f"segment.multiple={side}",
        f"data.size={side}",
        f"data.longest={side}",
        f"data.batch_size={chosen.batch or plan.batch}",
        f"data.passes={max(1, round(chosen.effort * plan.passes))}",
        f"data.workers={chosen.workers}",
        f"optimizer.lr={chosen.lr}",
        f"run.device={chosen.device}",
        *chosen.set,
        "--data",
        str(chosen.data),
        "--out",
        str(run),
    ]


def overfit(chosen: argparse.Namespace, keep: Callable[[str, Any], None]) -> None:
    """Every head on the pictures of a folder, by the command line; all at once with --together."""
    heads = [head for head in HEADS if chosen.only in (None, head)]
    with tempfile.TemporaryDirectory() as temporary:
        found: dict[str, Any] = {"together": chosen.together, "heads": {}}
        for head, run, seconds in trained(heads, chosen, Path(temporary)):
            shown = [("DIR" if part == str(chosen.data) else part) for part in command(head, chosen, Path("RUN"))]
            found["heads"][head] = outcome(run) | {
                "seconds": seconds,
                "command": shlex.join(["phonecv", "train", *shown]),
            }
            row = found["heads"][head]
            print(f"{head}: mIoU {row['miou']} aAcc {row['aacc']}, {row['images_per_second']} images/s, {seconds} s")
            keep("overfit", found)


def trained(heads: list[str], chosen: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, float]]:
    """Head, run folder and seconds of every training, as they end; what they print goes to files beside."""
    waiting = list(heads)
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    with ExitStack() as stack:
        while waiting or running:
            while waiting and (chosen.together or not running):
                head = waiting.pop(0)
                log = stack.enter_context((folder / f"{head}.log").open("wb"))
                call = [sys.executable, "-m", "phonecv", "train", *command(head, chosen, folder / head)]
                process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT)
                stack.callback(process.kill)
                running[head] = process, time.perf_counter()
            for head, (process, start) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[head]
                text = (folder / f"{head}.log").read_text(encoding="utf-8", errors="replace")
                if process.returncode:
                    print(f"{head} failed with status {process.returncode}:\n{text[-3000:]}", flush=True)
                    continue
                print(f"--- {head}\n{text[-1500:]}", flush=True)
                yield head, folder / head, round(time.perf_counter() - start, 1)
            time.sleep(0.2)


def outcome(run: Path) -> dict[str, Any]:
    """What a run folder says: figures of the training pictures after the last epoch, and how fast it went."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["images_per_second"]) for row in rows if row["images_per_second"]]
    evaluated = [row for row in rows if row["val_miou"]]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return {
        "miou": round(float(evaluated[-1]["val_miou"]) / 100, 4),
        "aacc": round(float(evaluated[-1]["val_aacc"]) / 100, 4),
        "halfway": {row["epoch"]: round(float(row["val_miou"]) / 100, 4) for row in evaluated[:-1]},
        "loss": float(rows[-1]["train_loss"]),
        "steps": summary["step"],
        "images_per_second": round(statistics.median(rates), 1),
        "train_seconds": summary["seconds"],
        "memory_mib": summary.get("gpu_memory_mib"),
    }


def main() -> None:
    """Run a part, and renew it in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "overfit"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, help="side of the pictures; 512 for speed, the head's own for overfit")
    parser.add_argument("--batch", type=int, help="16 for speed, the head's own for overfit")
    parser.add_argument("--seconds", type=float, default=6.0, help="speed: time limit of the rounds of each table")
    parser.add_argument("--data", type=Path, help="overfit: folder of the data set")
    parser.add_argument("--only", choices=HEADS, help="overfit: one head")
    parser.add_argument("--together", action="store_true", help="overfit: all at the same time")
    parser.add_argument("--effort", type=float, default=1.0, help="overfit: factor on the passes over the pictures")
    parser.add_argument("--lr", type=float, default=1e-3, help="overfit: peak learning rate")
    parser.add_argument("--workers", type=int, default=3, help="overfit: loader processes of each training")
    parser.add_argument("--set", nargs="*", default=[], help="overfit: further settings of phonecv train")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    if (chosen.part == "overfit") != (chosen.data is not None):
        parser.error("overfit needs --data DIR, speed makes its own pictures")
    if chosen.part == "speed":
        chosen.size, chosen.batch = chosen.size or 512, chosen.batch or 16
    results: dict[str, Any] = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else {}

    def keep(part: str, found: Any) -> None:
        if chosen.only:
            found = found | {"heads": results.get(part, {}).get("heads", {}) | found["heads"]}
        machine = describe_machine()
        about = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "method": METHOD[part]}
        results[part] = about | found
        write_json(chosen.out, results)

    {"speed": speed, "overfit": overfit}[chosen.part](chosen, keep)
    print(f"written: {chosen.out}")


if __name__ == "__main__":
    main()
