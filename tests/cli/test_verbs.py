"""The verbs at work on tiny networks and small pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import phonecv
from cli.conftest import CLASSES, Run
from conftest import mostly_long
from phonecv.benchmarking import count_cost, count_parameters
from phonecv.inspection import describe_model
from phonecv.models.catalog import MODELS

FAMILIES = ["emo_1m", "emov2_1m", "mobileone_s0"]


def test_models_lists_all_and_patterns(run: Run) -> None:
    shown = run("models")
    assert shown.status == 0
    assert [line.split()[0] for line in shown.out.splitlines()[2:-2]] == list(MODELS)
    assert len(run("models", "mobileone*").out.splitlines()) == 5 + 4
    assert "openmmlab" in run("models", "mobileone_s1", "--weights").out
    assert run("models", "remote").out.count("emov2_remote_") == 4


def test_models_json_holds_the_catalog(run: Run) -> None:
    records = json.loads(run("models", "emo_*", "--json").out)
    assert [record["name"] for record in records] == ["emo_1m", "emo_2m", "emo_5m", "emo_6m"]
    assert records[0]["parameters"] == MODELS["emo_1m"].parameters
    assert records[0]["weights"][0]["licence"]


@pytest.mark.parametrize("name", mostly_long(["emo_1m", "emov2_1m", "mobileone_s0"], "emov2_1m"))
@pytest.mark.parametrize("form", ["training", "deploy"])
def test_the_stage_table_adds_up(name: str, form: str) -> None:
    """Sums of the stages, counted one by one, against the whole network counted at once."""
    found = describe_model(name, form=form, num_classes=7, size=96)
    model = phonecv.create_model(name, form=form, num_classes=7)  # type: ignore[arg-type]
    assert found.macs == count_cost(model, 96).macs
    assert found.parameters == count_parameters(model)
    assert [row.stride for row in found.stages] == [2, 4, 8, 16, 32, 0]


def test_info_of_a_name(run: Run) -> None:
    shown = run("info", "mobileone_s0", "--form", "deploy").out
    assert f"{MODELS['mobileone_s0'].deploy_parameters:,}" in shown
    assert f"{MODELS['mobileone_s0'].macs:,}" in shown
    assert "paddlevit-fused" in shown
    found = json.loads(run("info", "mobileone_s0", "--json").out)
    assert found["model"]["parameters"] == MODELS["mobileone_s0"].parameters
    assert found["file"] is None


@pytest.mark.parametrize("name", FAMILIES)
def test_info_of_a_file(name: str, run: Run, checkpoints: Path) -> None:
    shown = run("info", checkpoints / f"{name}.safetensors").out
    for words in (name, "training", "3 (red, green, blue)", "epochs 3", "centre crop 32 px"):
        assert words in shown
    found = json.loads(run("info", checkpoints / f"{name}.safetensors", "--json").out)
    model = phonecv.load_checkpoint(None, checkpoints / f"{name}.safetensors")
    assert found["model"]["parameters"] == count_parameters(model)
    assert found["model"]["macs"] == count_cost(model, 32).macs


def test_info_does_not_build_what_a_lying_record_describes(run: Run, checkpoints: Path, tmp_path: Path) -> None:
    """A record that claims a network of gigabytes is told apart without allocating it."""
    from safetensors.torch import safe_open, save_file

    with safe_open(checkpoints / "mobileone_s0.safetensors", "pt") as file:
        record = json.loads(file.metadata()["phonecv"])
    record["overrides"] = {"widths": [8192, 8192, 16384, 16384], "depths": [1, 1, 1, 1]}
    tensors = load_file(checkpoints / "mobileone_s0.safetensors")
    save_file(tensors, tmp_path / "liar.safetensors", {"format": "pt", "phonecv": json.dumps(record)})
    shown = run("info", tmp_path / "liar.safetensors")
    assert shown.status == 0
    assert "the file holds only" in shown.out


@pytest.mark.parametrize("name", FAMILIES)
def test_fuse_writes_a_deploy_file_that_agrees(name: str, run: Run, checkpoints: Path, tmp_path: Path) -> None:
    source, target = checkpoints / f"{name}.safetensors", tmp_path / "new folder" / "deploy.safetensors"
    shown = run("fuse", source, target)
    assert shown.status == 0, shown.err
    assert "largest output difference" in shown.out
    before, after = phonecv.load_checkpoint(None, source), phonecv.load_checkpoint(None, target)
    assert (before.form, after.form) == ("training", "deploy")
    assert after.class_names == CLASSES
    assert after.preprocessing == before.preprocessing
    assert f"{count_parameters(before):,}" in shown.out
    assert f"{count_parameters(after):,}" in shown.out
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected, got = before(x), after(x)
    assert (expected - got).abs().max() < 1e-5 * expected.abs().max()
    # The way it was trained, and where it came from, go along.
    record = phonecv.read_checkpoint(target).record or {}
    assert record["training"] == {"epochs": 3}
    assert record["source"] == source.name


def test_fuse_again_says_so_and_force_replaces(run: Run, checkpoints: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    run("fuse", checkpoints / "emo_1m.safetensors", target)
    first = target.read_bytes()
    assert run("fuse", checkpoints / "mobileone_s0.safetensors", target).status == 2
    assert target.read_bytes() == first
    assert "already" in run("fuse", target, tmp_path / "b.safetensors").out
    done = run("fuse", checkpoints / "mobileone_s0.safetensors", target, "--force", "--json")
    assert json.loads(done.out)["model"] == "mobileone_s0"
    assert json.loads(done.out)["difference"] < 1e-5


def test_fuse_refuses_weights_that_are_not_finite(run: Run, checkpoints: Path, tmp_path: Path) -> None:
    model = phonecv.load_checkpoint(None, checkpoints / "emo_1m.safetensors")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    broken = phonecv.save_checkpoint(model, tmp_path / "nan.safetensors")
    done = run("fuse", broken, tmp_path / "out.safetensors")
    assert done.status == 2
    assert "finite" in done.err
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "layout"), [("emo_1m", "emo"), ("emov2_1m", "emov2"), ("mobileone_s0", "apple"), ("mobileone_s0", "timm")]
)
def test_convert_there_and_back(name: str, layout: str, run: Run, tmp_path: Path) -> None:
    """Foreign files hold no architecture, so this takes the catalog's own sizes."""
    model = phonecv.create_model(name, num_classes=3).eval()
    ours = phonecv.save_checkpoint(model, tmp_path / "ours.safetensors")
    assert run("convert", ours, tmp_path / "foreign.pth", "--to", layout).status == 0
    assert phonecv.read_checkpoint(tmp_path / "foreign.pth").layout == layout
    done = run("convert", tmp_path / "foreign.pth", tmp_path / "back.safetensors", "--model", name)
    assert done.status == 0, done.err
    one, other = load_file(ours), load_file(tmp_path / "back.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_convert_asks_for_average_or_live(run: Run, tmp_path: Path) -> None:
    live = phonecv.create_model("emov2_1m", num_classes=3).eval()
    average = phonecv.create_model("emov2_1m", num_classes=3).eval()
    torch.save({"net": live.state_dict(), "net_E": average.state_dict()}, tmp_path / "ckpt.pth")
    refused = run("convert", tmp_path / "ckpt.pth", tmp_path / "a.safetensors", "--model", "emov2_1m")
    assert refused.status == 2
    for option, wanted in (("--ema", average), ("--live", live)):
        target = tmp_path / f"{option}.safetensors"
        assert run("convert", tmp_path / "ckpt.pth", target, "--model", "emov2_1m", option).status == 0
        assert torch.equal(load_file(target)["head.weight"], wanted.state_dict()["head.weight"])


def test_eval_counts_and_leaves_a_folder(run: Run, checkpoints: Path, pictures: Path, tmp_path: Path) -> None:
    done = run("eval", checkpoints / "emo_1m.safetensors", "--data", pictures, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert f"{summary['top1']}/12 top-1" in done.out
    assert {"per_class.csv", "confusion.png", "worst.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    shown = json.loads(run("eval", checkpoints / "emo_1m.safetensors", "--data", pictures, "--json").out)
    assert (shown["count"], shown["top1"]) == (12, summary["top1"])


def test_predict_reports_a_bad_picture_and_goes_on(run: Run, checkpoints: Path, pictures: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("RGB", (40, 40), "red").save(good)
    bad.write_bytes(b"no picture")
    done = run("predict", checkpoints / "emo_1m.safetensors", good, bad, pictures / "val", "--out", tmp_path / "out")
    assert done.status == 1
    lines = done.out.splitlines()
    assert len(lines) == 2 + 12 + 1
    assert any(name in lines[0] for name in CLASSES)
    assert "bad.png" in lines[1]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 13 * 3 + 1
    assert (tmp_path / "out" / "predictions.png").is_file()
    shown = json.loads(run("predict", checkpoints / "emo_1m.safetensors", good, "--topk", "1", "--json").out)
    assert len(shown[0]["predictions"]) == 1


def test_audit_fails_only_on_errors(run: Run, pictures: Path, tmp_path: Path) -> None:
    assert run("audit", pictures).status == 0
    assert run("audit", pictures, "--quick").status == 0
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("RGB", (20, 20), "red" if split == "train" else "blue").save(tmp_path / split / "a" / "good.png")
    (tmp_path / "train" / "a" / "bad.png").write_bytes(b"no picture")
    done = run("audit", tmp_path, "--json")
    assert done.status == 1
    findings = json.loads(done.out)["findings"]
    assert any("bad.png" in finding["path"] and finding["severity"] == "error" for finding in findings)


@pytest.mark.long
@pytest.mark.slow
def test_export_is_run_and_compared(run: Run, checkpoints: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    source, target = checkpoints / "mobileone_s0.safetensors", tmp_path / "s0.onnx"
    done = run("export", source, target)
    assert done.status == 0, done.err
    assert "deploy form, input 32x32" in done.out
    assert run("export", source, tmp_path, "--force").out.count("mobileone_s0.onnx")
    counts = []
    for model in (source, target):
        counts.append(json.loads(run("eval", model, "--data", pictures, "--json").out)["top1"])
    assert counts[0] == counts[1]


@pytest.mark.long
@pytest.mark.slow
def test_train_and_distill_run(run: Run, checkpoints: Path, pictures: Path, tmp_path: Path) -> None:
    """One epoch each, of a tiny network; the second run folder is taught by a checkpoint."""
    small = [
        "model.name=mobileone_s0",
        "model.weights=null",
        "model.overrides={depths: [1, 1, 2, 1], widths: [16, 24, 32, 48]}",
        "schedule.epochs=1",
        "schedule.warmup_epochs=0",
        "data.batch_size=8",
        "data.size=32",
        "data.workers=0",
        "run.progress=false",
    ]
    done = run("train", "finetune", "--data", pictures, "--out", tmp_path / "plain", *small)
    assert done.status == 0, done.err
    assert (tmp_path / "plain" / "best.safetensors").is_file()
    again = run("train", tmp_path / "plain" / "config.yaml")
    assert again.status == 0
    teacher = checkpoints / "emo_1m.safetensors"
    done = run("distill", "finetune", "--teacher", teacher, "--data", pictures, "--out", tmp_path / "taught", *small)
    assert done.status == 0, done.err
    assert "kd" in (tmp_path / "taught" / "metrics.csv").read_text().splitlines()[0]


def test_train_lists_and_shows_recipes(run: Run) -> None:
    from phonecv.training.recipe import load_config, recipe_names

    listed = run("train").out
    assert all(name in listed for name in recipe_names())
    shown = run("train", "finetune", "--show", "schedule.epochs=7", "--out", "a=b c").out
    assert "epochs: 7" in shown
    assert "out: a=b c" in shown
    assert load_config("finetune").schedule.epochs != 7
    taught = run("distill", "finetune", "--teacher", "timm:resnet18", "--weight", "2.5", "--show").out
    assert "teacher: timm:resnet18" in taught
    assert "weight: 2.5" in taught


@pytest.mark.parametrize("passed", [True, False])
def test_demo_hands_on_its_options_and_fails_when_a_promise_is_missed(
    passed: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import phonecv.demonstration

    seen = {}

    def pretend(out: Path, *, say: object, **options: object) -> SimpleNamespace:
        seen.update(options, out=out)
        return SimpleNamespace(passed=passed)

    monkeypatch.setattr(phonecv.demonstration, "demo", pretend)
    assert run("demo", "--out", "somewhere", "--seed", "3", "--epochs", "1").status == int(not passed)
    assert seen == {"out": Path("somewhere"), "seed": 3, "epochs": 1}
