"""D-EMO against DiT on the embedded digits: equal parameters, equal steps, equal data and noise, three seeds.

    python benchmarks/generation.py                 all of it, two trainings side by side; results/generation.json
    python benchmarks/generation.py --work DIR      keeps the runs there, and goes on with those that are there
    python benchmarks/generation.py --seeds 0 --epochs 2 --dry      a trial that writes nothing

1. `phonecv samples plain`: 4000 digits to learn from, 1000 others to be compared with, white on black, 16 x 16 pixels.
2. A classifier of the real training digits (recipe digits_backbone at 32 px). How many of the held-out digits it
   reads bounds what can be asked of a generator.
3. Per seed and network the recipe generate_digits on one thread, with the same settings: the same pictures, noise and
   steps in the same order. D-EMO has EMOv2's blocks, DiT has its own; depths are chosen so that parameters agree within
   2 %, DiT having the more.
4. Of each the averaged weights of the last step draw 1000 digits, 100 of each class, without guidance and with it.
   Counted are those that the classifier reads as the class asked for, and the Frechet distance of its features from
   those of the 1000 held-out digits.

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

RESULTS = Path(__file__).parent / "results" / "generation.json"

#: Equally large.
NETWORKS = ("d_emov2_digits", "dit_digits")

#: How 1000 samples are drawn: DDIM steps, and guidance.
STEPS, GUIDANCE = 50, (1.0, 2.5)

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


def classifier(work: Path) -> dict[str, Any]:
    """A classifier of the real digits."""
    settings = ("data.size=32", "augment.color_jitter=0", "data.workers=0")
    return trained("digits_backbone", work, work / "classifier", *settings)


def generator(work: Path, network: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """One network, trained and judged."""
    run = work / f"{network}-{seed}"
    more = [f"schedule.epochs={epochs}", "schedule.warmup_epochs=0.1"] if epochs else []
    cache = f"generate.cache={work / 'kept'}"
    found = trained("generate_digits", work, run, f"model.name={network}", f"run.seed={seed}", cache, *more)
    samples = []
    for guidance in GUIDANCE:
        result = phonecv.evaluate(
            run / "last_ema.safetensors",
            work / "digits",
            out=run / f"guidance-{guidance:g}",
            features=work / "classifier" / "last_ema.safetensors",
            sampler="ddim",
            steps=STEPS,
            guidance=guidance,
            seed=seed,
            workers=0,
        )
        samples.append({"guidance": guidance, **result.measures()})
    parameters = phonecv.read_checkpoint(run / "last_ema.safetensors").parameters
    return {"network": network, "seed": seed, "parameters": parameters, **found, "samples": samples}


def verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and whether the goal is reached."""
    means: dict[str, Any] = {}
    for network in NETWORKS:
        own = [row["samples"] for row in rows if row["network"] == network]
        for place, guidance in enumerate(GUIDANCE):
            for name in ("agreement_percent", "frechet_distance"):
                values = [samples[place][name] for samples in own]
                means.setdefault(network, {})[f"{name} at {guidance:g}"] = round(sum(values) / len(values), 3)
    guided = [row["samples"][-1] for row in rows if row["network"] == NETWORKS[0]]
    pairs = [
        [row["samples"][place]["frechet_distance"] for row in rows if row["seed"] == seed]
        for seed in sorted({row["seed"] for row in rows})
        for place in range(len(GUIDANCE))
    ]
    return {
        "means": means,
        "reads_the_class": all(each["agreement_percent"] >= GOAL for each in guided),
        "nearer_than_dit": f"{sum(ours < theirs for ours, theirs in pairs)} of {len(pairs)} comparisons",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--epochs", type=int, help="of the generators, in the place of the recipe's")
    parser.add_argument("--work", type=Path, help="folder for the runs; otherwise a temporary one")
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "SEED"), help="of the jobs of this program")
    args = parser.parse_args()
    if args.one:
        network, seed = args.one
        write_json(args.work / f"{network}-{seed}-judged.json", generator(args.work, network, int(seed), args.epochs))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(args, args.work or Path(folder))


def measure(args: argparse.Namespace, work: Path) -> None:
    """Everything, in jobs of their own."""
    noise, start = disturbances(), time.perf_counter()
    phonecv.samples("plain", work / "digits")
    read_by = classifier(work)

    def judged(network: str, seed: int) -> dict[str, Any]:
        done = work / f"{network}-{seed}-judged.json"
        if not done.is_file():
            more = ["--epochs", str(args.epochs)] if args.epochs else []
            job = [sys.executable, __file__, "--one", network, str(seed), "--work", str(work), *more]
            subprocess.run(job, check=True)
        return read(done)

    with ThreadPoolExecutor(args.jobs) as pool:
        pairs = [(network, seed) for seed in args.seeds for network in NETWORKS]
        rows = list(pool.map(lambda pair: judged(*pair), pairs))
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python benchmarks/generation.py",
        "machine": describe_machine(),
        "disturbances": noise,
        "jobs": args.jobs,
        "seconds": round(time.perf_counter() - start, 1),
        "method": " ".join(str(__doc__).split("\n\n", 2)[2].split()),
        "sampling": {"sampler": "ddim", "steps": STEPS, "samples": 1000},
        "classifier": read_by,
        "generators": rows,
        "verdict": verdict(rows),
    }
    print(json.dumps({"classifier": read_by, "generators": rows, "verdict": result["verdict"]}, indent=1))
    if not args.dry:
        write_json(RESULTS, result)


if __name__ == "__main__":
    main()
