"""The groups of settings that every training has; further ones are in room "config" of a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from phonecv.settings import Range

Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, below=1)]
Triple = tuple[float, float, float]
Interpolation = Literal["bilinear", "bicubic"]
#: "auto" lets `phonecv.training.speed` choose, which says what it chose and why.
Switch = Literal["auto", True, False]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network; for a detector or segmenter the backbone, with what `detect` or `segment` puts on it.

    Attributes:
        name: catalog name (`phonecv models`); a backbone may also be "timm:NAME".
        weights: starting point: "official" or another tag of the catalog, a checkpoint file, or null for fresh values.
            With another class count than the file's, the classifier starts fresh. A backbone takes classification
            weights; a checkpoint of the same detector or segmenter fills its heads as well.
        ema_weights: which half of a training checkpoint to start from, averaged or live; null: the file must be plain.
        num_classes: null takes the count from the data.
        in_chans: channels of the pictures: 3, or 1 for gray ones; weights of RGB pictures are then summed
            over the colours. null: 3.
        drop_path: highest drop path rate; null keeps the one published with the network.
        freeze: parameters that are not trained, by the beginning of their names ("stage0", "stage1.0", also those of a
            backbone with heads); the word "backbone" means all but the classifier or the heads. Modules frozen whole
            stay in evaluation mode. "all" freezes the backbone, too, and a classifier's features are then computed once
            and kept (`data.views`); those of detectors and segmenters are too large to keep, so their backbone runs at
            every step, without gradients.
        mode: "train"; "norm_eval": BatchNorm keeps its statistics; "eval": the whole network in evaluation mode while
            it trains (statistics fixed, drop path off), EMO's fine-tuning mode, for classifiers.
        overrides: further constructor arguments, such as {window: 10}; for a backbone also {frozen_stages: 1} (stages
            0 to 1) and {norm_eval: true} (its BatchNorm alone keeps its statistics).
    """

    name: str = "emov2_1m"
    weights: str | None = None
    ema_weights: bool | None = None
    num_classes: Count | None = None
    in_chans: Literal[1, 3] | None = None
    drop_path: BelowOne | None = None
    freeze: tuple[str, ...] = ()
    mode: Literal["train", "norm_eval", "eval"] = "train"
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments: `overrides`, and what else is set of a network."""
        own = {"drop_path": self.drop_path, "in_chans": self.in_chans}
        return self.overrides | {name: value for name, value in own.items() if value is not None}


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The pictures, and how they reach the network.

    Attributes:
        path: folder with train/ and val/, or undivided (see `val`); for detection with COCO annotations, for
            segmentation with label maps.
        train_list: list file for the training split; null: the one in the folder if any, else the class folders. For
            detection and segmentation the names of the pictures that are used.
        val_list: the same for validation.
        labels: of a classifier's pictures: "one" each, of classes that exclude each other; "many": any number, each
            judged by itself; "auto" goes by the training list, and says so.
        val: share of the samples of every class that is held out for validation, look-alikes on one side, for data
            without a validation split; null: a fifth, where there is nothing to validate on. `run.seed` chooses which;
            the run folder gets the lists (split/train.txt and split/val.txt).
        batch_size: images per optimizer step, over all processes and accumulated parts.
        eval_batch_size: images per process and step in evaluation.
        size: side of the training and validation crop; null takes the network's own. For detection and segmentation the
            side of the square, or the length of the short side, that pictures are resized to.
        longest: for detectors and segmenters that keep the aspect: the most that the long side may have; null takes the
            network's own, scaled as `size` is.
        crop: validation crop share; null takes the network's own, as the next three do.
        interpolation: resize for validation.
        mean: normalisation, per channel: three numbers, or one for gray.
        std: likewise.
        bits: that the values of 16-bit gray pictures hold; null goes by the training pictures, and says so.
        repeats: repeated augmentation: each image comes this often in a row of the epoch's shuffle.
        passes: how often an epoch passes over the training split.
        balance: how much more often pictures of rare classes come in an epoch, which keeps its length: 0 (as they are)
            to 1 (every class equally often; of detectors by the rarest class of a picture). 0.5 is the square root.
        views: with model.freeze=all of a classifier: of each training picture so many views pass through the network
            once, the first as in validation, the others augmented; an epoch takes one of them. 0 keeps no features:
            every picture is augmented anew each time, and passes through the network each time. With
            distill.kind=features likewise: of so many views, all augmented, the teacher's features are kept.
        workers: loader processes per training process; null chooses from the cores.
        max_bad: share of all images, both splits together, that may be unreadable before the run stops.
    """

    path: str = ""
    train_list: str | None = None
    val_list: str | None = None
    labels: Literal["auto", "one", "many"] = "auto"
    val: Annotated[float, Range(above=0, below=1)] | None = None
    batch_size: Count = 1024
    eval_batch_size: Count = 125
    size: Count | None = None
    longest: Count | None = None
    crop: Annotated[float, Range(above=0, high=1)] | None = None
    interpolation: Interpolation | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bits: Annotated[int, Range(8, 16)] | None = None
    repeats: Count = 1
    passes: Count = 1
    balance: Share = 0.0
    views: Natural = 4
    workers: Natural | None = None
    max_bad: Share = 0.05


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """The optimizer.

    Attributes:
        name: "adamw" or "sgd".
        lr: peak learning rate for a batch of `lr_batch` images.
        lr_batch: the rate used is lr x data.batch_size / lr_batch; 0 uses lr as it is.
        betas: AdamW.
        eps: AdamW.
        momentum: SGD.
        nesterov: SGD.
        weight_decay: of the parameters that decay.
        no_decay: which do not: "emo": 1-D tensors, biases, names with alpha, beta or gamma; "norm": parameters of
            normalisation layers; "backbone_norm": those of the backbone alone, as in the published detectors and
            segmenters; "layer_norm": those of LayerNorm alone; "none": all decay.
        head_lr: factor on the rate of the heads: all of a detector or segmenter beside its backbone and neck, or the
            classifier.
        layer_decay: the rate falls by this factor from each layer to the one before: the heads (and what lies behind
            the last block) have the whole rate, the last block this share of it, the one before its square, the stem
            least. For fine-tuning, 0.65 to 0.9; null for one rate.
        clip: largest global L2 norm of the gradient; null for no clipping.
        accumulate: parts that a step's batch is computed in, to save memory.
        fused: one kernel for the whole update; rounds differently. "auto": where PyTorch has it.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1.5e-3
    lr_batch: Natural = 512
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: Positive = 1e-8
    momentum: BelowOne = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.05
    no_decay: Literal["emo", "norm", "backbone_norm", "layer_norm", "none"] = "emo"
    head_lr: Positive = 1.0
    layer_decay: Annotated[float, Range(above=0, high=1)] | None = None
    clip: Positive | None = 5.0
    accumulate: Count = 1
    fused: Switch = "auto"


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Learning rate and weight decay over time.

    Attributes:
        epochs: `data.passes` over the training split each, or `epoch_steps` steps. A run, finished or not, goes on with
            more: from there on each step has the rate that it has in a run of that length.
        patience: stop where so many epochs in a row have brought no better score, live or averaged; null for never.
            Counted at evaluations, and anew where a run goes on with more epochs or another patience. The best network
            is kept either way.
        epoch_steps: optimizer steps that make an epoch, however long the split is, for trainings counted in steps:
            epochs=10 and epoch_steps=8000 make 80,000 steps with an evaluation after every 8000. null: whole passes.
        warmup_epochs: linear rise at the start; may be a fraction.
        warmup_steps: the same in steps; takes the place of warmup_epochs.
        warmup_lr: rate of the very first step, before scaling.
        warmup_factor: the same as a share of the peak; takes the place of warmup_lr.
        min_lr: rate that the decay ends at, before scaling.
        scale_ends: whether warmup_lr and min_lr follow the batch as lr does.
        decay: "cosine", half a period; "poly", (1 - t / T) ** power.
        power: of "poly".
        decay_start: share of the training during which the rate stays at its peak before it decays.
        cosine: "whole": the decay runs over the whole training and warm-up covers its beginning; "after_warmup": it
            starts when warm-up ends.
        by_epoch: "no": every step has its own rate; "cosine": the decay holds its value within an epoch; "all": so
            does warm-up.
        noise: share of the training, from and to, in which each step's rate is multiplied by 1 + n, n normal and
            redrawn until abs(n) < 0.67; null for none.
        noise_seed: of that noise.
        weight_decay_end: weight decay follows a cosine down to this; null keeps it. A group without decay stays so.
    """

    epochs: Count = 300
    patience: Count | None = None
    epoch_steps: Count | None = None
    warmup_epochs: NotNegative = 20.0
    warmup_steps: Natural | None = None
    warmup_lr: NotNegative = 2.5e-7
    warmup_factor: Share | None = None
    min_lr: NotNegative = 2.5e-7
    scale_ends: bool = True
    decay: Literal["cosine", "poly"] = "cosine"
    power: Positive = 0.9
    decay_start: BelowOne = 0.0
    cosine: Literal["whole", "after_warmup"] = "whole"
    by_epoch: Literal["no", "cosine", "all"] = "no"
    noise: tuple[Share, Share] | None = None
    noise_seed: Natural = 42
    weight_decay_end: NotNegative | None = None


@dataclass(frozen=True, slots=True)
class EmaConfig:
    """The moving average of the weights, evaluated beside the live ones.

    Attributes:
        enabled: false for none.
        decay: share of the old average kept per step.
        start: "warmup": the decay rises from 0 to `decay`; "copy": the first step copies the weights, then constant
            decay; "reference": constant decay over the fresh weights from step 0, as the published EMO runs did (at
            chance for the first 15,000 steps).
        buffers: average BatchNorm's statistics as well; false copies the live ones.
    """

    enabled: bool = True
    decay: BelowOne = 0.9998
    start: Literal["warmup", "copy", "reference"] = "warmup"
    buffers: bool = True


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How and where it runs.

    Attributes:
        out: run folder. The same command with the same folder goes on where it stopped.
        recipe: what the configuration was made from; `load_config` writes it, and nothing follows from it.
        seed: of everything.
        device: "auto" is the first accelerator, else the CPU.
        amp: autocast in training: "none", "bf16" or "fp16" (with loss scaling); "auto": bf16 where the device computes
            in it and gains, else fp16 on a GPU that does. Evaluation is float32.
        channels_last: memory layout of images and weights; rounds differently. "auto": where it is faster.
        compile: torch.compile; takes minutes and rounds differently. "auto": where a long run earns it back.
        checkpoint_activations: keep only what goes into each block and compute the rest again in the backward pass
            (activation checkpointing): less memory, a third more time, the same numbers.
        keep_memory: keep freed memory for the next step instead of giving it back to the system; "auto": for MobileOne
            on the CPU.
        deterministic: only bit-reproducible kernels, slower on a GPU; the CPU is reproducible without.
        bn: BatchNorm statistics over processes: "none": those of the first; "average": their mean at the end of each
            epoch; "sync": one batch over all processes (accelerators only); "sync_heads": so in the heads alone.
        precise_bn: training pictures from which all BatchNorm statistics are computed anew before each evaluation, of
            the moving average too; 0: keep the running ones. Pays where a batch holds few pictures.
        eval_every: evaluate after every n-th epoch and after the last.
        eval_each_from: evaluate after each epoch from this one on; null: never more often than eval_every.
        save_every: write the resume state every n steps; 0: by time and epoch only.
        save_minutes: write the resume state after so many minutes; 0: by steps and epoch only.
        keep_every: also keep a numbered checkpoint every n epochs; 0 for none.
        log_every: steps per row of steps.csv.
        loggers: where figures go beside metrics.csv and steps.csv: "tensorboard" (files in the run folder, where it is
            installed), "wandb", "mlflow"; [] for nowhere. They go on with a run, and never end it.
        threads: CPU threads per process; null chooses.
        audit: look over the data set quickly before training.
        progress: show a progress bar where the output is a terminal.
    """

    out: str = ""
    recipe: str = ""
    seed: Natural = 42
    device: str = "auto"
    amp: Literal["auto", "none", "bf16", "fp16"] = "auto"
    channels_last: Switch = "auto"
    compile: Switch = "auto"
    checkpoint_activations: bool = False
    keep_memory: Switch = "auto"
    deterministic: bool = False
    bn: Literal["none", "average", "sync", "sync_heads"] = "none"
    precise_bn: Natural = 0
    eval_every: Count = 1
    eval_each_from: Count | None = None
    save_every: Natural = 0
    save_minutes: NotNegative = 10.0
    keep_every: Natural = 0
    log_every: Count = 50
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    threads: Count | None = None
    audit: bool = True
    progress: bool = True


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """A teacher whose opinion is a second loss, or the only one.

    Detectors and segmenters read `teacher`, `weight` and `temperature`: a checkpoint of their kind teaches them.

    Attributes:
        teacher: null for none; "timm:NAME", a catalog name, or a checkpoint file.
        weights: for a catalog name a tag such as "official"; for timm "pretrained" or a file of its weights.
        kind: "soft": weight x KL(teacher || student), summed over classes, divided by the batch; "hard": cross entropy
            against the teacher's first guess; "features": no labels are read, the student learns the teacher's features
            of any pictures.
        weight: factor of the distillation loss; the label loss keeps weight 1.
        temperature: divides both logits; the loss is multiplied by its square (not "hard", not "features").
        maps: of "features": weight of the loss between maps, beside that of pooled features; 0 for none.
        size: teacher's input side; null takes the teacher's own.
        mean: teacher's normalisation; null takes the teacher's own.
        std: teacher's normalisation; null takes the teacher's own.
        interpolation: resize from the student's input to the teacher's.
        antialias: of that resize; the published EMOv2 runs had none.
    """

    teacher: str | None = None
    weights: str | None = None
    kind: Literal["soft", "hard", "features"] = "soft"
    weight: NotNegative = 5.0
    temperature: Positive = 1.0
    maps: NotNegative = 0.0
    size: Count | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
