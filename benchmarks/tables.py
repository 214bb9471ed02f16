"""Tables and pictures of the documentation, made from the committed results.

`python docs/update.py` fills each block ``<!-- results NAME -->`` of the pages with ``TABLES[NAME]`` and draws
``PICTURES``. Nothing here measures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from phonecv.cli.output import markdown_table
from phonecv.tables import figure

RESULTS = Path(__file__).parent / "results"

#: Column of our networks in the tables of inference -> end of the network's name, runtime and precision.
COLUMNS = {
    "eager": (" not frozen", "eager", "float32"),
    "eager, frozen": ("", "eager", "float32"),
    "compiled": ("", "compiled", "float32"),
    "ONNX Runtime": ("", "onnxruntime", "float32"),
    "OpenVINO": ("", "openvino", "float32"),
    "OpenVINO bf16": ("", "openvino", "bf16"),
    "ONNX Runtime int8": ("", "onnxruntime", "int8"),
    "OpenVINO int8": ("", "openvino", "int8"),
}


@cache
def results(name: str) -> dict[str, Any]:
    """A committed result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _parts(start: str | tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Parts of the results of inference with their kinds of processors."""
    kinds = results("inference")["kinds"]
    return [(kind, part) for kind in kinds for part in kinds[kind]["parts"] if part["part"].startswith(start)]


def _row(part: dict[str, Any], batch: int, threads: int, **wanted: str) -> dict[str, Any] | None:
    for row in part["rows"]:
        if (row["batch"], row["threads"]) == (batch, threads) and all(row[key] == wanted[key] for key in wanted):
            return row
    return None


def against_baseline(start: str | tuple[str, ...], batches: Sequence[int], threads: int, shown: str) -> str:
    """A row per network and batch size: the baseline's time, then how many times as fast we are.

    Args:
        start: of the parts' names, one or several.
        batches: batch sizes, in order.
        threads: number of threads.
        shown: title of the baseline's column.
    """
    rows = []
    for kind, part in _parts(start):
        for batch in batches:
            base = _row(part, batch, threads, label=part["baseline"])
            if base is None:
                continue
            cells = [kind, part["part"], batch, f"{base['median_ms']:.1f} ms"]
            for after, runtime, precision in COLUMNS.values():
                row = _row(part, batch, threads, network=part["part"] + after, runtime=runtime, precision=precision)
                cells.append("" if row is None else f"{row['ratio']:.2f}")
            rows.append(cells)
    header = ["processor", "network", "batch", shown, *COLUMNS]
    return markdown_table(header, rows, right=range(2, len(header)))


def limits(threads: int) -> str:
    """How far float32 can go at all: a product at the machine's measured peak against what was reached."""
    rows = []
    for kind, part in _parts(("mobileone", "emo")):
        for batch in (1, 16):
            base = _row(part, batch, threads, label=part["baseline"])
            own = [
                row
                for row in part["rows"]
                if (row["network"], row["precision"]) == (part["part"], "float32")
                and (row["batch"], row["threads"]) == (batch, threads)
            ]
            if base is None or not own:
                continue
            best = max(own, key=lambda row: row["ratio"])
            rows.append([
                kind, part["part"], batch, f"{base['share_of_peak']:.0%}", best["runtime"],
                f"{best['share_of_peak']:.0%}", f"{best['ratio']:.2f}", f"{best['ratio'] / best['share_of_peak']:.1f}",
            ])  # fmt: skip
    header = [
        "processor", "network", "batch", "baseline, of peak", "fastest float32", "of peak", "times as fast",
        "at the peak",
    ]  # fmt: skip
    return markdown_table(header, rows, right=(2, 3, 5, 6, 7))


def detail(start: str, batches: Sequence[int], threads: int) -> str:
    """Every figure: times with their spread, ratios with theirs, share of the machine's peak."""
    rows = [
        [
            kind, row["network"], f"{row['runtime']} {row['precision']}", row["layout"], row["batch"],
            f"{row['median_ms']:.2f}", f"{row['p10_ms']:.2f} to {row['p90_ms']:.2f}", f"{row['ratio']:.2f}",
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
        ]
        for kind, part in _parts(start)
        for row in part["rows"]
        if row["batch"] in batches and row["threads"] == threads
    ]  # fmt: skip
    header = [
        "processor", "network", "runtime", "layout", "batch", "ms", "p10 to p90", "ratio", "p10 to p90", "of peak",
    ]  # fmt: skip
    return markdown_table(header, rows, right=range(4, 10))


def matched() -> str:
    """All families by published accuracy: latency in three runtimes, on the first kind of processor."""
    _, part = _parts("matched")[0]
    rows = []
    for name, known in sorted(part["accuracies"].items(), key=lambda item: item[1]["top1"]):
        times = [_row(part, 1, 1, network=name, runtime=runtime) for runtime in ("eager", "onnxruntime", "openvino")]
        title = f"**{name}**" if known["ours"] else name
        size = times[0]["height"] if times[0] else ""
        shown = ("" if row is None else f"{row['median_ms']:.1f}" for row in times)
        rows.append([title, f"{known['top1']:.1f}", size, *shown, known["source"]])
    header = ["network", "top-1 %", "input", "eager ms", "ONNX Runtime ms", "OpenVINO ms", "source of the accuracy"]
    return markdown_table(header, rows, right=range(1, 6))


def machine(name: str) -> str:
    """What the figures of a result file belong to."""
    return _machine(results(name))


def _machine(found: dict[str, Any]) -> str:
    held, versions = found["machine"], found["machine"]["versions"]
    packages = ", ".join(
        f"{key} {versions[key]}" for key in ("torch", "timm", "onnxruntime", "openvino") if key in versions
    )
    flags = ", ".join(held["flags"])
    return f"{found['date']}, {held['cpu']}, {held['cores']} cores ({flags}), Python {held['python']}, {packages}."


def operators() -> str:
    """Milliseconds by group of PyTorch's operators, before and after, per model."""
    found = results("profiles")["operators"]
    groups = list(dict.fromkeys(group for model in found.values() for side in ("before_ms", "after_ms")
                                for group in model[side]))  # fmt: skip
    rows = []
    for group in [*groups, "all"]:
        cells = [group]
        for model in found.values():
            for side in ("before_ms", "after_ms"):
                spent = sum(model[side].values()) if group == "all" else model[side].get(group)
                cells.append("" if spent is None else f"{spent:.2f}")
        rows.append(cells)
    header = ["ms", *(f"{name}, {when}" for name in found for when in ("before", "after"))]
    return markdown_table(header, rows, right=range(1, len(header)))


def layers(precision: str) -> str:
    """Share of peak of EMOv2-5M in its fastest runtime, by kind of layer."""
    (run,) = (run for run in results("profiles")["layers"] if run["precision"] == precision)
    rows = [
        [kind, item["layers"], f"{item['ms']:.1f}", f"{item['share_of_time']:.0%}", f"{item['gflop']:.2f}",
         f"{item['share_of_peak']:.0%}" if item["gflop"] else ""]
        for kind, item in sorted(run["kinds"].items(), key=lambda entry: -entry[1]["ms"])
    ]  # fmt: skip
    total = [f"**all, peak {run['peak_gflops']:.0f} GFLOP/s**", sum(item["layers"] for item in run["kinds"].values())]
    total += [f"{run['ms']:.1f}", "100%", f"{sum(item['gflop'] for item in run['kinds'].values()):.2f}"]
    rows.append([*total, f"{run['share_of_peak']:.0%}"])
    return markdown_table(["layers", "number", "ms", "of time", "GFLOP", "of peak"], rows, right=range(1, 6))


def tried() -> str:
    """Ideas against what is done: how many times as fast."""
    rows = []
    for kind, held in results("tried")["kinds"].items():
        for part in held["parts"]:
            what, _, on = part["name"].partition(":")
            found = part["candidates"]
            if what == "compiled":  # one idea a part, all on the same network
                found, on = {on: found}, "emov2_5m"
            for idea, item in found.items():
                if not idea.startswith("ours"):
                    spread = f"{item['low']:.2f} to {item['high']:.2f}"
                    rows.append([kind, what, on, idea, part["threads"], f"{item['ratio']:.2f}", spread])
    header = ["processor", "what", "on", "idea", "threads", "times as fast", "p10 to p90"]
    return markdown_table(header, rows, right=range(4, 7))


def steps(name: str) -> str:
    """Training steps: every candidate of a result file, in milliseconds and as a multiple of the baseline's speed."""
    rows = []
    for what, table in results(name)["tables"].items():
        for candidate, row in table["rows"].items():
            spread = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
            rows.append([what, candidate, f"{row['milliseconds']:.0f}", f"{row['ratio']:.2f}", spread])
    header = ["network", "candidate", "ms per step", "times as fast", "p10 to p90"]
    return markdown_table(header, rows, right=range(2, 5))


def memory() -> str:
    """What a training step keeps and needs per picture."""
    rows = [
        [model, way, f"{found['kept_mib_per_picture']:.1f}", f"{found['peak_mib_per_picture']:.1f}",
         f"{found['seconds']:.2f}"]
        for model, ways in results("memory")["tables"].items()
        for way, found in ways.items()
    ]  # fmt: skip
    header = ["network", "way", "kept, MiB per picture", "peak, MiB per picture", "s per step"]
    return markdown_table(header, rows, right=range(2, 5))


def kept() -> str:
    """What MobileOne keeps of a picture for the backward pass."""
    found = results("mobileone_training")["kept_mib_per_picture"]
    names = list(next(iter(found.values())))
    rows = [[model, *(f"{kept[name]:.1f}" for name in names)] for model, kept in found.items()]
    return markdown_table(["MiB per picture", *names], rows, right=range(1, 1 + len(names)))


def growth() -> str:
    """Exponents fitted to cost against the number of pixels and of pictures: 1 is linear."""
    columns = {
        "latency by pixels": "milliseconds_by_pixels", "from 320 px": "milliseconds_by_pixels_from_320",
        "MACs by pixels": "macs_by_pixels", "memory by pixels, from 320 px": "memory_mib_by_pixels_from_320",
        "latency by batch": "milliseconds_by_batch", "memory by batch": "memory_mib_by_batch",
    }  # fmt: skip
    rows = [
        [model, *(f"{found['exponents'][key]:.2f}" for key in columns.values())]
        for model, found in results("growth")["tables"].items()
    ]
    return markdown_table(["exponent", *columns], rows, right=range(1, 1 + len(columns)))


def reading() -> str:
    """The loaders on real pictures: processor time per picture."""
    rows = []
    for kind, part in results("input_pipeline")["kinds"].items():
        for setting, found in part["settings"].items():
            for recipe, candidates in found.items():
                if not isinstance(candidates, dict):
                    continue
                for name, row in candidates.items():
                    spread = f"{row['ratio']['low']:.2f} to {row['ratio']['high']:.2f}"
                    rows.append([kind, setting, recipe, name, f"{row['cpu_ms']:.2f}", row["images_per_core_second"],
                                 f"{row['ratio']['median']:.2f}", spread, f"{row['wall_ratio']:.2f}"])  # fmt: skip
    header = [
        "processor",
        "setting",
        "recipe",
        "loader",
        "processor ms",
        "images/s per core",
        "times as fast",
        "p10 to p90",
        "by the clock",
    ]
    return markdown_table(header, rows, right=range(4, 9))


def reading_parts() -> str:
    """Where the time of reading goes, in one process."""
    kinds = results("input_pipeline")["kinds"]
    rows = [
        [name, *(f"{part['parts'][name]:.2f}" for part in kinds.values())]
        for name in next(iter(kinds.values()))["parts"]
    ]
    return markdown_table(["ms per picture", *kinds], rows, right=range(1, 1 + len(kinds)))


def evaluation() -> str:
    """Evaluating a folder, whole processes."""
    found = results("evaluation")
    rows = [
        [name, f"{found['wall'][name]['seconds']:.1f}", f"{found['wall'][name]['ratio']['median']:.2f}",
         f"{found['processor'][name]['seconds']:.1f}", f"{found['processor'][name]['ratio']['median']:.2f}"]
        for name in found["wall"]
    ]  # fmt: skip
    header = ["candidate", "seconds", "times as fast", "processor seconds", "times as fast (processor)"]
    return markdown_table(header, rows, right=range(1, 5))


def dense(*groups: str) -> str:
    """Detectors or segmenters against torchvision's: milliseconds, and how many times as fast."""
    rows = []
    for kind, part in results("dense")["kinds"].items():
        for name, table in part["tables"].items():
            if not name.startswith(groups):
                continue
            group, what, _ = name.rsplit(", ", 2)
            for candidate, row in table.items():
                ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
                figures = (f"{row['parameters'] / 1e6:.1f}", f"{row['milliseconds']:.0f}", ratio)
                rows.append((kind, group, what, candidate, *figures))
    header = ("processor", "pictures", "", "network", "params M", "ms", "times as fast (p10 to p90)")
    return markdown_table(header, rows, right=(4, 5))


def segmenters_gpu() -> str:
    """EMOv2-5M with every head on a GPU, beside torchvision's: speed, memory, and what it overfits to."""
    found = results("segmenters_gpu")
    (training, whole, single) = (table["rows"] for table in found["speed"]["tables"].values())
    heads = found.get("overfit", {}).get("heads", {})
    rows = []
    for name, row in training.items():
        fitted = heads.get(name.partition(" ")[0])
        rows.append([
            name, f"{row['parameters'] / 1e6:.1f}", _rate(row), _gib(row), _rate(whole[name]), _gib(whole[name]),
            f"{single[name]['milliseconds']:.1f}", "" if fitted is None else f"{100 * fitted['miou']:.1f}",
        ])  # fmt: skip
    batches = [table["batch"] for table in found["speed"]["tables"].values()]
    header = [
        "network", "params M", f"training, {batches[0]} pictures: images/s", "GiB",
        f"inference, {batches[1]} pictures: images/s", "GiB", "one picture: ms", "mIoU % of what it was trained on",
    ]  # fmt: skip
    return markdown_table(header, rows, right=range(1, 8))


def _rate(row: dict[str, Any]) -> str:
    return f"{row['images_per_second']:.0f}"


def _gib(row: dict[str, Any]) -> str:
    return "" if row["memory_mib"] is None else f"{row['memory_mib'] / 1024:.1f}"


def gpu_machine(name: str, part: str) -> str:
    """GPU and versions that the figures of a part belong to."""
    found = results(name)[part]
    held, versions = found["machine"], found["machine"]["versions"]
    gpus = ", ".join(gpu["name"] for gpu in held["gpus"]) or "no GPU"
    return f"{found['date']}, {gpus}, {held['cores']} cores of {held['cpu']}, torch {versions['torch']}."


def runtimes() -> str:
    """Time in every runtime as a share of the fused network's in PyTorch with its own convolutions."""
    held = results("runtimes")["kinds"]
    found = [(processor, part) for processor in held for part in held[processor]["parts"]]
    kinds = list(dict.fromkeys((row["runtime"], row["precision"]) for _, part in found for row in part["rows"]))
    rows = []
    for processor, part in found:
        name = part["part"]
        base = _row(part, 1, 1, network=f"{name} plain")
        assert base is not None
        cells = [processor, name, f"{base['median_ms']:.1f} ms"]
        for runtime, precision in kinds:
            row = _row(part, 1, 1, network=name, runtime=runtime, precision=precision)
            cells.append("" if row is None else f"{row['median_ms'] / base['median_ms']:.2f}")
        rows.append(cells)
    titles = [f"{runtime} {precision}".replace(" float32", "") for runtime, precision in kinds]
    header = ["processor", "network", "PyTorch", *(title.replace("eager", "ours, eager") for title in titles)]
    return markdown_table(header, rows, right=range(2, len(header)))


def ncnn_switches() -> str:
    """How many times as fast ncnn is with each of its switches turned off, and how far its outputs then move."""
    rows = []
    for processor, part in results("ncnn_layers")["kinds"].items():
        for name, found in part["networks"].items():
            held = found["switches"]
            cells = [
                processor,
                name,
                f"{held['usual']['ms']:.1f} ms",
                f"{held['usual']['ms'] / held['PyTorch']['ms']:.2f}",
            ]
            for switch, row in held.items():
                if switch.startswith("without"):
                    cells.append(f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
            rows.append(cells)
    switches = ("without sgemm", "without Winograd", "without packing")
    return markdown_table(
        ["processor", "network", "ncnn", "of PyTorch's time", *switches], rows, right=range(2, 4 + len(switches))
    )


def ncnn_layers() -> str:
    """Milliseconds of ncnn by kind of layer, with their number."""
    held = results("ncnn_layers")["kinds"]
    columns = [
        (f"{processor}: {name}", found["layers"])
        for processor, part in held.items()
        for name, found in part["networks"].items()
    ]
    kinds = dict.fromkeys(kind for _, layers in reversed(columns) for kind in layers)
    rows = [
        [
            kind,
            *(
                f"{layers[kind]['ms']:.2f} ({layers[kind]['number']})" if kind in layers else ""
                for _, layers in columns
            ),
        ]
        for kind in kinds
    ]
    rows.append(["all", *(f"{sum(layer['ms'] for layer in layers.values()):.2f}" for _, layers in columns)])
    return markdown_table(["ms (layers)", *(title for title, _ in columns)], rows, right=range(1, 1 + len(columns)))


def _lost(score: dict[str, Any]) -> str:
    return f"{score['drop']:+.1f} ± {score['standard_error']:.1f}"


def quantization() -> str:
    """Every method on the pictures that choose: points of top-1 lost, and how clean the logits are."""
    formats = results("quantization")["formats"]
    names = list(dict.fromkeys(trial["method"] for entry in formats.values() for trial in entry["trials"]))
    rows = []
    for name in names:
        cells = [name]
        for entry in formats.values():
            scores = [trial["score"] for trial in entry["trials"] if trial["method"] == name]
            shown = f"{_lost(scores[0])}, {scores[0]['decibels']:.1f} dB" if scores and scores[0] else ""
            cells.append(f"**{shown}**" if entry.get("chosen") == name else shown)
        rows.append(cells)
    return markdown_table(["method", *formats], rows, right=range(1, 1 + len(formats)))


def quantization_final() -> str:
    """The chosen files: on pictures that nothing was chosen by, size, and time as a share of float32's."""
    rows = []
    for name, entry in results("quantization")["formats"].items():
        latency = entry.get("latency")
        cells = [name, entry["chosen"], f"{entry['bytes'] / 1e6:.2f}"]
        for score in entry["final"].values():
            cells.append(f"{100 * score['float_right'] / score['count']:.1f} to {score['top1']:.1f} ({_lost(score)})")
        cells.append(_lost(_together(list(entry["final"].values()))))
        cells.append("" if latency is None else f"{latency['ratio']:.2f}")
        rows.append(cells)
    tests = list(next(iter(results("quantization")["formats"].values()))["final"].items())
    titles = [f"{name} ({score['count']} pictures)" for name, score in tests]
    header = ["format", "method", "MB", *titles, "both, points lost", "time of float32's"]
    return markdown_table(header, rows, right=range(2, len(header)))


def _together(scores: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Points lost on all pictures of several sets, and the standard error of that."""
    count = sum(score["count"] for score in scores)
    lost = sum(score["count"] * score["drop"] for score in scores) / count
    return {
        "drop": lost,
        "standard_error": math.hypot(*(score["count"] * score["standard_error"] for score in scores)) / count,
    }


def quantization_signs() -> str:
    """Networks trained by `phonecv train`, as `phonecv quantize` left them, and fine-tuned in 8 bits."""
    rows = []
    for network, found in results("quantization_signs")["networks"].items():
        for name, entry in found["formats"].items():
            tuned, ratio = found["fine_tuned"][name], found.get("latency", {}).get(name, {}).get("ratio")
            last = (entry["final"], tuned.get("final"))
            scores = [f"{score['top1']:.1f} ({_lost(score)})" if score else "nothing to gain" for score in last]
            float32 = 100 * entry["final"]["float_right"] / entry["final"]["count"]
            rows.append((
                network, name, entry["chosen"]["method"], f"{entry['chosen']['bytes'] / 1e6:.2f}", f"{float32:.1f}",
                *scores, "" if ratio is None else f"{ratio:.2f}", found["kind"],
            ))  # fmt: skip
    header = (
        "network", "format", "method", "MB", "float32", "int8 (points lost)", "fine-tuned in 8 bits (points lost)",
        "time of float32's", "timed on",
    )  # fmt: skip
    return markdown_table(header, rows, right=(3, 4, 7))


def variants() -> str:
    """Every file of a network, a table for each kind of processor."""
    parts = []
    for kind, part in results("variants")["kinds"].items():
        header, rows = part["header"], part["rows"]
        parts.append(
            f"{part['network']} on {kind}, {part['threads']} thread; made, judged and timed in {part['seconds']} s:\n\n"
            + markdown_table(header, rows, right=tuple(range(3, len(header))))
        )
    return "\n\n".join(parts)


def int8_layers() -> str:
    """Where the time of EMO's and EMOv2's int8 files goes, as shares of float32's time, by runtime."""
    rows = []
    for kind, part in results("int8_layers")["kinds"].items():
        for network, runtimes in part["networks"].items():
            for runtime, found in runtimes.items():
                plain, eight = found["layers"]["float32"], found["layers"]["int8"]
                groups = [
                    one for one in dict.fromkeys([*plain, *eight]) if plain.get(one, 0) + eight.get(one, 0) > 0.02
                ]
                where = "; ".join(f"{group} {plain.get(group, 0):.2f} to {eight.get(group, 0):.2f}" for group in groups)
                tried = "; ".join(
                    f"{title.removeprefix('int8, ')} {share:.2f}"
                    for title, share in found["of_float32"].items()
                    if title not in ("float32", "int8")
                )
                rows.append((kind, network, runtime, f"**{found['of_float32']['int8']:.2f}**", where, tried))
    header = ("processor", "network", "runtime", "int8 of float32's time", "by layer, float32 to int8", "tried instead")
    return markdown_table(header, rows, right=(3,))


def distilling() -> str:
    """Few labels, with and without a teacher's features first: percent right of held-out pictures, by seed."""
    found = results("distilling")
    names = {
        "labels": "labels alone",
        "labels, longer": "labels alone, as many steps more as the features take",
        "features, labels": "features first, then labels",
    }
    seeds = [f"seed {run['seed']}" for run in found["runs"]]
    rows = [
        [names[name], *(f"{score:.2f}" for score in scores), f"{sum(scores) / len(scores):.2f}"]
        for name, scores in found["top1_percent"].items()
    ]
    return markdown_table(["trained on", *seeds, "mean"], rows, right=range(1, 2 + len(seeds)))


def startup() -> str:
    """Processor seconds of whole commands, a column for each kind of processor."""
    found = results("startup")
    rows = [
        [group, f"`{command}`", *(f"{kind['seconds'][command]:.2f}" for kind in found["kinds"].values())]
        for group, commands in found["groups"].items()
        for command in commands
    ]
    return markdown_table(["group", "command", *found["kinds"]], rows, right=range(2, 2 + len(found["kinds"])))


def accelerated() -> str:
    """Networks as modules on one thread: how many times as fast as the rivals' own, by kind of processor."""
    rows = []
    for kind, part in results("accelerated")["kinds"].items():
        for name, found in part["modules"].items():
            base, *others = found.values()
            runtimes = " / ".join(
                dict.fromkeys(one["runtime"].rpartition(" ")[0] for one in others if "runtime" in one)
            )
            ratios = [f"{found[label]['ratio']:.2f}" if label in found else "" for label in ACCELERATED]
            rows.append([kind, name, f"{base['ms']:.1f} ms", *ratios, runtimes])
    return markdown_table(["processor", "network", "rival, eager", *ACCELERATED, "run by"], rows, right=range(2, 6))


#: Columns of `accelerated`.
ACCELERATED = ("fused, eager", "accelerated, float32", "accelerated, bf16")


def accelerated_eval() -> str:
    """Whole processes of `phonecv eval` with and without a faster runtime, by kind of processor."""
    rows = []
    for kind, part in results("accelerated")["kinds"].items():
        for name, found in part["eval"].items():
            seconds = [f"{found[label]:.1f}" for label in ("eager", "auto, first", "auto")]
            rows.append([kind, name, str(found["images"]), *seconds, f"{found['ratio']:.2f}"])
    header = ["processor", "checkpoint", "pictures", "PyTorch, s", "chosen, first time, s", "later, s", "times as fast"]
    return markdown_table(header, rows, right=range(2, 7))


def kinds_machines(name: str) -> str:
    """What each column of a result by kinds of processors belongs to."""
    return "\n".join(f"- {kind}: {_machine(part)}" for kind, part in results(name)["kinds"].items())


def paper_speed() -> str:
    """How many times as fast as another network: as published, and here."""
    found = results("paper_speed")
    pairs = [(f"emov2_{size}", f"emo_{size}") for size in ("1m", "2m", "5m")]
    rivals = (("1m", "edgenext_xx_small"), ("2m", "edgenext_x_small"), ("5m", "edgenext_small"))
    pairs += [(f"emo_{size}", rival) for size, rival in rivals]
    rows = []
    for name, other in pairs:
        (cpu, gpu, phone), (other_cpu, other_gpu, other_phone) = found["paper"][name], found["paper"][other]
        published = (cpu / other_cpu, gpu / other_gpu, other_phone / phone)
        here = (
            kind["milliseconds"][other][runtime] / kind["milliseconds"][name][runtime]
            for kind in found["kinds"].values()
            for runtime in ("eager", "openvino")
        )
        rows.append([name, other, *(f"{ratio:.2f}" for ratio in (*published, *here))])
    here = [f"{kind}, {runtime}" for kind in found["kinds"] for runtime in ("eager", "OpenVINO")]
    header = ["network", "against", "paper, CPU", "paper, GPU", "paper, phone", *here]
    return markdown_table(header, rows, right=range(2, len(header)))


def generation(part: str) -> str:
    """A row per network, seed and guidance: what was read, and how far the samples are from held-out digits."""
    rows = []
    for row in results(part)["generators"]:
        for samples in row["samples"]:
            rows.append(
                (
                    row["network"],
                    f"{row['parameters'] / 1e6:.3f}",
                    row["seed"],
                    f"{samples['guidance']:g}",
                    f"{samples['agreement_percent']:.1f}",
                    f"{samples['frechet_distance']:.2f}",
                    figure(row["processor_seconds"], 0),
                )
            )
    header = ["network", "parameters M", "seed", "guidance", "read, %", "Frechet distance", "training, processor s"]
    return markdown_table(header, rows, right=range(1, len(header)))


TABLES: dict[str, Callable[[], str]] = {
    "generation": lambda: generation("generation"),
    "generation-choices": lambda: generation("generation_choices"),
    "generation-machine": lambda: machine("generation"),
    "generation-choices-machine": lambda: machine("generation_choices"),
    "accelerated": accelerated,
    "accelerated-eval": accelerated_eval,
    "accelerated-machines": lambda: kinds_machines("accelerated"),
    "startup": startup,
    "startup-machines": lambda: kinds_machines("startup"),
    "paper-speed": paper_speed,
    "paper-speed-machines": lambda: kinds_machines("paper_speed"),
    "distilling": distilling,
    "distilling-machine": lambda: machine("distilling"),
    "runtimes": runtimes,
    "runtimes-machines": lambda: kinds_machines("runtimes"),
    "ncnn-switches": ncnn_switches,
    "ncnn-layers": ncnn_layers,
    "ncnn-machines": lambda: kinds_machines("ncnn_layers"),
    "quantization": quantization,
    "quantization-final": quantization_final,
    "quantization-machine": lambda: machine("quantization"),
    "quantization-signs": quantization_signs,
    "variants": variants,
    "int8-layers": int8_layers,
    "dense-detect": lambda: dense("ssdlite", "retinanet"),
    "dense-segment": lambda: dense("segmentation"),
    "dense-machines": lambda: kinds_machines("dense"),
    "segmenters-gpu": segmenters_gpu,
    "segmenters-gpu-machine": lambda: gpu_machine("segmenters_gpu", "speed"),
    "operators": operators,
    "layers": lambda: layers("float32"),
    "layers-bf16": lambda: layers("bf16"),
    "tried": tried,
    "tried-machines": lambda: kinds_machines("tried"),
    "training": lambda: steps("training"),
    "mobileone-training": lambda: steps("mobileone_training"),
    "mobileone-kept": kept,
    "memory": memory,
    "growth": growth,
    "input": reading,
    "input-parts": reading_parts,
    "input-machines": lambda: kinds_machines("input_pipeline"),
    "evaluation": evaluation,
    "inference": lambda: against_baseline(("mobileone", "emo"), (1,), 1, "as one gets it today"),
    "inference-machines": lambda: kinds_machines("inference"),
    "inference-mobileone": lambda: against_baseline("mobileone", (1,), 1, "timm"),
    "inference-mobileone-2-threads": lambda: against_baseline("mobileone", (1,), 2, "timm"),
    "inference-mobileone-detail": lambda: detail("mobileone", (1, 16), 1),
    "inference-mobileone-detail-2-threads": lambda: detail("mobileone", (1, 16), 2),
    "inference-emo": lambda: against_baseline("emo", (1, 16), 1, "reference style"),
    "inference-emo-detail": lambda: detail("emo", (1, 16), 1),
    "inference-matched": matched,
    "inference-limits": lambda: limits(1),
}


def draw_matched(path: Path) -> None:
    """Published accuracy against latency in the fastest of the float32 runtimes."""
    from matplotlib.ticker import LogLocator, NullLocator

    from phonecv.plots import COLOURS, new_figure, save, tidy

    kind, part = _parts("matched")[0]
    families = {"mobileone": "MobileOne", "emov2": "EMOv2", "emo": "EMO"}
    series: dict[str, list[tuple[float, float, str]]] = {title: [] for title in (*families.values(), "others")}
    for name, known in part["accuracies"].items():
        rows = [row for row in part["rows"] if row["network"] == name and row["runtime"] != "eager"]
        family = families[name.partition("_")[0]] if known["ours"] else "others"
        series[family].append((min(row["median_ms"] for row in rows), known["top1"], name))
    figure = new_figure(8.4, 5.0)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    for number, (title, points) in enumerate((title, sorted(points)) for title, points in series.items() if points):
        ours = title != "others"
        colour = COLOURS[number] if ours else COLOURS[-1]
        style = {"ls": "-" if ours else "none", "marker": "o" if ours else "s"}
        axes.plot(*zip(*(point[:2] for point in points), strict=True), color=colour, lw=1.4, ms=5, label=title, **style)
        # Series take turns above and below their points, so that neighbours of two series stay legible.
        place: Any = ((-5, 5), "right") if number % 2 == 0 else ((5, -10), "left")
        for x, y, name in points:
            axes.annotate(name, (x, y), xytext=place[0], textcoords="offset points", ha=place[1], fontsize=7,
                          color=colour)  # fmt: skip
    axes.margins(x=0.12, y=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    tidy(axes)
    axes.set_xlabel(
        f"ms per picture ({kind}: batch 1, one thread, float32, the faster of ONNX Runtime and OpenVINO)", fontsize=9
    )
    axes.set_ylabel("published ImageNet-1k top-1 %", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save(figure, path, digest("inference"))


def draw_growth(path: Path) -> None:
    """Latency and memory against input side and batch, linear growth dotted beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from phonecv.files import atomic_path

    figure = Figure(figsize=(9.5, 6.8), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        ("by_size", "size", "milliseconds", "latency, ms (batch 1)"),
        ("by_size", "size", "memory_mib", "memory, MiB (batch 1)"),
        ("by_batch", "batch", "milliseconds", "latency, ms (224 px)"),
        ("by_batch", "batch", "memory_mib", "memory, MiB (224 px)"),
    )
    for axes, (table, kind, value, title) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for number, (model, found) in enumerate(results("growth")["tables"].items()):
            amounts = [row[kind] for row in found[table]]
            law = [amount**2 for amount in amounts] if kind == "size" else amounts
            values = [row[value] for row in found[table]]
            axes.plot(amounts, values, "o-", ms=4, lw=1.4, color=f"C{number}", label=model)
            # The law through the largest point: what is fixed weighs least there.
            axes.plot(amounts, [values[-1] * x / law[-1] for x in law], ":", lw=1.0, color=f"C{number}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(amounts, [str(amount) for amount in amounts])
        axes.minorticks_off()
        axes.set_xlabel("input side, pixels" if kind == "size" else "batch", fontsize=9)
        axes.set_ylabel(title, fontsize=9)
        axes.grid(True, color="#dddddd", lw=0.6)
        axes.legend(fontsize=8, frameon=False, title="dotted: linear in pixels" if kind == "size" else "dotted: linear")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Source": digest("growth")})


#: Picture, relative to docs/, -> the result file it shows and what draws it.
PICTURES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "images/inference.png": ("inference", draw_matched),
    "images/growth.png": ("growth", draw_growth),
}


def digest(name: str) -> str:
    """Marks a picture with the results it was drawn from."""
    return hashlib.sha256((RESULTS / f"{name}.json").read_bytes()).hexdigest()
