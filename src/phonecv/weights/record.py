"""The JSON record inside our own files: what a network is, beside its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.models.base import Form, VisionModel
from phonecv.models.factory import listed
from phonecv.models.headed import Network
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.rules import TABLE, TEXT, TEXTS, Rule, check_table, kind, list_of, number, optional, whole
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import brief, counted

#: Key of the record in a safetensors header.
KEY = "phonecv"

#: Formats of the record: of a network of the catalog, and of heads on one. Versions that know no heads refuse 2.
PLAIN, HEADED = 1, 2

#: Largest value a record may ask for, so that a damaged or hostile one cannot make a network that fills the memory.
_LIMITS = {"branches": 16, "exp_ratios": 64, "kernels": 63, "in_chans": 1024, "depths": 64, "depth": 64}
#: Of these each value is above zero.
_POSITIVE = ("branches", "depths", "exp_ratios", "head_dims", "in_chans", "kernels", "stem_width", "widths")
_LIMIT = 16384
_MOST_CLASSES = 1_000_000
_LONGEST_LIST = 256
#: More than any network has.
_MOST_LAYERS = 4096
#: Lists with a number for each stage.
_PER_STAGE = ("depths", "exp_ratios", "head_dims", "kernels", "widths")

#: Arguments of `create_model` that are not part of a network's shape.
_FORBIDDEN = ("weights", "num_classes", "form", "name")

_NAMES: Rule = (list_of(kind(str), most=_MOST_LAYERS), "a list of names of layers")
_FIELDS: dict[str, Any] = {
    "model": TEXT,
    "overrides": TABLE,
    "num_classes": (whole(0, _MOST_CLASSES), f"a number of classes, {_MOST_CLASSES} at most"),
    "form": (lambda value: value in ("training", "deploy"), "'training' or 'deploy'"),
    "classes": (optional(TEXTS[0]), "a list of texts"),
    "thresholds": (optional(list_of(number(0, 1), most=_MOST_CLASSES)), "a list of numbers from 0 to 1"),
    "preprocessing": TABLE,
    "training": TABLE,
    "source": (optional(TEXT[0]), "a text"),
    "phonecv_version": TEXT,
    "architecture": TEXT,
    "options": TABLE,
    "quantization": {"remedies": _NAMES, "biases": _NAMES},
}


@dataclass(frozen=True, slots=True)
class Record:
    """What our file says of itself.

    Attributes:
        model: catalog name; with heads that of the backbone, or what else `make_backbone` takes.
        overrides: constructor arguments that differ from the catalog's.
        num_classes: rows of the classifier; without background.
        form: "training" or "deploy".
        classes: class names, or None.
        preprocessing: evaluation preprocessing.
        training: how it was trained, free.
        source: where the weights came from, free text or None.
        phonecv_version: version that wrote the file.
        task: key of `phonecv.task.TASKS`.
        architecture: name of the heads; empty without any.
        options: arguments of the heads that differ from the architecture's.
        quantization: what was done to it for int8, see `phonecv.models.quantized`; empty for an ordinary network.
        thresholds: of a classifier whose pictures have several labels or none, see `VisionModel`; else None.
        backbone_form: of heads in training form: "deploy" where its heads stand on a fused backbone.
    """

    model: str
    overrides: dict[str, Any]
    num_classes: int
    form: Form
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing | DensePreprocessing
    training: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    phonecv_version: str = __version__
    task: str = DEFAULT_TASK
    architecture: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    backbone_form: Form = "training"
    thresholds: tuple[float, ...] | None = None

    @property
    def headed(self) -> bool:
        """Whether it describes a backbone with heads."""
        return self.task != DEFAULT_TASK

    @classmethod
    def of(cls, model: Network, training: Mapping[str, Any] | None, source: str | None) -> Record:
        """The record of a network."""
        more: dict[str, Any] = {}
        if isinstance(model, VisionModel):
            name, overrides = model.name, dict(model.overrides)
            more = {"quantization": dict(model.quantization), "thresholds": model.thresholds}
        else:
            name, overrides = model.backbone_name, dict(model.backbone_overrides)
            overrides.pop("out_indices", None)  # follows from the heads
            more = {"task": model.task, "architecture": model.architecture, "options": dict(model.options)}
            more["backbone_form"] = model.backbone_form
        return cls(
            name,
            overrides,
            model.num_classes,
            model.form,
            model.class_names,
            model.preprocessing,
            dict(training or {}),
            source,
            **more,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        more = {"task": self.task, "architecture": self.architecture, "options": listed(self.options)}
        if self.backbone_form != self.form:
            more["backbone_form"] = self.backbone_form
        return {
            "format": HEADED if self.headed else PLAIN,
            **(more if self.headed else {}),
            "model": self.model,
            "overrides": listed(self.overrides),
            "num_classes": self.num_classes,
            "form": self.form,
            **({"quantization": self.quantization} if self.quantization else {}),
            "classes": None if self.classes is None else list(self.classes),
            **({"thresholds": list(self.thresholds)} if self.thresholds is not None else {}),
            "preprocessing": self.preprocessing.to_dict(),
            "training": self.training,
            "source": self.source,
            "phonecv_version": self.phonecv_version,
        }

    def to_json(self) -> str:
        """The record on one line."""
        try:
            return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"the checkpoint's record must hold plain JSON values: {error}") from error

    @classmethod
    def from_json(cls, text: str, source: str) -> Record:
        """The record in a file, checked."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}: its record is not JSON ({error})") from error
        try:
            return cls._from_values(values, source)
        except RecursionError as error:
            raise UserError(f"{source}: its record is nested too deeply") from error

    @classmethod
    def _from_values(cls, given: Any, source: str) -> Record:
        if not isinstance(given, dict):
            raise UserError(f"{source}: its record is not a mapping")
        values: dict[str, Any] = {
            "task": DEFAULT_TASK,
            "architecture": "",
            "options": {},
            "quantization": {},
            "thresholds": None,
        } | given
        task, format_ = values["task"], values.get("format")
        known = isinstance(task, str) and task in TASKS
        wanted = PLAIN if task == DEFAULT_TASK else HEADED
        if format_ != wanted and (known or format_ != PLAIN):
            raise UserError(
                f"{source}: its record has format {format_!r}, this version reads {wanted}; "
                f"it was written by phonecv {values.get('phonecv_version', '?')}, this is {__version__}"
            )
        if not known:
            raise UserError(f"{source}: task {task!r:.80} in its record is not one of {', '.join(TASKS)}")
        place = f"{source}, its record"
        check_table(values, _FIELDS, place, required=_FIELDS)
        classes, form, thresholds = values["classes"], values["form"], values["thresholds"]
        if classes is not None and len(classes) != values["num_classes"]:
            raise UserError(f"{place} names {counted(len(classes), 'classes')} for {values['num_classes']} outputs")
        if thresholds is not None and len(thresholds) != values["num_classes"]:
            raise UserError(f"{place} has {len(thresholds)} thresholds for {values['num_classes']} outputs")
        backbone_form = values.get("backbone_form", form)
        if backbone_form not in ("deploy", form):
            raise UserError(
                f"{source}: backbone_form {backbone_form!r:.80} in its record does not go with form {form!r}"
            )
        try:
            preprocessing = TASKS[task].preprocessing.from_dict(values["preprocessing"])
        except (TypeError, ValueError, UserError) as error:
            raise UserError(f"{source}: preprocessing in its record is damaged ({error})") from error
        return cls(
            values["model"],
            {key: _checked_override(key, value, source) for key, value in values["overrides"].items()},
            values["num_classes"],
            "deploy" if form == "deploy" else "training",
            None if classes is None else tuple(classes),
            preprocessing,
            values["training"],
            values["source"],
            values["phonecv_version"],
            task,
            values["architecture"],
            {key: _checked(key, value, source, heads=True) for key, value in values["options"].items()},
            dict(values["quantization"]),
            "deploy" if backbone_form == "deploy" else "training",
            None if thresholds is None else tuple(thresholds),
        )


def header_record(path: Path) -> Mapping[str, Any]:
    """The record in the header of a file of ours, as it stands there; empty for any other file."""
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _checked_override(key: str, value: Any, source: str) -> Any:
    """An argument of the backbone; one per stage is a list of numbers."""
    if key in _PER_STAGE and not (
        isinstance(value, list) and value and all(isinstance(n, int | float) and n == n for n in value)
    ):
        raise UserError(f"{source}: its record asks for {key}={brief(value)}; it is a list of numbers, one per stage")
    return _checked(key, value, source)


def _checked(key: str, value: Any, source: str, *, heads: bool = False) -> Any:
    """An argument, numbers within sense: of a backbone with tuples for lists; one of the heads may be a mapping."""
    if heads and isinstance(value, Mapping):
        return {name: _checked(f"{key}.{name}", item, source, heads=True) for name, item in value.items()}
    if key in _FORBIDDEN:
        raise UserError(f"{source}: its record overrides {key!r}, which is no part of a network's shape")
    if isinstance(value, list):
        if len(value) > _LONGEST_LIST:
            raise UserError(f"{source}: its record has {len(value)} values of {key}, more than any network has")
        items = [_checked(key, item, source, heads=heads) for item in value]
        return items if heads else tuple(items)
    if isinstance(value, int | float) and not abs(value) <= _LIMITS.get(key, _LIMIT):
        raise UserError(f"{source}: its record asks for {key}={brief(value)}, more than any network has")
    if key in _POSITIVE and isinstance(value, int | float) and not value > 0:
        raise UserError(f"{source}: its record asks for {key}={value!r}; it is a number above 0")
    if not isinstance(value, int | float | str | None):
        raise UserError(f"{source}: its record asks for {key}={brief(value)}")
    return value
