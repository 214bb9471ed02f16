"""Fetching public weight files into a cache: resumable, checked by digest, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.files import cache_dir as _default_cache
from phonecv.files import locked
from phonecv.models.catalog import WeightRecord

TIMEOUT = 30.0
ATTEMPTS = 4
_CHUNK = 1 << 18
_log = logging.getLogger("phonecv")


def fetch(record: WeightRecord, *, cache_dir: Path | str | None = None) -> Path:
    """The local copy of a public weight file, downloaded if it is not there.

    An interrupted download goes on where it stopped, also in another process. A file put into the cache by hand under
    the record's name serves as well.

    Args:
        record: from the catalog.
        cache_dir: instead of `cache_dir()`.

    Raises:
        UserError: no connection, no such file, or content that is not the published one. The message says
            what to download by hand and where to put it.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else _default_cache()
    if Path(record.filename).name != record.filename or record.filename in ("", ".", ".."):
        raise UserError(f"{record.filename!r} is not a plain file name")
    target = folder / record.filename
    if target.is_file():
        problem = check_file(target, record)
        if problem:
            raise UserError(f"{target} {problem}; delete it and try again")
        return target
    if not record.url:
        raise UserError(f"these weights cannot be fetched by a program. {record.note}. Save the file as {target}")
    if urllib.parse.urlsplit(record.url).scheme not in ("http", "https"):
        raise UserError(f"{record.url} is not an http or https address")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{target.name}.lock").open("w") as lock:
            while not locked(lock):
                time.sleep(0.2)
            if not target.is_file():  # another process may have been faster
                _log.info("downloading %s to %s", record.url, target)
                _download(record, target)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}); set PHONECV_CACHE to another folder"
        ) from error
    return target


def check_file(path: Path, record: WeightRecord) -> str | None:
    """What is wrong with a downloaded file, or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return "is a web page, not the weights"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights"
    if size < record.min_bytes:
        return f"has {size:,} bytes; the weights alone have {record.min_bytes:,}"
    if record.digest is None:
        return None
    kind, _, expected = record.digest.partition(":")
    actual = digest(path, kind)
    if not actual.startswith(expected):
        return f"is not the published file: its {kind} is {actual[: len(expected)]}, published is {expected}"
    return None


def digest(path: Path, kind: str) -> str:
    """Hex digest of a file: "sha256" and "sha256-prefix" alike, or "git-blob" (git's own SHA-1)."""
    if kind in ("sha256", "sha256-prefix"):
        hasher = hashlib.sha256()
    elif kind == "git-blob":
        # Not for security: git names its objects so.
        hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        raise UserError(f"unknown kind of digest {kind!r} (known: sha256, sha256-prefix, git-blob)")
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def _download(record: WeightRecord, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    by_hand = f"download {record.url} by hand and save it as {target}"
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            complete = _receive(record.url, part)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise UserError(f"{record.url} answered {error.code} {error.reason}; {by_hand}") from error
            complete, reason = False, f"the server answered {error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            complete, reason = False, str(getattr(error, "reason", error)) or type(error).__name__
        else:
            reason = "the connection closed early"
        if complete:
            break
        after = part.stat().st_size if part.is_file() else 0
        failures = failures + 1 if after <= before else 1
        # Without a single byte there is most likely no connection at all; then do not make the person wait.
        if failures >= ATTEMPTS or after == 0:
            kept = f" ({after:,} bytes are kept; the same command goes on from there)" if after else ""
            raise UserError(f"cannot download {record.url}: {reason}{kept}. Without a connection, {by_hand}")
        time.sleep(min(0.2 * 2**failures, 5.0))
    problem = check_file(part, record)
    if problem:
        part.unlink()
        raise UserError(f"what {record.url} sent {problem}; it was discarded. Try again later, or {by_hand}")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _tag_path(part).unlink(missing_ok=True)


def _receive(url: str, part: Path) -> bool:
    """Get the rest of the file into `part`; whether it is complete then."""
    have = part.stat().st_size if part.is_file() else 0
    tag = _tag_path(part)
    request = urllib.request.Request(
        url, headers={"User-Agent": f"phonecv/{__version__}", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.is_file():
            # A file that was replaced on the server meanwhile is sent from its start.
            request.add_header("If-Range", tag.read_text(encoding="ascii").strip())
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing beyond what is there
            total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if total and int(total[1]) == have:
                return True
            part.unlink()
            return _receive(url, part)
        raise
    with response:
        total = _total(response, have)
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return _receive(url, part)
        if response.status != 206:
            have = 0
        identity = _identity(response.headers)
        if identity:
            tag.write_text(identity, encoding="ascii", errors="ignore")
        else:
            tag.unlink(missing_ok=True)
        with part.open("ab" if have else "wb") as file:
            while piece := response.read(_CHUNK):
                file.write(piece)
                have += len(piece)
    return total is None or have == total


def _total(response: Any, have: int) -> int | None:
    """Size of the whole file as far as the server says."""
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == 206 and ranged:
        return int(ranged[1])
    length = response.headers.get("Content-Length", "")
    if not length.isdigit():
        return None
    return int(length) + (have if response.status == 206 else 0)


def _identity(headers: HTTPMessage) -> str:
    """What names this version of the file: a strong ETag, or the date of its last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _tag_path(part: Path) -> Path:
    return part.with_name(part.name + ".tag")
