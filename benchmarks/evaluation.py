"""Evaluating a checkpoint on a folder of pictures, whole processes: `phonecv eval` against a plain torchvision loop.

    python benchmarks/evaluation.py CHECKPOINT --data DIR [DIR ...]

CHECKPOINT is Apple's MobileOne-S0 in deploy form. Each DIR holds `val/<WordNet id>/` folders, one of them also
`classes.txt` with a line `index id name` per class. The pictures are linked into a temporary folder over and over
until there are enough. Both candidates run the same network on the same pixels in processes of their own, in turns;
interpreter start, imports and what is written count. Ours draws a confusion matrix and the worst pictures as well.
Both have to find the same numbers of right answers, or there is no result.

Writes benchmarks/results/evaluation.json. Takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phonecv.benchmarking.machine import describe_machine, disturbances
from phonecv.benchmarking.timing import Timing, ratios
from phonecv.files import write_json

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
PLAIN = Path(__file__).with_name("plain_evaluation.py")


def main() -> None:
    """Run the rounds and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with val/<WordNet id>/")
    parser.add_argument("--images", type=int, default=2000, help="pictures, at least (default 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (default 5)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data, run = Path(temporary) / "data", Path(temporary) / "run"
        count = link(chosen.data, data, chosen.images)
        checkpoint = str(chosen.checkpoint)
        commands = {
            "plain loop": [sys.executable, str(PLAIN), checkpoint, str(data / "val"), str(data / "classes.txt")],
            "phonecv eval": [
                sys.executable, "-m", "phonecv", "eval", checkpoint, "--data", str(data), "--out", str(run), "--json",
            ],
        }  # fmt: skip
        wall: dict[str, list[float]] = {name: [] for name in commands}
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        counts: dict[str, dict[str, int]] = {}
        for number in range(chosen.rounds):
            for name in list(commands)[:: -1 if number % 2 else 1]:
                seconds, used, counts[name] = timed(commands[name])
                wall[name].append(seconds)
                cpu[name].append(used)
                print(f"{name:14} {seconds:6.1f} s, processor {used:6.1f} s, {counts[name]}", flush=True)
            if counts["plain loop"] != counts["phonecv eval"]:
                raise SystemExit(f"the candidates disagree: {counts}")
    results = {
        "what": "evaluating MobileOne-S0 on a folder: seconds of the whole process",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "disturbances": disturbances(),
        "method": f"{chosen.rounds} rounds, candidates in turns; wall time, and processor time with all child"
        " processes; medians; ratio = plain loop / phonecv eval, median of the rounds' own",
        "images": count,
        "right": counts["phonecv eval"],
        "wall": table(wall, count),
        "processor": table(cpu, count),
    }
    write_json(chosen.out, results)
    print(json.dumps({"wall": results["wall"], "processor": results["processor"]}, indent=1))
    print(f"written: {chosen.out}")


def timed(command: Sequence[str]) -> tuple[float, float, dict[str, int]]:
    """Seconds by the clock, seconds of processor time, and what was counted."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    text, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)  # with the usage of the worker processes it waited for
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    found = json.loads(text[text.index("{") :])
    return seconds, usage.ru_utime + usage.ru_stime, {key: found[key] for key in ("count", "top1", "top5")}


def table(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Medians, spread and ratio of the candidates."""
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    ratio = ratios(timings, "plain loop")
    return {
        name: {
            "seconds": round(timing.median, 2),
            "spread": round(timing.spread, 3),
            "ms_per_image": round(1000 * timing.median / count, 3),
            "ratio": {key: round(value, 3) for key, value in asdict(ratio[name]).items()},
        }
        for name, timing in timings.items()
    }


def link(folders: Sequence[Path], root: Path, least: int) -> int:
    """Links to the pictures of all folders, over and over until there are `least`; how many there are."""
    files = [path for folder in folders for path in sorted((folder / "val").glob("*/*")) if path.is_file()]
    if not files:
        raise SystemExit(f"no pictures in {', '.join(str(folder / 'val' / '<id>') for folder in folders)}")
    tables = [folder / "classes.txt" for folder in folders if (folder / "classes.txt").is_file()]
    if not tables:
        raise SystemExit("none of the folders holds classes.txt")
    copies = -(-least // len(files))
    for copy in range(copies):
        for number, path in enumerate(files):
            target = root / "val" / path.parent.name / f"{copy}_{number:05d}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
    shutil.copy(tables[0], root / "classes.txt")
    return copies * len(files)


if __name__ == "__main__":
    main()
