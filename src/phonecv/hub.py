"""`push_to_hub` and `from_pretrained`: networks with what a person needs to know, on the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import yaml
from torch import nn

from phonecv.converting import origin
from phonecv.create import load_network
from phonecv.models.catalog import MODELS
from phonecv.models.headed import Network
from phonecv.models.names import HUB
from phonecv.task import TASKS
from phonecv.text import some_names
from phonecv.weights import save_checkpoint
from phonecv.weights.hub import FILE, check_repo, fetch_from_hub, told

#: Class names that a card lists.
_SHOWN = 50


def push_to_hub(
    model: nn.Module | Path | str,
    repo: str,
    *,
    licence: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Put a network into a repository of the hub: safetensors with its record, the record, and a model card.

    The repository is made if it is not there; files of these names in it are replaced. Who pushes is whoever is logged
    in (``hf auth login``, or the variable ``HF_TOKEN``); nothing of that is written anywhere. Of files that the record
    of a training names, only the last part of the name is kept.

    Args:
        model: a network, a checkpoint of any layout, or a catalog name.
        repo: "owner/name".
        licence: of the weights, best as the hub spells it, such as "apache-2.0"; None: that of a catalog name's
            weights, else the card says that none is stated.
        private: make the repository private, where it is made.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        UserError: the network cannot be read, or the hub does not take it.
    """
    name = check_repo(repo)
    network = load_network(model, task=None)
    known: dict[str, Any] = {} if isinstance(model, nn.Module) else origin(model)
    training = _without_places(known["training"]) if known.get("training") else None
    source = PurePath(known["source"]).name if known.get("source") else None
    licence = licence or _public_licence(model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_checkpoint(network.eval(), folder / FILE, training=training, source=source)
        (folder / "README.md").write_text(model_card(network, name, training or {}, licence), encoding="utf-8")
        with told(name):
            from huggingface_hub import CommitOperationAdd, HfApi

            api = HfApi(library_name="phonecv")
            api.create_repo(name, private=private, exist_ok=True)
            files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
            done = api.create_commit(name, files, commit_message=message or f"{network.name}, written by phonecv")
    return str(done.commit_url)


def from_pretrained(repo: str, *, revision: str | None = None) -> Any:
    """The network in a repository that `push_to_hub` wrote, in evaluation mode; read as safely as any checkpoint.

    Args:
        repo: "owner/name", with or without "hf://".
        revision: branch, tag or commit; None for the newest.

    Raises:
        UserError: it cannot be fetched or read.
    """
    return load_network(fetch_from_hub(repo, revision), task=None).eval()


def model_card(network: Network, repo: str, training: Mapping[str, Any], licence: str | None) -> str:
    """What a person needs to know of a network, as the hub's README.md."""
    task, classes = TASKS[network.task], network.class_names
    plain = licence is not None and re.fullmatch(r"[a-z0-9.+-]+", licence)
    head: dict[str, Any] = {"library_name": "phonecv", "tags": ["phonecv"]}
    if network.num_classes:
        head["pipeline_tag"] = task.pipeline
    if licence is not None:
        head |= {"license": licence} if plain else {"license": "other", "license_name": licence}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    many = f"{network.num_classes:,} classes" if network.num_classes else "no classifier: a backbone for training"
    figures = training.get("figures") or {}
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items() if isinstance(value, int | float)]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {repo.partition('/')[2]}",
        f"{network.name}, {task.noun} written by phonecv: {many}, {network.form} form, {parameters:,} parameters.",
        "## Use",
        f'```python\nimport phonecv\n\nmodel = phonecv.from_pretrained("{repo}")\n```',
    ]
    if network.num_classes:
        parts.append(f"```sh\nphonecv predict {HUB}{repo} photos\nphonecv export {HUB}{repo} net.onnx\n```")
    parts.append(f"Pictures: {network.preprocessing.in_words()}.")
    if rows:
        epoch = f", epoch {training['epoch']}" if "epoch" in training else ""
        parts += [
            "## Figures",
            f"On its own validation pictures{epoch}:",
            "| figure | value |\n| --- | --- |\n" + "\n".join(rows),
        ]
    if classes:
        parts += ["## Classes", some_names(list(classes), _SHOWN)]
    parts += ["## Licence", licence or "None is stated; ask who trained it."]
    return "\n\n".join(parts) + "\n"


def _public_licence(model: nn.Module | Path | str) -> str | None:
    if isinstance(model, nn.Module) or Path(model).exists():
        return None
    name, _, tag = str(model).partition(":")
    licence = MODELS[name].find_weights(tag or "official").licence
    return None if licence.startswith("none") else licence


def _without_places(value: Any) -> Any:
    """The same with the last part alone of whatever names a file: folders are nobody's business."""
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return PureWindowsPath(value).name
    return value
