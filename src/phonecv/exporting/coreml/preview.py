"""What Vision and Xcode look for in a package: a classifier's labels, and what to show of a picture.

Kinds of previews and their parameters are those of coremltools' guide, "Xcode Model Preview Types"; there is none for
detectors but those that Create ML has trained.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from phonecv.data.class_mapping import display_names
from phonecv.data.labelmaps.classes import palette_for
from phonecv.exporting.job import Job

_TYPE, _PARAMETERS = (f"com.apple.coreml.model.preview.{name}" for name in ("type", "params"))


def labels(job: Job) -> list[str]:
    """A different name for every class of a file that gives probabilities of them; none of any other file.

    Nor where labels do not exclude each other: Core ML's classifier names one.
    """
    one = job.record.get("decoding", {}).get("activation") != "sigmoid"
    return _different(job) if job.outputs == ("probabilities",) and one else []


def preview(job: Job, axes: int) -> dict[str, str]:
    """Entries of a package's metadata that have Xcode show what the network finds in a picture.

    Args:
        job: of the file.
        axes: of its first output.
    """
    if labels(job):
        return {_TYPE: "imageClassifier"}
    if (job.outputs, axes) in ((("logits",), 4), (("classes",), 3)):
        names = _different(job)
        colours = ["#{:02X}{:02X}{:02X}".format(*colour) for colour in palette_for(names)]
        return {_TYPE: "imageSegmenter", _PARAMETERS: json.dumps({"labels": names, "colors": colours})}
    return {}


def _different(job: Job) -> list[str]:
    names: Sequence[str] = display_names(job.record.get("classes"), int(job.record.get("num_classes", 0)))
    count = Counter(names)
    return [f"{name} ({number})" if count[name] > 1 else name for number, name in enumerate(names)]
