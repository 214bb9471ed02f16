"""What every way to int8 costs a real network: Apple's MobileOne-S0, runtime by runtime, method by method.

    python benchmarks/quantization.py --weights FILE --calibration DIR --test DIR [--test DIR] [--formats onnx,...]
    python benchmarks/quantization.py ... --final
    python benchmarks/quantization.py ... --latency

FILE is the fused checkpoint. The pictures of --calibration (a folder of labelled pictures) are split: every second one
calibrates, the others choose. The first command scores all methods on the pictures that choose. --final takes for each
format the method that the logits speak for (best signal-to-noise among those whose top-1 is within two standard errors
of the best; layers in float, which cost speed, only for a decibel more) and scores its file on every --test folder:
once, a second time is refused unless --again says why, and then the first score stays in the file under "earlier".
--latency times the chosen file against the float32 file of the same runtime, one thread on one core, in turns; the
machine should be quiet.

Writes benchmarks/results/quantization.json, format by format, so the steps can be done one at a time. Methods take 10
to 60 seconds each on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from phonecv.benchmarking.against_float32 import ROUNDS, compare
from phonecv.benchmarking.machine import describe_machine, disturbances
from phonecv.classify.quantizing import ClassifyWorkshop, score
from phonecv.classify.quantizing_data import SCORE, Pictures, find, split_data
from phonecv.create import load_network
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.run import in_form
from phonecv.files import write_json
from phonecv.quantization.data import refuse_shared
from phonecv.quantization.methods import RANGES_MINMAX, Method, methods_for
from phonecv.quantization.scoring import Score

RESULTS = Path(__file__).parent / "results" / "quantization.json"
FORMATS = ("onnx", "openvino", "executorch", "litert")
#: Decibels that layers in floating point have to gain.
WORTH = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True, help="half of them calibrate, half choose")
    parser.add_argument("--test", type=Path, action="append", default=[], help="labelled pictures of the last word")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--methods", default="", help="only these, by name, separated by semicolons")
    parser.add_argument("--final", action="store_true", help="score the chosen files on --test, once")
    parser.add_argument("--again", default="", metavar="WHY", help="with --final: why files are scored anew")
    parser.add_argument("--latency", action="store_true", help="time the chosen files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    network = in_form(load_network(chosen.weights), "deploy")
    workshop = ClassifyWorkshop(network, *split_data(chosen.calibration, network))
    results = opened(chosen.out, workshop, network.name)
    for format in chosen.formats.split(","):
        entry = results["formats"].setdefault(format, {"trials": []})
        if chosen.final:
            finish(entry, workshop, format, chosen.test, chosen.again)
        elif chosen.latency:
            time_chosen(entry, workshop, format)
        else:
            wanted = {name.strip() for name in chosen.methods.split(";") if name.strip()}
            for method in methods(workshop, format):
                if not wanted or method.name in wanted:
                    attempt(entry, workshop, format, method)
                    write_json(chosen.out, results)
        write_json(chosen.out, results)


def methods(workshop: ClassifyWorkshop, format: str) -> list[Method]:
    """Plain extremes, which no one should use, and all that `phonecv quantize` tries."""
    settings = {**RANGES_MINMAX.settings, **({"bias": "none"} if format == "openvino" else {})}
    return [replace(RANGES_MINMAX, settings=settings), *methods_for(format, "int8", workshop.network)]


def opened(path: Path, workshop: ClassifyWorkshop, name: str) -> dict[str, Any]:
    """The results so far."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    own = score(workshop.reference, workshop.reference, workshop.choosing.labels)
    state = workshop.network.state_dict()
    return {
        "what": "int8 of MobileOne-S0 with Apple's weights: top-1 after quantization, by runtime and method",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "model": name,
        "parameters_bytes": sum(value.numel() * value.element_size() for value in state.values()),
        "calibration": {"pictures": len(workshop.calibration), "from": workshop.calibration.paths[0].parents[2].name},
        "choosing": {"pictures": len(workshop.choosing), "float32": own.to_dict()},
        "method": "every second picture of a folder calibrates, the others choose; drop: points of top-1 below float32"
        " on the same pictures; standard_error: of that difference, from the pictures whose answer changed; decibels:"
        " signal-to-noise ratio of the logits",
        "layers": [noise.to_dict() for noise in workshop.noise()],
        "formats": {},
    }


def attempt(entry: dict[str, Any], workshop: ClassifyWorkshop, format: str, method: Method) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trial = workshop.attempt(method, format, Path(folder) / f"trial{EXPORTERS[format].suffix}")
    entry["trials"] = [other for other in entry["trials"] if other["method"] != method.name] + [trial.to_dict()]
    decibels = f"{trial.score.decibels:.1f} dB" if trial.score is not None else ""
    print(f"{format}: {method.name}: {trial.error or trial.score} {decibels} [{trial.seconds:.0f} s]", flush=True)


def choice(entry: dict[str, Any], workshop: ClassifyWorkshop, format: str) -> Method:
    """The method with the cleanest logits among those whose top-1 is as good as the best, as far as can be told.

    Layers in floating point have to be worth `WORTH` decibels: they make a file slower, most of all in ONNX Runtime.
    """
    scored = [trial for trial in entry["trials"] if trial["score"] is not None]
    best = min((trial["score"] for trial in scored), key=lambda score: score["drop"])

    def reach(trial: dict[str, Any]) -> float:
        """Two standard errors of the difference of the two figures."""
        return 2 * math.hypot(best["standard_error"], trial["score"]["standard_error"])

    good = [trial for trial in scored if trial["score"]["drop"] <= best["drop"] + reach(trial)]
    known = {method.name: method for method in methods(workshop, format)}

    def cleanness(trial: dict[str, Any]) -> float:
        return trial["score"]["decibels"] - (WORTH if known[trial["method"]].float_layers else 0)

    return known[max(good, key=cleanness)["method"]]


def finish(entry: dict[str, Any], workshop: ClassifyWorkshop, format: str, tests: list[Path], again: str) -> None:
    if "final" in entry and not again:
        raise SystemExit(f"{format} was scored on the test pictures already; a second look would be a choice")
    method = choice(entry, workshop, format)
    if "final" in entry:
        if method.name == entry["chosen"]:
            print(f"{format}: {method.name} is chosen as before; it is not scored again", flush=True)
            return
        first = {key: entry.pop(key) for key in ("chosen", "final", "bytes", "latency") if key in entry}
        entry["earlier"] = [*entry.get("earlier", []), first | {"why": again}]
    sets: list[tuple[str, Pictures]] = []
    for path in tests:
        pictures = find(path, workshop.network).read(workshop.network, SCORE)
        refuse_shared(pictures, workshop.calibration, workshop.choosing)
        sets.append((path.name, pictures))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"int8{EXPORTERS[format].suffix}"
        result = workshop.write(method, format, file)
        found: dict[str, Score] = {
            name: workshop.judge(file, pictures, workshop.float_outputs(pictures)) for name, pictures in sets
        }
    entry["chosen"] = method.name
    entry["bytes"] = result.bytes
    entry["runtime"] = result.checked_by
    entry["final"] = {name: value.to_dict() for name, value in found.items()}
    for name, value in found.items():
        print(f"{format}: {method.name}, {result.bytes / 1e6:.2f} MB, on {name}: {value}", flush=True)


def time_chosen(entry: dict[str, Any], workshop: ClassifyWorkshop, format: str) -> None:
    suffix = EXPORTERS[format].suffix
    with tempfile.TemporaryDirectory() as folder:
        files = {"float32": Path(folder) / f"float32{suffix}", "quantized": Path(folder) / f"int8{suffix}"}
        export(workshop.network, files["float32"], format=format, verify=False)
        entry["bytes"] = workshop.write(choice(entry, workshop, format), format, files["quantized"]).bytes
        disturbed = disturbances()
        figures = compare(files)
    entry["latency"] = {key: round(value, 4) for key, value in figures.items()} | {
        "rounds": ROUNDS,
        "threads": 1,
        "disturbances": disturbed,
    }
    print(f"{format}: {figures}", flush=True)


if __name__ == "__main__":
    main()
