"""`phonecv bench --serve`: a page that any phone on the network opens to time exported files and to try them.

Only what was chosen is served, and only to those who know the address: it holds a token that is new every time. All
answers ask for cross-origin isolation, without which browsers give WebAssembly one thread.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import logging
import os
import re
import secrets
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.benchmarking.page_figures import MAX_BYTES, FiguresError, Reports, check, device_name, parse
from phonecv.benchmarking.page_models import PageModel, open_models
from phonecv.benchmarking.tls import local_addresses, self_signed
from phonecv.browser import fetch
from phonecv.errors import UserError
from phonecv.text import counted, printable

log = logging.getLogger("phonecv.benchmarking")

PORT = 8420

#: Connections at a time, of all devices and of one. A browser opens six.
MAX_CONNECTIONS, MAX_OF_ONE = 64, 24

#: For the head of a request (also between two requests), for figures, and for the rest of what was refused.
HEAD_SECONDS, BODY_SECONDS, LINGER_SECONDS = 20.0, 60.0, 1.0

#: Bytes that are read of a request without the token after it was refused.
_CRUMBS = 4096

#: The folder of the page, and its own files there; others are not served.
_PAGE = Path(__file__).parent / "page"
_OWN = (
    "index.html", "style.css", "app.js", "bench.js", "device.js", "engines.js", "frame.html", "frame.js", "look.js",
    "words.js",
)  # fmt: skip

#: Those that other pages hold, too.
_SHARED = ("drawing.js", "picture.js")

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".png": "image/png",
}


class PageServer(ThreadingHTTPServer):
    """Serves the page under ``/<token>/`` and takes figures at ``/<token>/figures``.

    Port 0 takes a free one; with a certificate it is https. `seconds` is about what the rounds of a row of the table
    take; `saved` is told of every report and where it went.

    Raises:
        UserError: the page's runtimes are not there, or the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        models: Sequence[PageModel],
        out: Path,
        *,
        host: str = "0.0.0.0",
        port: int = PORT,
        rounds: int = 30,
        seconds: float = 15.0,
        certificate: tuple[Path, Path] | None = None,
        saved: Callable[[dict[str, Any], Path], None] = lambda report, path: None,
    ) -> None:
        if not fetch.ready():
            raise UserError(
                "the page's runtimes are not here; with npm installed, `python -m phonecv.browser.fetch` "
                "brings them (in a clone of the repository `python3 dev.py page`)"
            )
        self.token = secrets.token_urlsafe(16)
        self.models, self.saved = list(models), saved
        offered = [model.to_page(number) for number, model in enumerate(models)]
        kept = ("model", "form", "precision", "sha256", "bytes")
        self.reports = Reports(out, {item["name"]: {key: item[key] for key in kept} for item in offered})
        config = {"version": __version__, "rounds": rounds, "seconds": seconds, "files": offered}
        #: Address below the token -> what is made for this run, and its kind.
        self.made = {"config.json": (json.dumps(config).encode(), "application/json")}
        for number, model in enumerate(models):
            for name, source in model.sources.items():
                self.made[model.made_place(name, number)] = (source.encode(), _KINDS[".mjs"])
        self.assets = {place: (path, _identity(path.stat())) for place, path in _assets(models).items()}
        self._open: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.policy = _policy()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot listen on {host} port {port}: {error}; --port 0 takes a free one") from error
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # Shaking hands here would let one slow client keep all others waiting; the handler's thread does it.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.scheme = "https"

    def address(self, host: str = "localhost") -> str:
        """Where the page is, seen from `host`'s name."""
        return f"{self.scheme}://{host}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, unless there are too many, or too many of one device."""
        host = client_address[0]
        with self._counting:
            welcome = self._open.total() < MAX_CONNECTIONS and self._open[host] < MAX_OF_ONE
            self._open[host] += welcome
        if welcome:
            super().process_request(request, client_address)
        else:
            log.debug("too many connections; one from %s was closed", host)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection and count it off."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._open[client_address[0]] -= 1

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._counting:
            return self._open.total()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A phone that goes away in the middle is no news."""
        log.debug("a connection from %s ended badly", client_address, exc_info=True)


def _assets(models: Sequence[PageModel]) -> dict[str, Path]:
    """Address below the token -> file. Whatever is not here does not exist."""
    found = {name: _PAGE / name for name in _OWN} | {name: fetch.FOLDER / name for name in _SHARED}
    found[""] = found["index.html"]
    found |= {f"vendor/{part}": fetch.VENDOR / part for part in fetch.PARTS.values()}
    for number, model in enumerate(models):
        found[f"models/{number}"] = model.path
        if model.picture is not None:
            found[f"tests/{number}.png"] = model.picture
    return found


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """What makes a file the one that was offered: not its name, which may come to stand for another."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _policy() -> str:
    """Content security policy: nothing from elsewhere, no inline script but the frame's map of imports."""
    frame = (_PAGE / "frame.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="importmap">(.*?)</script>', frame, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return (
        f"default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval' 'sha256-{digest}'; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self' blob: data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; "
        "object-src 'none'"
    )


class _Patience(io.RawIOBase):
    """What a connection sends, until `until`: one that sends a letter a minute keeps no thread."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.until = connection, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        self.connection.settimeout(left)
        try:
            return self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(_Handler.timeout)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"phonecv/{__version__}", ""
    timeout = 60  # of a connection that takes nothing of what is sent
    raw_requestline: bytes

    def setup(self) -> None:
        super().setup()
        self._patience = _Patience(self.connection)
        self.rfile = io.BufferedReader(self._patience)

    def handle_one_request(self) -> None:
        self._patience.until = time.monotonic() + HEAD_SECONDS
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Judge the token by the first line, before anything else of the request is read."""
        words = str(self.raw_requestline, "iso-8859-1").split()
        if len(words) < 2 or self._place_in(words[1]) is not None:
            return super().parse_request()
        self.requestline, self.command, self.path = "", words[0], words[1]
        self.request_version, self.close_connection = self.protocol_version, True
        self._refuse(HTTPStatus.FORBIDDEN, "the address lacks the token that phonecv printed", body=words[0] != "HEAD")
        self._linger(_CRUMBS)
        return False

    def _linger(self, most: int) -> None:
        """Read a little more: a browser that is cut off while it sends shows no answer."""
        self._patience.until = time.monotonic() + LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.rfile.read(most)

    @property
    def page(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def do_GET(self) -> None:
        self._get(body=True)

    def do_HEAD(self) -> None:
        self._get(body=False)

    def do_POST(self) -> None:
        place = self._place()
        self.close_connection = True
        length = self.headers.get("Content-Length", "")
        if place != "figures":
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is taken here")
        elif not self.headers.get("Content-Type", "").startswith("application/json"):
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only JSON is taken")
        elif not length.isdecimal() or len(length) > 12:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a length is needed")
        elif int(length) > MAX_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BYTES} bytes")
        else:
            self._patience.until = time.monotonic() + BODY_SECONDS
            self._take(self.rfile.read(int(length)))
            return
        if length.isdecimal():
            self._linger(min(int(length[:12]), 2 * MAX_BYTES))

    def _take(self, body: bytes) -> None:
        reports = self.page.reports
        try:
            report = check(parse(body), list(reports.files))
            path = reports.save(report)
        except FiguresError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        except OSError as error:
            log.warning("figures of %s were not saved: %s", self.client_address[0], error)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the computer could not save them")
            return
        self.page.saved(report, path)
        self._send(HTTPStatus.OK, _json({"saved": str(path.relative_to(reports.folder))}), "application/json")

    def _get(self, *, body: bool) -> None:
        place = self._place()
        if place in self.page.made:
            self._send(HTTPStatus.OK, *self.page.made[place], body=body)
        elif place in self.page.assets:
            self._send_file(place, *self.page.assets[place], body=body)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here", body=body)

    def _place(self) -> str:
        """What is asked for below the token."""
        return self._place_in(self.path) or ""

    def _place_in(self, path: str) -> str | None:
        """What an address asks for below the token; None without the right token."""
        token, slash, place = path.partition("?")[0].removeprefix("/").partition("/")
        given = token.encode("utf-8", "surrogateescape")
        return place if hmac.compare_digest(given, self.page.token.encode()) and slash else None

    def _send_file(self, place: str, path: Path, identity: tuple[int, ...], *, body: bool) -> None:
        try:
            # Without waiting: a pipe in the file's place would keep the thread for ever.
            file = os.fdopen(
                os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
            )
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, f"{path.name} is no longer there", body=body)
            return
        with file:
            found = os.fstat(file.fileno())
            if _identity(found) != identity:
                self._refuse(HTTPStatus.NOT_FOUND, f"{path.name} is not the file that was offered", body=body)
                return
            size = found.st_size
            kind = _KINDS.get(path.suffix.lower(), "application/octet-stream")
            # Each row of the table loads its runtime anew, and the token makes addresses of one run of the server.
            lasting = place.startswith("vendor/")
            self._head(HTTPStatus.OK, kind, size, "private, max-age=86400" if lasting else "no-cache")
            if body:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

    def _refuse(self, status: HTTPStatus, why: str, *, body: bool = True) -> None:
        self._send(status, _json({"error": why}), "application/json", body=body)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, *, body: bool = True) -> None:
        self._head(status, kind, len(content), "no-store")
        if body:
            self.wfile.write(content)

    def _head(self, status: HTTPStatus, kind: str, size: int, cache: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("Cache-Control", cache)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def end_headers(self) -> None:
        """Isolation and the rest on everything, errors of the library's own included."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", self.page.policy)
        self.send_header("Permissions-Policy", "camera=(self)")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        # The address holds the token.
        log.debug("%s: %s", self.client_address[0], (format % arguments).replace(self.page.token, "..."))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def serve(
    files: Sequence[str | Path],
    *,
    out: Path | str,
    host: str = "0.0.0.0",
    port: int = PORT,
    https: bool = False,
    rounds: int = 30,
    seconds: float = 15.0,
    say: Callable[[str], None] = print,
) -> int:
    """Offer the page with exported .onnx and .tflite files until Ctrl-C; returns how many reports came.

    Host "127.0.0.1" is for this computer alone, port 0 takes a free one, and https has a certificate made for this
    run, which browsers ask about. For the rest see `PageServer`; `say` prints a line.

    Raises:
        UserError: a file does not do, the runtimes or a program are missing, or the port is taken.
    """
    if rounds < 1 or not seconds > 0:
        raise UserError(f"rounds {rounds} and seconds {seconds:g} must be positive; 30 and 15 are the defaults")
    models = open_models(files)
    everywhere = host in ("0.0.0.0", "")
    names = local_addresses() if everywhere else [host]

    def saved(report: dict[str, Any], path: Path) -> None:
        rows, failed = len(report["rows"]), len(report["failed"])
        device = f"{printable(device_name(report))} ({printable(report['device']['browser'])})"
        say(f"{device}: {counted(rows, 'rows')}" + (f", {failed} failed" * bool(failed)) + f" -> {path}")

    with ExitStack() as stack:
        certificate = None
        # The key is on the disk only until it was read: whatever ends the server, none is left behind.
        with tempfile.TemporaryDirectory(prefix="phonecv-https-") as folder:
            if https:
                certificate, fingerprint = self_signed(Path(folder), ["localhost", *names])
                say(f"certificate of this run, SHA-256 {fingerprint}; browsers ask once whether to trust it")
            server = stack.enter_context(
                PageServer(
                    models, Path(out), host=host, port=port, rounds=rounds, seconds=seconds, certificate=certificate,
                    saved=saved,
                )
            )  # fmt: skip
        for name in names:
            say(f"open on the phone:     {server.address(name)}")
        if everywhere or host in ("127.0.0.1", "localhost"):
            say(f"or on this computer:   {server.address()}")
        if not https:
            say("over http other devices get one thread and no camera; --https gives both")
        say(f"figures go to {out}; Ctrl-C ends")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say(f"{server.reports.count} reports came")
        return server.reports.count
