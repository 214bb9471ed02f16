"""The catalog: every network by name, what it costs, and where its public weights are. Data, not code.

Counts: `parameters` are trainable ones. `macs` are multiply-adds of convolutions, linear layers and
attention products. `flops` follow the published tables (fvcore's rules in evaluation mode: the former, plus 2
per BatchNorm element, 5 per LayerNorm element and 1 per pooled input element). Both at the record's input size.
Tests recompute all of them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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

_BICUBIC = Preprocessing()
_BILINEAR = Preprocessing(interpolation="bilinear")
# timm evaluates S1 to S4 on a larger share of the picture than S0.
_BILINEAR_TIGHT = Preprocessing(interpolation="bilinear", crop=0.9)


def _emo_weights(size: str, blob: str, floats: int, top1: float, top5: float) -> WeightRecord:
    return WeightRecord(
        tag="official",
        url=f"https://github.com/zhangzjn/EMO/raw/main/resources/EMO_{size}/net.pth",
        filename=f"emo_{size.lower()}.pth",
        layout="emo",
        form="training",
        digest=f"git-blob:{blob}",
        min_bytes=floats,
        licence=NO_LICENCE,
        top1=top1,
        top5=top5,
        source="zhangzjn/EMO README; equal to the averaged weights of its training logs",
    )


def _emo(
    size: str,
    counts: tuple[int, int, int, int],
    weights: tuple[str, int, float, float],
    **config: Any,
) -> ModelRecord:
    parameters, deploy_parameters, flops, macs = counts
    return ModelRecord(
        name=f"emo_{size.lower()}",
        family="emo",
        builder="phonecv.models.emo:EMO",
        config=config,
        parameters=parameters,
        deploy_parameters=deploy_parameters,
        flops=flops,
        macs=macs,
        preprocessing=_BICUBIC,
        paper=EMO_PAPER,
        weights=(_emo_weights(size, *weights),),
    )


def _emov2_weights(
    tag: str,
    name: str,
    blob: str,
    floats: int,
    top1: float,
    top5: float | None,
    source: str = "zhangzjn/EMOv2 training logs, best epoch of the live weights",
    note: str = "whether the file holds live or averaged weights is not published; they differ by less than 0.1",
) -> WeightRecord:
    return WeightRecord(
        tag=tag,
        url=f"https://github.com/zhangzjn/data/raw/main/emov2_pretrained_weights/EMOv2_{name}.pth",
        filename=f"emov2_{name.lower()}.pth",
        layout="emov2",
        form="training",
        digest=f"git-blob:{blob}",
        min_bytes=floats,
        licence=NO_LICENCE,
        top1=top1,
        top5=top5,
        source=source,
        note=note,
    )


_EMOV2_CONFIGS: dict[str, dict[str, Any]] = {
    "1m": {
        "depths": (2, 2, 8, 3),
        "widths": (32, 48, 80, 180),
        "exp_ratios": (2.0, 2.5, 3.0, 3.5),
        "head_dims": (16, 16, 20, 20),
        "drop_path": 0.04036,
    },
    "2m": {
        "depths": (3, 3, 9, 3),
        "widths": (32, 48, 120, 200),
        "exp_ratios": (2.0, 2.5, 3.0, 3.5),
        "head_dims": (16, 16, 20, 20),
        "drop_path": 0.05,
    },
    "5m": {
        "depths": (3, 3, 9, 3),
        "widths": (48, 72, 160, 288),
        "exp_ratios": (2.0, 3.0, 4.0, 4.0),
        "head_dims": (16, 24, 32, 32),
        "drop_path": 0.05,
    },
    "20m": {
        "depths": (3, 3, 13, 3),
        "widths": (64, 128, 320, 448),
        "exp_ratios": (2.0, 3.0, 4.0, 4.0),
        "head_dims": (16, 32, 32, 32),
        "drop_path": 0.1,
    },
    "50m": {
        "depths": (5, 8, 20, 7),
        "widths": (64, 128, 384, 512),
        "exp_ratios": (2.0, 3.0, 4.0, 4.0),
        "head_dims": (16, 32, 32, 32),
        "drop_path": 0.2,
    },
}

_EMOV2_WEIGHTS: dict[str, tuple[WeightRecord, ...]] = {
    "emov2_1m": (
        _emov2_weights("official", "1M_224", "4cbb1c0541597da1442bb5bd7f155fa9d00cd486", 5_878_392, 72.326, 90.800),
        _emov2_weights("kd", "1M_224_KD", "d3d292c37d874de97ed8828c61114b5365325d25", 5_878_392, 73.486, 91.192),
    ),
    "emov2_2m": (
        _emov2_weights("official", "2M_224", "009fd7338ac833177c5ae2014061d56203c423ea", 9_587_376, 75.766, 92.720),
        _emov2_weights("kd", "2M_224_KD", "bcc37347a7082df62a5c5f025a3f322fc273b46d", 9_587_376, 76.678, 92.986),
    ),
    "emov2_5m": (
        _emov2_weights("official", "5M_224", "174a94f26e6bd2456f396cca427702c3a70b412b", 20_591_152, 79.378, 94.422),
        _emov2_weights("kd", "5M_224_KD", "9332927c3751291dc574a151a10074bce706bb1f", 20_591_152, 80.854, 95.014),
    ),
    "emov2_5m_512": (
        _emov2_weights(
            "kd",
            "5M_512_KD",
            "e1235b440edd1517bacd30fc6ff0c476098b2847",
            20_591_152,
            82.9,
            None,
            source="zhangzjn/EMOv2 README",
            note="its training log and exact recipe are not published",
        ),
    ),
}


def _emov2(size: str, counts: tuple[int, int, int, int], *, input_size: int = 224, remote: bool = False) -> ModelRecord:
    parameters, deploy_parameters, flops, macs = counts
    suffix = "" if input_size == 224 else f"_{input_size}"
    name = f"emov2_remote_{size}" if remote else f"emov2_{size}{suffix}"
    config = dict(_EMOV2_CONFIGS[size])
    if remote:
        config |= {"attention": "remote", "kernels": (3, 3, 5, 5)}
    # Windows of 7 fit the 14 and 7 tokens of a 224 px input, windows of 8 those of 256 and 512.
    config["window"] = 7 if input_size == 224 else 8
    weights = _EMOV2_WEIGHTS.get(name, ())
    note = ""
    if remote:
        note = "ablation of the EMOv2 authors (`EMO1_*` in their code): remote windows alone"
    elif not weights:
        note = "no weights are published"
    return ModelRecord(
        name=name,
        family="emov2",
        builder="phonecv.models.emov2:EMOv2",
        config=config,
        parameters=parameters,
        deploy_parameters=deploy_parameters,
        flops=flops,
        macs=macs,
        preprocessing=replace(_BICUBIC, size=input_size),
        paper=EMOV2_PAPER,
        weights=weights,
        note=note,
    )


def _mobileone_weights(
    size: str, top1: tuple[float, float, float], floats: tuple[int, int], drive: tuple[str, str], sha_prefix: str
) -> Iterator[WeightRecord]:
    """Apple's two files, OpenMMLab's, timm's, PaddleViT's two. `top1`: Apple's, OpenMMLab's, PaddleViT's figure."""
    apple, openmmlab, paddle = top1
    fused_bytes, unfused_bytes = floats
    apple_note = "its evaluation crop is not published; timm's copy is evaluated bilinear"
    for tag, ending, form, minimum in (
        ("apple", "", "deploy", fused_bytes),
        ("apple-unfused", "_unfused", "training", unfused_bytes),
    ):
        yield WeightRecord(
            tag=tag,
            url=(
                "https://docs-assets.developer.apple.com/ml-research/datasets/mobileone/"
                f"mobileone_{size}{ending}.pth.tar"
            ),
            filename=f"mobileone_{size}_{tag}.pth.tar",
            layout="apple",
            form=form,
            digest=None,
            min_bytes=minimum,
            licence=APPLE_LICENCE,
            top1=apple,
            top5=None,
            source="apple/ml-mobileone README",
            note=apple_note,
        )
    yield WeightRecord(
        tag="openmmlab",
        url=(
            "https://download.openmmlab.com/mmclassification/v0/mobileone/"
            f"mobileone-{size}_8xb32_in1k_20221110-{sha_prefix}.pth"
        ),
        filename=f"mobileone_{size}_openmmlab.pth",
        layout="mmpretrain",
        form="training",
        digest=f"sha256-prefix:{sha_prefix}",
        min_bytes=unfused_bytes,
        licence="Apache-2.0",
        top1=openmmlab,
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
        digest=None,
        min_bytes=unfused_bytes,
        licence=APPLE_LICENCE,
        top1=apple,
        top5=None,
        source="timm hub, Apple's weights",
        preprocessing=_BILINEAR if size == "s0" else _BILINEAR_TIGHT,
    )
    for tag, file_id, form, minimum in (
        ("paddlevit", drive[0], "training", unfused_bytes),
        ("paddlevit-fused", drive[1], "deploy", fused_bytes),
    ):
        yield WeightRecord(
            tag=tag,
            url="",
            filename=f"mobileone_{size}_{tag}.pdparams",
            layout="paddlevit",
            form=form,
            digest=None,
            # No BatchNorm counters in this format.
            min_bytes=minimum if form == "deploy" else minimum - 8 * 300,
            licence=APPLE_LICENCE,
            top1=paddle,
            top5=None,
            source="PaddleViT README; converted from Apple's unfused file",
            note=f"Google Drive asks for a browser: open https://drive.google.com/file/d/{file_id}/view",
        )


def _mobileone(
    size: str,
    counts: tuple[int, int, int, int, int],
    weights: Iterator[WeightRecord],
    **config: Any,
) -> ModelRecord:
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
        preprocessing=_BICUBIC,
        paper=MOBILEONE_PAPER,
        weights=tuple(weights),
    )


_RECORDS = (
    _emo(
        "1M",
        (1_361_168, 1_354_632, 260_843_664, 255_237_672),
        ("76c4282de548fa76eca6011720b29d8f80ffa784", 5_479_464, 71.498, 90.368),
        depths=(2, 2, 8, 3),
        widths=(32, 48, 80, 168),
        exp_ratios=(2.0, 2.5, 3.0, 3.5),
        head_dims=(16, 16, 20, 21),
        drop_path=0.04036,
    ),
    _emo(
        "2M",
        (2_377_472, 2_367_880, 439_363_064, 431_917_024),
        ("9ec7138d292ca9b2d07923aec05762f547db8cf2", 9_560_464, 75.134, 92.184),
        depths=(3, 3, 9, 3),
        widths=(32, 48, 120, 200),
        exp_ratios=(2.0, 2.5, 3.0, 3.5),
        head_dims=(16, 16, 20, 20),
        drop_path=0.05,
    ),
    _emo(
        "5M",
        (5_108_848, 5_093_688, 902_583_776, 892_224_000),
        ("3ea7450fa9c290c3c46f372c1f5cebe1198d1ce1", 20_520_784, 78.422, 93.970),
        depths=(3, 3, 9, 3),
        widths=(48, 72, 160, 288),
        exp_ratios=(2.0, 3.0, 4.0, 4.0),
        head_dims=(24, 24, 32, 32),
        drop_path=0.05,
    ),
    _emo(
        "6M",
        (6_168_496, 6_151_992, 960_752_512, 950_250_048),
        ("10a248725247cf18b51e449dbd1a220354457c99", 24_769_104, 78.988, 94.162),
        depths=(3, 3, 9, 3),
        widths=(48, 72, 160, 320),
        exp_ratios=(2.0, 3.0, 4.0, 5.0),
        head_dims=(16, 24, 20, 32),
        drop_path=0.05,
    ),
    _emov2("1m", (1_460_844, 1_452_908, 284_756_712, 279_936_484)),
    _emov2("2m", (2_384_312, 2_372_872, 487_454_824, 480_811_600)),
    _emov2("5m", (5_126_440, 5_108_616, 1_035_473_760, 1_025_113_984)),
    _emov2("20m", (20_195_208, 20_153_640, 4_017_165_376, 3_997_004_032)),
    _emov2("50m", (49_815_560, 49_729_320, 8_804_167_168, 8_767_262_720)),
    _emov2("1m", (1_460_844, 1_452_908, 392_185_632, 385_889_824), input_size=256),
    _emov2("2m", (2_384_312, 2_372_872, 669_561_664, 660_884_800), input_size=256),
    _emov2("5m", (5_126_440, 5_108_616, 1_407_048_960, 1_393_517_824), input_size=256),
    _emov2("20m", (20_195_208, 20_153_640, 5_402_830_336, 5_376_497_152), input_size=256),
    _emov2("1m", (1_460_844, 1_452_908, 1_568_202_528, 1_543_019_296), input_size=512),
    _emov2("2m", (2_384_312, 2_372_872, 2_677_646_656, 2_642_939_200), input_size=512),
    _emov2("5m", (5_126_440, 5_108_616, 5_627_331_840, 5_573_207_296), input_size=512),
    _emov2("1m", (1_454_316, 1_446_380, 249_419_284, 244_599_056), remote=True),
    _emov2("2m", (2_374_840, 2_363_400, 431_602_272, 424_959_048), remote=True),
    _emov2("5m", (5_110_312, 5_092_488, 943_610_912, 933_251_136), remote=True),
    _emov2("20m", (20_170_632, 20_129_064, 3_788_293_824, 3_768_132_480), remote=True),
    _mobileone(
        "s0",
        (5_293_272, 2_078_504, 1_088_463_360, 275_160_576, 275_110_400),
        _mobileone_weights(
            "s0",
            (71.4, 71.34, 71.14),
            (8_314_016, 21_527_664),
            ("1kEt0ogmpflN6TnInBgMODy66nEoY_UAR", "174JQlw7ho3hrx72BQyhXPfapI6Un9Gsv"),
            "0bc94952",
        ),
        widths=(48, 128, 256, 1024),
        branches=4,
    ),
    _mobileone(
        "s1",
        (4_825_192, 4_764_840, 858_499_328, 825_119_744, 825_057_024),
        _mobileone_weights(
            "s1",
            (75.9, 75.72, 75.65),
            (19_059_360, 19_574_968),
            ("19RWywclnYSvd4qDTkQ2rc1z9e309MjJ0", "1dZRXQ28-2IM2kDoy5_lfpwVp1ZWo2r4k"),
            "ceeef467",
        ),
        widths=(96, 192, 512, 1280),
    ),
    _mobileone(
        "s2",
        (7_884_648, 7_808_168, 1_338_573_568, 1_298_526_848, 1_298_426_496),
        _mobileone_weights(
            "s2",
            (77.4, 77.37, 77.22),
            (31_232_672, 31_887_544),
            ("1mfgAzJ_vGn1DGgvf-B_4qjIj_zlYIo9g", "17jNvGlmlKRI5FcYUlfmKmM_Kh87xL9DT"),
            "9c7ecb97",
        ),
        widths=(96, 256, 640, 2048),
    ),
    _mobileone(
        "s3",
        (10_170_600, 10_078_312, 1_943_959_552, 1_895_890_944, 1_895_790_592),
        _mobileone_weights(
            "s3",
            (78.1, 78.06, 77.74),
            (40_313_248, 41_102_008),
            ("1yXKtYrxLInBvKzR1_swXzPkJ1Plu1dg7", "1uyqrBhahJ1LEVNPI0jBDRSHddlGjnqBA"),
            "c95eb3bf",
        ),
        widths=(128, 320, 768, 2048),
    ),
    _mobileone(
        "s4",
        (14_951_248, 14_838_352, 3_040_917_248, 2_979_370_112, 2_979_269_760),
        _mobileone_weights(
            "s4",
            (79.4, 79.69, 79.07),
            (59_353_408, 60_316_760),
            ("1mPAUXMjI4x0kES1U6DEjtM4l5sl23x1k", "1H9oKqRpOBti3ncf9JjqxaEM6mqLXYOGg"),
            "28d888cb",
        ),
        widths=(192, 448, 896, 2048),
        se_pairs=(0, 0, 5, 1),
    ),
)

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
