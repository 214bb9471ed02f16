"""What a person finds who types `phonecv.`: the verbs of the command line, and types of use."""

from __future__ import annotations

import phonecv
from phonecv.cli.app import VERBS

#: Verb of the command line -> function, where the name is Python's own or a folder's.
OTHERWISE = {"eval": "evaluate", "models": "list_models"}

#: What has no verb: parts that a script puts together.
PARTS = {
    "UserError",
    "__version__",
    "create_detector",
    "create_model",
    "create_segmenter",
    "list_detectors",
    "list_segmenters",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
}


def test_verbs_are_the_same_in_python_and_on_the_command_line() -> None:
    assert sorted({OTHERWISE.get(verb, verb) for verb in VERBS} | PARTS) == sorted(phonecv.__all__)
    for verb in VERBS:
        assert callable(getattr(phonecv, OTHERWISE.get(verb, verb)))
