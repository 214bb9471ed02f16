"""The catalog: every network by name, what it costs, and where its public weights are. Data, not code.

Counts: `parameters` are trainable ones. `macs` are multiply-adds of convolutions, linear layers and
attention products. `flops` follow the published tables (fvcore's rules in evaluation mode: the former, plus 2
per BatchNorm element, 5 per LayerNorm element and 1 per pooled input element). Both at the record's input size.
Tests recompute all of them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phonecv.errors import UserError, did_you_mean
from phonecv.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class WeightRecord:
    """One public weight file.

    Attributes:
        tag: name by which ``weights=`` asks for it.
        url: where it can be downloaded, or "" where only a hand download works (then `note` says how).
        filename: name of the file in the cache.
        layout: whose parameter names it uses, see `phonecv.weights`.
        form: "training" or "deploy".
        digest: "git-blob:<40 hex>", "sha256:<64 hex>" or "sha256-prefix:<8 hex>"; None where none is published.
        min_bytes: bytes of the tensors inside; a smaller file is incomplete.
        licence: of the weights.
        top1: published ImageNet-1k accuracy in percent.
        top5: likewise, None where not published.
        source: who published file and figure.
        preprocessing: evaluation preprocessing where it differs from the model's.
        note: what a person should know before trusting it.
    """

    tag: str
    url: str
    filename: str
    layout: str
    form: str
    digest: str | None
    min_bytes: int
    licence: str
    top1: float
    top5: float | None
    source: str
    preprocessing: Preprocessing | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One network.

    Attributes:
        name: catalog name.
        family: "emo", "emov2" or "mobileone".
        builder: "module:class".
        config: constructor arguments.
        parameters: trainable parameters of the training form with 1000 classes.
        flops: published counting, training form, at the input size.
        macs: pure multiply-adds of the form that is deployed.
        preprocessing: evaluation preprocessing with the nominal input size.
        paper: where the network is described.
        deploy_parameters: of the deploy form.
        deploy_flops: published counting of the deploy form where it is published.
        weights: public files, the one meant by "official" first.
        top1: published ImageNet-1k accuracy in percent of a network without public weights; `note` says where.
        note: what a person should know.
    """

    name: str
    family: str
    builder: str
    config: Mapping[str, Any]
    parameters: int
    flops: int
    macs: int
    preprocessing: Preprocessing
    paper: str
    deploy_parameters: int
    deploy_flops: int | None = None
    weights: tuple[WeightRecord, ...] = field(default=())
    top1: float | None = None
    note: str = ""

    def find_weights(self, tag: str, *, form: str | None = None) -> WeightRecord:
        """The weight file of this tag.

        Args:
            tag: one of the record's, or "official": the first file.
            form: of the network that is wanted: "official" then means the first file of this form, where there is one.

        Raises:
            UserError: the network has no public weights, or none of this tag.
        """
        tags = [record.tag for record in self.weights]
        if not tags:
            raise UserError(f"no weights are published for {self.name}; train it, or give the path of a checkpoint")
        if tag == "official":
            return next((record for record in self.weights if form in (None, record.form)), self.weights[0])
        for record in self.weights:
            if record.tag == tag:
                return record
        raise UserError(f"{self.name} has no weights {tag!r}{did_you_mean(tag, tags)} (known: {', '.join(tags)})")


EMO_PAPER = "Zhang et al., Rethinking Mobile Block for Efficient Attention-based Models, ICCV 2023, arXiv 2301.01146"
EMOV2_PAPER = "Zhang et al., EMOv2: Pushing 5M Vision Model Frontier, arXiv 2412.06674"
MOBILEONE_PAPER = "Vasu et al., MobileOne: An Improved One Millisecond Mobile Backbone, CVPR 2023, arXiv 2206.04040"

NO_LICENCE = "none stated by the authors"
APPLE_LICENCE = "Apple sample code licence (ml-mobileone)"

_BILINEAR = Preprocessing(interpolation="bilinear")
# timm evaluates S1 to S4 on a larger share of the picture than S0.
_BILINEAR_TIGHT = Preprocessing(interpolation="bilinear", crop=0.9)

_SHAPE = ("depths", "widths", "exp_ratios", "head_dims", "drop_path")
_SHAPES: dict[str, tuple[Any, ...]] = {
    "emo_1m": ((2, 2, 8, 3), (32, 48, 80, 168), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 21), 0.04036),
    "emo_2m": ((3, 3, 9, 3), (32, 48, 120, 200), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 20), 0.05),
    "emo_5m": ((3, 3, 9, 3), (48, 72, 160, 288), (2.0, 3.0, 4.0, 4.0), (24, 24, 32, 32), 0.05),
    "emo_6m": ((3, 3, 9, 3), (48, 72, 160, 320), (2.0, 3.0, 4.0, 5.0), (16, 24, 20, 32), 0.05),
    "emov2_1m": ((2, 2, 8, 3), (32, 48, 80, 180), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 20), 0.04036),
    "emov2_2m": ((3, 3, 9, 3), (32, 48, 120, 200), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 20), 0.05),
    "emov2_5m": ((3, 3, 9, 3), (48, 72, 160, 288), (2.0, 3.0, 4.0, 4.0), (16, 24, 32, 32), 0.05),
    "emov2_20m": ((3, 3, 13, 3), (64, 128, 320, 448), (2.0, 3.0, 4.0, 4.0), (16, 32, 32, 32), 0.1),
    "emov2_50m": ((5, 8, 20, 7), (64, 128, 384, 512), (2.0, 3.0, 4.0, 4.0), (16, 32, 32, 32), 0.2),
}

#: Tag, file, git blob, bytes of the tensors, top-1, top-5.
_EMO_WEIGHTS: dict[str, tuple[tuple[str, str, str, int, float, float | None], ...]] = {
    "emo_1m": (("official", "1M", "76c4282de548fa76eca6011720b29d8f80ffa784", 5_479_464, 71.498, 90.368),),
    "emo_2m": (("official", "2M", "9ec7138d292ca9b2d07923aec05762f547db8cf2", 9_560_464, 75.134, 92.184),),
    "emo_5m": (("official", "5M", "3ea7450fa9c290c3c46f372c1f5cebe1198d1ce1", 20_520_784, 78.422, 93.970),),
    "emo_6m": (("official", "6M", "10a248725247cf18b51e449dbd1a220354457c99", 24_769_104, 78.988, 94.162),),
    "emov2_1m": (
        ("official", "1M_224", "4cbb1c0541597da1442bb5bd7f155fa9d00cd486", 5_878_392, 72.326, 90.800),
        ("kd", "1M_224_KD", "d3d292c37d874de97ed8828c61114b5365325d25", 5_878_392, 73.486, 91.192),
    ),
    "emov2_2m": (
        ("official", "2M_224", "009fd7338ac833177c5ae2014061d56203c423ea", 9_587_376, 75.766, 92.720),
        ("kd", "2M_224_KD", "bcc37347a7082df62a5c5f025a3f322fc273b46d", 9_587_376, 76.678, 92.986),
    ),
    "emov2_5m": (
        ("official", "5M_224", "174a94f26e6bd2456f396cca427702c3a70b412b", 20_591_152, 79.378, 94.422),
        ("kd", "5M_224_KD", "9332927c3751291dc574a151a10074bce706bb1f", 20_591_152, 80.854, 95.014),
    ),
    "emov2_5m_512": (("kd", "5M_512_KD", "e1235b440edd1517bacd30fc6ff0c476098b2847", 20_591_152, 82.9, None),),
}

#: Where the files of a family are, who published their figures, and what should be known; of one file otherwise.
_EMO_FILES = {
    "emo": (
        "EMO/raw/main/resources/EMO_{}/net.pth",
        "EMO README; equal to the averaged weights of its training logs",
        "",
    ),
    "emov2": (
        "data/raw/main/emov2_pretrained_weights/EMOv2_{}.pth",
        "EMOv2 training logs, best epoch of the live weights",
        "whether the file holds live or averaged weights is not published; they differ by less than 0.1",
    ),
}
_EMO_TOLD = {
    "5M_512_KD": (
        "EMOv2 README",
        "paper, table XVII(e): a teacher and long training, whose length is not published; 82.4 without the latter,"
        " 81.5 without both",
    )
}

#: Networks without public files: top-1 where it is published, and what should be known.
_REMOTE = "ablation of the EMOv2 authors (`EMO1_*` in their code): remote windows alone"
_WITHOUT_FILES: dict[str, tuple[float | None, str]] = {
    "emov2_20m": (83.3, "no weights are published; top-1 from the paper, table XIX"),
    "emov2_50m": (84.1, "no weights are published; top-1 from the paper, table XIX"),
    "emov2_5m_256": (79.9, "no weights are published; top-1 from the paper, table XVII(e)"),
    "emov2_remote_1m": (None, _REMOTE),
    "emov2_remote_2m": (None, _REMOTE),
    "emov2_remote_5m": (
        None,
        f"{_REMOTE}; kernels of 5 in all stages (967 MFLOPs) have 79.0 in the paper, table XVII(a)",
    ),
    "emov2_remote_20m": (None, f"{_REMOTE}; the paper's EMOv1-20M (20.5 M, 3.8 GFLOPs, table XIX) has 82.0"),
}


def _emo_weights(
    family: str, tag: str, file: str, blob: str, floats: int, top1: float, top5: float | None
) -> WeightRecord:
    place, source, note = _EMO_FILES[family]
    source, note = _EMO_TOLD.get(file, (source, note))
    return WeightRecord(
        tag=tag,
        url=f"https://github.com/zhangzjn/{place.format(file)}",
        filename=f"{family}_{file.lower()}.pth",
        layout=family,
        form="training",
        digest=f"git-blob:{blob}",
        min_bytes=floats,
        licence=NO_LICENCE,
        top1=top1,
        top5=top5,
        source=f"zhangzjn/{source}",
        note=note,
    )


def _emo(name: str, parameters: int, deploy_parameters: int, flops: int, macs: int) -> ModelRecord:
    """A member of EMO or EMOv2; its name says the input size where that isn't 224, and whether it is an ablation."""
    family, remote = name.partition("_")[0], "_remote" in name
    shape, size = name.replace("_remote", ""), 224
    if shape not in _SHAPES:
        shape, _, side = shape.rpartition("_")
        size = int(side)
    config = dict(zip(_SHAPE, _SHAPES[shape], strict=True))
    if remote:
        config |= {"attention": "remote", "kernels": (3, 3, 5, 5)}
    if family == "emov2":
        # Windows of 7 fit the 14 and 7 tokens of a 224 px input, windows of 8 those of 256 and 512.
        config["window"] = 7 if size == 224 else 8
    rows = _EMO_WEIGHTS.get(name, ())
    top1, note = (None, "") if rows else _WITHOUT_FILES.get(name, (None, "no weights are published"))
    return ModelRecord(
        name=name,
        family=family,
        builder="phonecv.models.emo:EMO" if family == "emo" else "phonecv.models.emov2:EMOv2",
        config=config,
        parameters=parameters,
        deploy_parameters=deploy_parameters,
        flops=flops,
        macs=macs,
        preprocessing=Preprocessing(size),
        paper=EMO_PAPER if family == "emo" else EMOV2_PAPER,
        weights=tuple(_emo_weights(family, *row) for row in rows),
        top1=top1,
        note=note,
    )


@dataclass(frozen=True, slots=True)
class _MobileOneFiles:
    """What differs between the public files of MobileOne's members: top-1, bytes of the tensors, and where they are."""

    apple: float
    openmmlab: float
    paddle: float
    fused_bytes: int
    unfused_bytes: int
    drive: str
    drive_fused: str
    sha_prefix: str

    def records(self, size: str) -> Iterator[WeightRecord]:
        """Apple's two files, OpenMMLab's, timm's, PaddleViT's two."""
        apple = {"licence": APPLE_LICENCE, "digest": None, "top5": None}
        forms = (("", "training", self.unfused_bytes), ("-fused", "deploy", self.fused_bytes))
        for ending, form, floats in reversed(forms):
            tag = "apple" if ending else "apple-unfused"
            yield WeightRecord(
                tag=tag,
                url="https://docs-assets.developer.apple.com/ml-research/datasets/mobileone/"
                f"mobileone_{size}{'' if ending else '_unfused'}.pth.tar",
                filename=f"mobileone_{size}_{tag}.pth.tar",
                layout="apple",
                form=form,
                min_bytes=floats,
                top1=self.apple,
                source="apple/ml-mobileone README",
                note="its evaluation crop is not published; timm's copy is evaluated bilinear",
                **apple,
            )
        yield WeightRecord(
            tag="openmmlab",
            url="https://download.openmmlab.com/mmclassification/v0/mobileone/"
            f"mobileone-{size}_8xb32_in1k_20221110-{self.sha_prefix}.pth",
            filename=f"mobileone_{size}_openmmlab.pth",
            layout="mmpretrain",
            form="training",
            digest=f"sha256-prefix:{self.sha_prefix}",
            min_bytes=self.unfused_bytes,
            licence="Apache-2.0",
            top1=self.openmmlab,
            top5=None,
            source="open-mmlab/mmpretrain model index; trained by that project",
            preprocessing=_BILINEAR,
        )
        yield WeightRecord(
            tag="timm",
            url=f"https://huggingface.co/timm/mobileone_{size}.apple_in1k/resolve/main/model.safetensors",
            filename=f"mobileone_{size}_timm.safetensors",
            layout="timm",
            form="training",
            min_bytes=self.unfused_bytes,
            top1=self.apple,
            source="timm hub, Apple's weights",
            preprocessing=_BILINEAR if size == "s0" else _BILINEAR_TIGHT,
            **apple,
        )
        for ending, form, floats in forms:
            file_id = self.drive_fused if ending else self.drive
            yield WeightRecord(
                tag=f"paddlevit{ending}",
                url="",
                filename=f"mobileone_{size}_paddlevit{ending}.pdparams",
                layout="paddlevit",
                form=form,
                min_bytes=floats if ending else floats - 8 * 300,  # no BatchNorm counters in this format
                top1=self.paddle,
                source="PaddleViT README; converted from Apple's unfused file",
                note=f"Google Drive asks for a browser: open https://drive.google.com/file/d/{file_id}/view",
                **apple,
            )


def _mobileone(size: str, counts: tuple[int, int, int, int, int], files: _MobileOneFiles, **config: Any) -> ModelRecord:
    parameters, deploy_parameters, flops, deploy_flops, macs = counts
    return ModelRecord(
        name=f"mobileone_{size}",
        family="mobileone",
        builder="phonecv.models.mobileone:MobileOne",
        config=config,
        parameters=parameters,
        deploy_parameters=deploy_parameters,
        flops=flops,
        deploy_flops=deploy_flops,
        macs=macs,
        preprocessing=Preprocessing(),
        paper=MOBILEONE_PAPER,
        weights=tuple(files.records(size)),
    )


_RECORDS = (
    _emo("emo_1m", 1_361_168, 1_354_632, 260_843_664, 255_237_672),
    _emo("emo_2m", 2_377_472, 2_367_880, 439_363_064, 431_917_024),
    _emo("emo_5m", 5_108_848, 5_093_688, 902_583_776, 892_224_000),
    _emo("emo_6m", 6_168_496, 6_151_992, 960_752_512, 950_250_048),
    _emo("emov2_1m", 1_460_844, 1_452_908, 284_756_712, 279_936_484),
    _emo("emov2_2m", 2_384_312, 2_372_872, 487_454_824, 480_811_600),
    _emo("emov2_5m", 5_126_440, 5_108_616, 1_035_473_760, 1_025_113_984),
    _emo("emov2_20m", 20_195_208, 20_153_640, 4_017_165_376, 3_997_004_032),
    _emo("emov2_50m", 49_815_560, 49_729_320, 8_804_167_168, 8_767_262_720),
    _emo("emov2_1m_256", 1_460_844, 1_452_908, 392_185_632, 385_889_824),
    _emo("emov2_2m_256", 2_384_312, 2_372_872, 669_561_664, 660_884_800),
    _emo("emov2_5m_256", 5_126_440, 5_108_616, 1_407_048_960, 1_393_517_824),
    _emo("emov2_20m_256", 20_195_208, 20_153_640, 5_402_830_336, 5_376_497_152),
    _emo("emov2_1m_512", 1_460_844, 1_452_908, 1_568_202_528, 1_543_019_296),
    _emo("emov2_2m_512", 2_384_312, 2_372_872, 2_677_646_656, 2_642_939_200),
    _emo("emov2_5m_512", 5_126_440, 5_108_616, 5_627_331_840, 5_573_207_296),
    _emo("emov2_remote_1m", 1_454_316, 1_446_380, 249_419_284, 244_599_056),
    _emo("emov2_remote_2m", 2_374_840, 2_363_400, 431_602_272, 424_959_048),
    _emo("emov2_remote_5m", 5_110_312, 5_092_488, 943_610_912, 933_251_136),
    _emo("emov2_remote_20m", 20_170_632, 20_129_064, 3_788_293_824, 3_768_132_480),
    _mobileone("s0", (5_293_272, 2_078_504, 1_088_463_360, 275_160_576, 275_110_400),
               _MobileOneFiles(71.4, 71.34, 71.14, 8_314_016, 21_527_664, "1kEt0ogmpflN6TnInBgMODy66nEoY_UAR",
                               "174JQlw7ho3hrx72BQyhXPfapI6Un9Gsv", "0bc94952"),
               widths=(48, 128, 256, 1024), branches=4),
    _mobileone("s1", (4_825_192, 4_764_840, 858_499_328, 825_119_744, 825_057_024),
               _MobileOneFiles(75.9, 75.72, 75.65, 19_059_360, 19_574_968, "19RWywclnYSvd4qDTkQ2rc1z9e309MjJ0",
                               "1dZRXQ28-2IM2kDoy5_lfpwVp1ZWo2r4k", "ceeef467"),
               widths=(96, 192, 512, 1280)),
    _mobileone("s2", (7_884_648, 7_808_168, 1_338_573_568, 1_298_526_848, 1_298_426_496),
               _MobileOneFiles(77.4, 77.37, 77.22, 31_232_672, 31_887_544, "1mfgAzJ_vGn1DGgvf-B_4qjIj_zlYIo9g",
                               "17jNvGlmlKRI5FcYUlfmKmM_Kh87xL9DT", "9c7ecb97"),
               widths=(96, 256, 640, 2048)),
    _mobileone("s3", (10_170_600, 10_078_312, 1_943_959_552, 1_895_890_944, 1_895_790_592),
               _MobileOneFiles(78.1, 78.06, 77.74, 40_313_248, 41_102_008, "1yXKtYrxLInBvKzR1_swXzPkJ1Plu1dg7",
                               "1uyqrBhahJ1LEVNPI0jBDRSHddlGjnqBA", "c95eb3bf"),
               widths=(128, 320, 768, 2048)),
    _mobileone("s4", (14_951_248, 14_838_352, 3_040_917_248, 2_979_370_112, 2_979_269_760),
               _MobileOneFiles(79.4, 79.69, 79.07, 59_353_408, 60_316_760, "1mPAUXMjI4x0kES1U6DEjtM4l5sl23x1k",
                               "1H9oKqRpOBti3ncf9JjqxaEM6mqLXYOGg", "28d888cb"),
               widths=(192, 448, 896, 2048), se_pairs=(0, 0, 5, 1)),
)  # fmt: skip

#: Every network by name.
MODELS: dict[str, ModelRecord] = {record.name: record for record in _RECORDS}


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell-style pattern such as ``"emov2_*"``, in catalog order."""
    return [name for name in MODELS if fnmatch.fnmatch(name, pattern)]


def get_record(name: str) -> ModelRecord:
    """The record of a network.

    Raises:
        UserError: no network has this name.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise UserError(
            f"unknown model {name!r}{did_you_mean(name, MODELS)}; `phonecv models` lists all {len(MODELS)}"
        ) from None


def licence_of(model: object) -> str | None:
    """What the catalog says of the licence of weights that a person names, as in "mobileone_s0:apple"; else None."""
    name, _, tag = model.partition(":") if isinstance(model, str) and not Path(model).exists() else ("", "", "")
    for weights in MODELS[name].weights if name in MODELS else ():
        if tag in ("", weights.tag):
            return f"{name}, weights {weights.tag}: {weights.licence}"
    return None
