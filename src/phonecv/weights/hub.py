"""Networks of ours on the Hugging Face hub: names of their repositories, their file, what can go wrong.

`huggingface_hub` (extra "hub"; timm brings it) talks to the hub, knows who is logged in, and keeps what it fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phonecv.errors import UserError
from phonecv.models.names import HUB

#: The network, in a repository.
FILE = "model.safetensors"


def check_repo(repo: str) -> str:
    """The "owner/name" of a repository, without `HUB`.

    Raises:
        UserError: it is none.
    """
    name = repo.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UserError(f"{repo!r} is no repository of the Hugging Face hub; write owner/name")
    return name


def fetch_from_hub(repo: str, revision: str | None = None) -> Path:
    """The local copy of the network in a repository; fetched if it is not there or has changed.

    Args:
        repo: "owner/name", with or without `HUB`.
        revision: branch, tag or commit; None for the newest.

    Raises:
        UserError: no such repository, no network of ours in it, or no connection and no copy.
    """
    name = check_repo(repo)
    with told(name):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, FILE, revision=revision))


def local(model: Path | str) -> Path | str:
    """What names a model, as it is, or the fetched file of a repository ("hf://owner/name")."""
    return fetch_from_hub(str(model)) if str(model).startswith(HUB) else model


@contextmanager
def told(repo: str) -> Iterator[None]:
    """Let an error of the hub within be told in a line that names `repo`."""
    try:
        from huggingface_hub import errors
        from huggingface_hub.utils import logging
    except ImportError as error:
        raise UserError("the Hugging Face hub needs huggingface_hub: pip install 'phonecv[hub]'") from error
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it tells of each try
    try:
        yield
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"the hub has no {repo}, or it is private and you are not logged in; `hf auth login` logs in"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{repo} on the hub has no such revision; leave it out for the newest") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise UserError(f"{repo} is not here yet, and the hub cannot be reached ({_line(error)})") from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{repo} on the hub has no {FILE}; `phonecv push FILE {repo}` writes one") from error
    except (errors.HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        way = "; `hf auth login` logs in" if status in (401, 403) else ""
        raise UserError(f"the hub did not take this for {repo}: {_line(error)}{way}") from error
    finally:
        logging.set_verbosity(before)


def _line(error: Exception) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
