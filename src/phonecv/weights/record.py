"""The JSON record inside our own files: what a network is, beside its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.models.base import Form, VisionModel
from phonecv.preprocessing import Preprocessing

#: Key of the record in a safetensors header.
KEY = "phonecv"
FORMAT = 1

#: Largest value a record may ask for, so that a damaged or hostile one cannot make a network that fills the memory.
_LIMITS = {"branches": 64, "exp_ratios": 64, "kernels": 63, "in_chans": 1024, "depths": 256}
_LIMIT = 16384

#: Arguments of `create_model` that are not part of a network's shape.
_FORBIDDEN = ("weights", "num_classes", "form", "name")


@dataclass(frozen=True, slots=True)
class Record:
    """What our file says of itself.

    Attributes:
        model: catalog name.
        overrides: constructor arguments that differ from the catalog's.
        num_classes: rows of the classifier.
        form: "training" or "deploy".
        classes: class names, or None.
        preprocessing: evaluation preprocessing.
        training: how it was trained, free.
        source: where the weights came from, free text or None.
        phonecv_version: version that wrote the file.
    """

    model: str
    overrides: dict[str, Any]
    num_classes: int
    form: Form
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing
    training: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    phonecv_version: str = __version__

    @classmethod
    def of(cls, model: VisionModel, training: Mapping[str, Any] | None, source: str | None) -> Record:
        """The record of a network."""
        return cls(
            model.name,
            dict(model.overrides),
            model.num_classes,
            model.form,
            model.class_names,
            model.preprocessing,
            dict(training or {}),
            source,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "model": self.model,
            "overrides": {key: _listed(value) for key, value in self.overrides.items()},
            "num_classes": self.num_classes,
            "form": self.form,
            "classes": None if self.classes is None else list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            "training": self.training,
            "source": self.source,
            "phonecv_version": self.phonecv_version,
        }

    def to_json(self) -> str:
        """The record on one line.

        Raises:
            UserError: `training` or an override holds something that JSON cannot.
        """
        try:
            return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"the checkpoint's record must hold plain JSON values: {error}") from error

    @classmethod
    def from_json(cls, text: str, source: str) -> Record:
        """The record in a file, checked.

        Raises:
            UserError: it is damaged, or of a later format.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}: its record is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise UserError(f"{source}: its record is not a mapping")
        if values.get("format") != FORMAT:
            raise UserError(
                f"{source}: its record has format {values.get('format')!r}, this version reads {FORMAT}; "
                f"it was written by phonecv {values.get('phonecv_version', '?')}, this is {__version__}"
            )
        known = [name for name in cls.__dataclass_fields__ if name != "format"]
        for name in known:
            if name not in values:
                raise UserError(f"{source}: its record lacks {name!r}")
        expected: dict[str, type | tuple[type, ...]] = {
            "model": str,
            "overrides": dict,
            "num_classes": int,
            "form": str,
            "classes": (list, type(None)),
            "preprocessing": dict,
            "training": dict,
            "source": (str, type(None)),
            "phonecv_version": str,
        }
        for name, kind in expected.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise UserError(f"{source}: {name!r} in its record is {values[name]!r:.80}")
        classes = values["classes"]
        if classes is not None and (
            not all(isinstance(entry, str) for entry in classes) or len(classes) != values["num_classes"]
        ):
            raise UserError(f"{source}: its record names {len(classes)} classes for {values['num_classes']} outputs")
        form = values["form"]
        if form not in ("training", "deploy"):
            raise UserError(f"{source}: form {form!r} in its record is not 'training' or 'deploy'")
        try:
            preprocessing = Preprocessing.from_dict(values["preprocessing"])
        except (TypeError, ValueError) as error:
            raise UserError(f"{source}: preprocessing in its record is damaged ({error})") from error
        return cls(
            values["model"],
            {key: _checked(key, value, source) for key, value in values["overrides"].items()},
            values["num_classes"],
            "deploy" if form == "deploy" else "training",
            None if classes is None else tuple(classes),
            preprocessing,
            values["training"],
            values["source"],
            values["phonecv_version"],
        )


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _checked(key: str, value: Any, source: str) -> Any:
    """An override as `create_model` takes it: lists become tuples, numbers stay within sense."""
    if key in _FORBIDDEN:
        raise UserError(f"{source}: its record overrides {key!r}, which is no part of a network's shape")
    if isinstance(value, list):
        return tuple(_checked(key, item, source) for item in value)
    if isinstance(value, int | float) and not abs(value) <= _LIMITS.get(key, _LIMIT):
        raise UserError(f"{source}: its record asks for {key}={value}, more than any network has")
    if not isinstance(value, int | float | str | None):
        raise UserError(f"{source}: its record asks for {key}={value!r:.80}")
    return value
