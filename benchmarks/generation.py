"""Generators on the embedded digits, with equal steps, data and noise: D-EMO against DiT, and D-EMO's open choices.

    python benchmarks/generation.py                 against DiT, three seeds; results/generation.json
    python benchmarks/generation.py choices         head width, local norm; two seeds; results/generation_choices.json
    python benchmarks/generation.py --work DIR      keeps the runs there, and goes on with those that are there
    python benchmarks/generation.py --seeds 0 --epochs 2 --dry      a trial that writes nothing

1. `phonecv samples plain`: 4000 digits to learn from, 1000 others to be compared with, white on black, 16 x 16 pixels.
2. A classifier of the real training digits (recipe digits_backbone at 32 px). How many of the held-out digits it
   reads bounds what can be asked of a generator.
3. Per seed and network the recipe generate_digits on one thread, with the same settings: the same pictures, noise and
   steps in the same order. D-EMO has EMOv2's blocks, DiT has its own; depths are chosen so that parameters agree within
   2 %, DiT having the more. The choices are tried with a schedule of 800 steps in the place of 4000; what differs from
   d_emov2_digits (heads of 32 channels, layer norm and GELU behind the local convolution) is named.
4. Of each the averaged weights of the last step draw 1000 digits (of the choices 500), as many of each class, by DDIM
   in 50 steps (25), without guidance and with it. Counted are those that the classifier reads as the class asked for,
   and the Frechet distance of its features from those of the 1000 held-out digits.

Times are of one thread beside another training; processor seconds say what a training costs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import phonecv
from phonecv.benchmarking.machine import describe_machine, disturbances
from phonecv.files import write_json

RESULTS = Path(__file__).parent / "results"

#: What is compared: settings of the recipe by name. Of the first part equally large; of the second what the published
#: counts leave open.
PARTS = {
    "generation": {"d_emov2_digits": {}, "dit_digits": {"model.name": "dit_digits"}},
    "choices": {
        "d_emov2_digits": {},
        "head_dim 16": {"model.overrides": "{head_dim: 16}"},
        "head_dim 96": {"model.overrides": "{head_dim: 96}"},
        "local_norm batch": {"model.overrides": "{local_norm: batch}"},
    },
}
SEEDS = {"generation": (0, 1, 2), "choices": (0, 1)}

#: Epochs of 400 steps, where they are not the recipe's.
EPOCHS = {"choices": 2}

#: How samples are drawn: how many, in how many steps of DDIM; and guidance.
COUNT = {"generation": 1000, "choices": 500}
STEPS = {"generation": 50, "choices": 25}
GUIDANCE = (1.0, 2.5)

#: What is read with guidance has to be the class asked for in so many percent.
GOAL = 90


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def trained(recipe: str, work: Path, run: Path, *settings: str) -> dict[str, Any]:
    """Train in this process, or take what is there; what it cost, also if it was stopped in between."""
    from phonecv.training import load_config, train

    cost = run.with_suffix(".json")
    before = read(cost)["processor_seconds"] if cost.is_file() else 0.0
    start = time.process_time()
    result = train(load_config(recipe, [f"data.path={work / 'digits'}", f"run.out={run}", "run.threads=1", *settings]))
    write_json(cost, {"processor_seconds": round(before + time.process_time() - start, 1)})
    if not result.finished:
        sys.exit(f"{run} was stopped; the same command goes on from there")
    summary = read(run / "summary.json")
    return {
        "steps": summary["step"],
        "seconds": summary["seconds"],
        "processor_seconds": read(cost)["processor_seconds"],
        "last_scores": {name: round(value, 3) for name, value in summary["last_scores"].items()},
    }


def place(work: Path, part: str, network: str, seed: int) -> Path:
    """Where a run lies."""
    return work / part / f"{network.replace(' ', '_')}-{seed}"


def classifier(work: Path) -> dict[str, Any]:
    """A classifier of the real digits."""
    settings = ("data.size=32", "augment.color_jitter=0", "data.workers=0")
    return trained("digits_backbone", work, work / "classifier", *settings)


def generator(work: Path, part: str, network: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """One network, trained and judged."""
    run = place(work, part, network, seed)
    settings = PARTS[part][network] | {"run.seed": seed, "generate.cache": work / "kept"}
    if epochs:
        settings |= {"schedule.epochs": epochs, "schedule.warmup_epochs": 0.1}
    found = trained("generate_digits", work, run, *(f"{name}={value}" for name, value in settings.items()))
    samples = []
    for guidance in GUIDANCE:
        result = phonecv.evaluate(
            run / "last_ema.safetensors",
            work / "digits",
            out=run / f"guidance-{guidance:g}",
            features=work / "classifier" / "last_ema.safetensors",
            sampler="ddim",
            count=COUNT[part],
            steps=STEPS[part],
            guidance=guidance,
            seed=seed,
            workers=0,
        )
        samples.append({"guidance": guidance, **result.measures()})
    parameters = phonecv.read_checkpoint(run / "last_ema.safetensors").parameters
    return {"network": network, "seed": seed, "parameters": parameters, **found, "samples": samples}


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the seeds."""
    found: dict[str, Any] = {}
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row["samples"] for row in rows if row["network"] == network]
        for place, guidance in enumerate(GUIDANCE):
            for name in ("agreement_percent", "frechet_distance"):
                values = [samples[place][name] for samples in own]
                found.setdefault(network, {})[f"{name} at {guidance:g}"] = round(sum(values) / len(values), 3)
    return found


def verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether the goal is reached, and how often the first network is nearer than the second."""
    ours, theirs = ([row["samples"] for row in rows if row["network"] == name] for name in PARTS["generation"])
    distances = [
        [samples[place]["frechet_distance"] for samples in pair]
        for pair in zip(ours, theirs, strict=True)
        for place in range(len(GUIDANCE))
    ]
    return {
        "reads_the_class": all(samples[-1]["agreement_percent"] >= GOAL for samples in ours),
        "nearer_than_dit": f"{sum(near < far for near, far in distances)} of {len(distances)} comparisons",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, default="generation")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--epochs", type=int, help="of the generators, in the place of the recipe's")
    parser.add_argument("--work", type=Path, help="folder for the runs; otherwise a temporary one")
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "SEED"), help="of the jobs of this program")
    args = parser.parse_args()
    args.epochs = args.epochs or EPOCHS.get(args.part)
    if args.one:
        network, seed = args.one[0], int(args.one[1])
        found = generator(args.work, args.part, network, seed, args.epochs)
        write_json(judged(args.work, args.part, network, seed), found)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(args, args.work or Path(folder))


def judged(work: Path, part: str, network: str, seed: int) -> Path:
    """What was found of a run."""
    run = place(work, part, network, seed)
    return run.with_name(f"{run.name}-judged.json")


def measure(args: argparse.Namespace, work: Path) -> None:
    """Everything, in jobs of their own."""
    noise, start = disturbances(), time.perf_counter()
    if not (work / "digits").is_dir():
        phonecv.samples("plain", work / "digits")
    read_by = classifier(work)

    def one(network: str, seed: int) -> dict[str, Any]:
        done = judged(work, args.part, network, seed)
        if not done.is_file():
            more = ["--epochs", str(args.epochs)] if args.epochs else []
            job = [sys.executable, __file__, args.part, "--one", network, str(seed), "--work", str(work), *more]
            subprocess.run(job, check=True)
        return read(done)

    with ThreadPoolExecutor(args.jobs) as pool:
        pairs = [(network, seed) for seed in args.seeds or SEEDS[args.part] for network in PARTS[args.part]]
        rows = list(pool.map(lambda pair: one(*pair), pairs))
    part = "" if args.part == "generation" else f" {args.part}"
    seeds = f" --seeds {' '.join(map(str, args.seeds))}" if args.seeds else ""
    judgement = {"means": means(rows)} | (verdict(rows) if args.part == "generation" else {})
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python benchmarks/generation.py{part}{seeds}",
        "machine": describe_machine(),
        "disturbances": noise,
        "jobs": args.jobs,
        "seconds": round(time.perf_counter() - start, 1),
        "method": " ".join(str(__doc__).split("\n\n", 2)[2].split()),
        "sampling": {"sampler": "ddim", "steps": STEPS[args.part], "samples": COUNT[args.part]},
        "classifier": read_by,
        "generators": rows,
        "verdict": judgement,
    }
    print(json.dumps({"classifier": read_by, "generators": rows, "verdict": judgement}, indent=1))
    if not args.dry:
        write_json(RESULTS / f"generation{part.replace(' ', '_')}.json", result)


if __name__ == "__main__":
    main()
