"""What people called it elsewhere, and what it is here: hints in errors, and the tables of docs/migration.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

EMO = "EMO and EMOv2"
APPLE = "Apple's ml-mobileone"
MM = "MMPretrain, MMDetection, MMSegmentation"
PADDLE = "PaddleViT"
TIMM = "timm and torchvision"
OTHER = "Ultralytics and others"


@dataclass(frozen=True, slots=True)
class Old:
    """A name of elsewhere.

    Attributes:
        there: as a page shows it; several with commas between them.
        here: what to write instead; groups of `pattern` are put in.
        pattern: regular expression of all such names, in small letters; empty: those that `there` lists.
    """

    there: str
    here: str
    pattern: str = ""

    def names(self) -> str:
        """A regular expression of the whole name."""
        return self.pattern or "|".join(
            re.escape(name.strip().lower().rpartition("/")[2]) for name in self.there.split(",")
        )


#: Where it is from -> its names. The first that fits counts.
NAMES: dict[str, tuple[Old, ...]] = {
    EMO: (
        Old("EMO_1M ... EMO_6M", "`emo_{0}`", r"emo_([1256]m)"),
        Old("EMO2_5M_k5_hybrid_256, _512", "`emov2_{0}_{1}`", r"emo2_(\d+m)_k5_hybrid\w*?_(256|512)\w*"),
        Old("EMO2_1M_k5_hybrid ... EMO2_50M_k5_hybrid", "`emov2_{0}`", r"emo2_(\d+m)(?:_\w+)?"),
        Old("configs/emo*.py", "the recipe `emo_224` (1M and 2M: `emo_224_lrnoise`)", r"(?:cls_)?emo(?:_\w+)?\.py"),
        Old(
            "configs/emo2_256_kd.py and so on",
            "the recipe `emov2_{0}{1}`",
            r"(?:cls_)?emo2_(224|256|512)(_kd)?(?:_\w+)?",
        ),
        Old("configs/emo2_kd.py", "the recipe `emov2_224_kd`", r"(?:cls_)?emo2_kd"),
        Old("configs/emo2.py", "the recipe `emov2_224`", r"(?:cls_)?emo2"),
        Old("run.py", "`phonecv train RECIPE` (for -m train) or `phonecv eval FILE` (for -m test)"),
        Old("-c, --cfg_path", "the recipe itself: `phonecv train RECIPE`"),
        Old("-m, --mode", "the verb itself: `phonecv train` or `phonecv eval`"),
        Old("trainer.checkpoint", "`--out RUN`"),
        Old("trainer.resume_dir", "the same command again, or `phonecv train RUN/config.yaml`"),
        Old("model.model_kwargs.checkpoint_path", "`--weights FILE`"),
        Old("get_model", "`phonecv.create_model(NAME)`"),
    ),
    APPLE: (
        Old("MobileOneS0 ... MobileOneS4", "`mobileone_{0}`", r"mobileone[-_]?(s[0-4])"),
        Old("mobileone(variant='s0')", "`phonecv.create_model('mobileone_s0')`", r"mobileone(?:\(.*)?"),
        Old("reparameterize_model, reparameterize", "`phonecv.fuse(network)`, or `phonecv fuse FILE OUT`"),
        Old("inference_mode", "`form='deploy'`"),
    ),
    MM: (
        Old(
            "mobileone-s0_8xb32_in1k ... s1",
            "the recipe `mobileone_simple` with `--model mobileone_{0}`",
            r"mobileone-?(s[01])[-_]\w*",
        ),
        Old(
            "mobileone-s2_8xb32_in1k ... s4",
            "`mobileone_progressive` with `--model mobileone_{0}`",
            r"mobileone-?(s[2-4])[-_]\w*",
        ),
        Old(
            "retinanet_emo2*.py, deeplabv3, pspnet, segformer",
            "the recipe `emov2_{0}`",
            r"(retinanet|deeplabv3|pspnet|segformer)_emov?2\w*",
        ),
        Old("retinanet_emo*.py, deeplabv3, pspnet", "the recipe `emo_{0}`", r"(retinanet|deeplabv3|pspnet)_emo_?\w*"),
        Old("ssdlite_emo2*.py", "the recipe `emov2_ssdlite300` or `emov2_ssdlite512`", r"ssd\w*_emov?2\w*"),
        Old("ssdlite_emo*.py", "the recipe `emo_ssdlite320`", r"ssd\w*_emo\w*"),
        Old("mask-rcnn_emo*.py", "the recipe `emov2_mask_rcnn`", r"mask[-_]?rcnn_emo\w*"),
        Old("fpn_emo*.py, sem_fpn_emo*.py", "the recipe `emov2_semantic_fpn`", r"(?:sem(?:antic)?[-_]?)?fpn_emo\w*"),
        Old("init_model, init_detector, init_segmentor, init_recognizer", "`phonecv.load_checkpoint(None, FILE)`"),
        Old("inference_model, inference_detector, inference_segmentor", "`phonecv.predict(FILE, PICTURES)`"),
        Old("ImageClassificationInferencer, DetInferencer, MMSegInferencer", "`phonecv.predict(FILE, PICTURES)`"),
        Old("show_result, show_result_pyplot", "`phonecv.predict(FILE, PICTURES, out='found')`"),
        Old("build_classifier, build_backbone, build_model", "`phonecv.create_model(NAME)`"),
        Old("build_detector", "`phonecv.create_detector(ARCHITECTURE, BACKBONE, num_classes=N)`"),
        Old("build_segmentor", "`phonecv.create_segmenter(ARCHITECTURE, BACKBONE, num_classes=N)`"),
        Old("build_recognizer", "`phonecv.create_video_classifier(NAME, num_classes=N)`"),
        Old("switch_to_deploy, convert_classifier_to_deploy", "`phonecv.fuse(network)`, or `phonecv fuse FILE OUT`"),
        Old("Config.fromfile, Config", "`phonecv.training.load_config(RECIPE)`"),
        Old(
            "train_model, train_detector, train_segmentor, Runner",
            "`phonecv.train(phonecv.training.load_config(RECIPE))`",
        ),
        Old("single_gpu_test, multi_gpu_test", "`phonecv.evaluate(FILE, DATA)`"),
        Old("tools/train.py, tools/dist_train.sh, tools/slurm_train.sh", "`phonecv train RECIPE --data DATA`"),
        Old("tools/test.py, tools/dist_test.sh", "`phonecv eval FILE --data DATA`"),
        Old("demo/image_demo.py, video_demo.py", "`phonecv predict FILE PICTURES`"),
        Old("tools/model_converters/reparameterize_model.py", "`phonecv fuse FILE OUT`"),
        Old("tools/deployment/pytorch2onnx.py, tools/deploy.py", "`phonecv export FILE OUT.onnx`"),
        Old("tools/analysis_tools/get_flops.py", "`phonecv info FILE`"),
        Old("tools/analysis_tools/benchmark.py", "`phonecv bench FILE`"),
        Old("tools/analysis_tools/analyze_logs.py", "`curves.png` of the run, and `phonecv compare RUN RUN`"),
        Old("tools/analysis_tools/confusion_matrix.py, eval_metric.py", "`phonecv eval FILE --data DATA --out FOLDER`"),
        Old("tools/misc/print_config.py", "`phonecv train RECIPE --show`"),
        Old("tools/misc/browse_dataset.py", "`phonecv audit DATA`"),
        Old("--work-dir", "`--out RUN`"),
        Old("--cfg-options, --options", "KEY=VALUE, without an option: `schedule.epochs=30`"),
        Old("--load-from", "`--weights FILE`"),
        Old("--resume, --resume-from, --auto-resume", "the same command again: it goes on where it stopped"),
        Old("--launcher", "`--devices N` on one machine, torchrun on several"),
        Old("--gpus, --gpu-ids, --gpu-id", "`--devices N`; CUDA_VISIBLE_DEVICES says which"),
        Old("--auto-scale-lr", "`optimizer.lr_batch`: the rate follows the batch"),
        Old("--no-validate", "`run.eval_every=N`"),
        Old("--show-dir", "`--out FOLDER`"),
        Old(
            "data_preprocessor.num_classes, head.num_classes", "`model.num_classes`, by default as many as the data has"
        ),
    ),
    PADDLE: (
        Old("main_single_gpu.py, main_multi_gpu.py", "`phonecv train mobileone_paddlevit`"),
        Old("build_mobileone", "`phonecv.create_model('mobileone_s0')`"),
        Old("-cfg, --cfg", "the recipe itself: `phonecv train RECIPE`"),
        Old("-data_path, --data_path, --data-path", "`--data DATA`"),
        Old("-batch_size, --batch_size, --bs", "`--batch-size N`"),
        Old("-image_size, --image_size, --image-size", "`--input-size N`"),
        Old("-pretrained, --pretrained", "`--weights official`, or `--weights FILE`"),
        Old("-eval, --eval", "`phonecv eval FILE --data DATA`"),
        Old("-ngpus, --ngpus", "`--devices N`"),
        Old("--output, -output", "`--out RUN`"),
    ),
    TIMM: (
        Old("--data-dir", "`--data DATA`"),
        Old("--img-size", "`--input-size N`"),
        Old("-b", "`--batch-size N`"),
        Old("-j", "`--workers N`"),
        Old("--output-dir", "`--out RUN`"),
        Old("--opt", "`optimizer.name=sgd` or adamw"),
        Old("--sched, --lr-scheduler", "`schedule.decay=cosine` or poly"),
        Old("--wd", "`optimizer.weight_decay=0.05`"),
        Old("--aa, --auto-augment", "`augment.auto_augment=rand-m6-mstd0.5-inc1`"),
        Old("--model-ema", "`ema.enabled=true`"),
        Old("--test-only", "`phonecv eval FILE --data DATA`"),
        Old("create_feature_extractor, features_only", "`phonecv.create_model(NAME, out_indices=(1, 2, 3, 4))`"),
        Old("is_model", "`name in phonecv.list_models()`"),
    ),
    OTHER: (
        Old("--imgsz, --img", "`--input-size N`"),
        Old("--batch", "`--batch-size N`"),
        Old("--project, --name", "`--out RUN`"),
        Old("--device", "`run.device=cuda`, `cuda:1` or `cpu`"),
    ),
}

#: Likewise of verbs: words too common to be hints anywhere else.
VERBS: dict[str, tuple[Old, ...]] = {
    OTHER: (
        Old("val, validate, test", "`phonecv eval FILE --data DATA`"),
        Old("infer, inference, detect, segment, classify", "`phonecv predict FILE PICTURES`"),
        Old("finetune, fine-tune, fit", "`phonecv train finetune --data DATA --out RUN`"),
        Old("list", "`phonecv models`"),
        Old("deploy, reparameterize", "`phonecv fuse FILE OUT`, then `phonecv export` or `phonecv bundle`"),
        Old("benchmark, profile", "`phonecv bench FILE`"),
        Old("report", "`phonecv eval FILE --data DATA --out FOLDER`, or `phonecv compare RUN RUN`"),
    ),
}


def replacement(name: str, *, verb: bool = False) -> str | None:
    """What a name of elsewhere is here, as the end of a sentence; None for one that means nothing to us.

    Of a path the last part counts, with or without ".py"; `verb` adds the words that are only known as verbs.
    """
    last = name.lower().rpartition("/")[2]
    for source, pattern, here in _compiled(verb):
        if (
            found := pattern.fullmatch(name.lower())
            or pattern.fullmatch(last)
            or pattern.fullmatch(last.removesuffix(".py"))
        ):
            now = here.format(*(group or "" for group in found.groups()))
            return f"here it is {now} (a name of {source})" if now != f"`{name}`" else None
    return None


@cache
def _compiled(verb: bool) -> list[tuple[str, re.Pattern[str], str]]:
    tables = [*VERBS.items(), *NAMES.items()] if verb else NAMES.items()
    return [(source, re.compile(old.names()), old.here) for source, olds in tables for old in olds]


def rows(source: str) -> Iterator[tuple[str, str]]:
    """What a page shows of a source: there, and here."""
    for old in (*NAMES[source], *VERBS.get(source, ())):
        there = ", ".join(f"`{name.strip()}`" for name in old.there.split(","))
        yield there, re.sub(r"(\{\d\}_?)+", "*", old.here)
