"""`phonecv bench --serve`: a page that any phone on the network opens to time exported files and to try them.

Only what was chosen is served, and only to those who know the address: it holds a token that is new every time. All
answers ask for cross-origin isolation, without which browsers give WebAssembly one thread.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.benchmarking.page import fetch
from phonecv.benchmarking.page_figures import MAX_BYTES, FiguresError, Reports, check, device_name, parse
from phonecv.benchmarking.page_models import PageModel, open_models
from phonecv.benchmarking.tls import local_addresses, self_signed
from phonecv.errors import UserError

log = logging.getLogger("phonecv.benchmarking")

PORT = 8420

#: The page's own files; others in its folder are not served.
_OWN = (
    "index.html", "style.css", "app.js", "bench.js", "device.js", "engines.js", "frame.html", "frame.js", "look.js",
    "picture.js", "words.js",
)  # fmt: skip

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

    Args:
        models: what the page may have.
        out: run folder for what comes back.
        host: address to listen on.
        port: 0 for a free one.
        rounds: of timing, at most.
        seconds: of rounds for each row of the table, about.
        certificate: certificate and key for https; None for http.
        saved: told of every report and where it went.

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
                "the page's runtimes are not here; with npm installed, `python -m phonecv.benchmarking.page.fetch` "
                "brings them (in a clone of the repository `python3 dev.py page`)"
            )
        self.token = secrets.token_urlsafe(16)
        self.models, self.saved = list(models), saved
        facts = [model.to_page(number) for number, model in enumerate(models)]
        kept = ("model", "form", "precision", "sha256", "bytes")
        self.reports = Reports(out, {item["name"]: {key: item[key] for key in kept} for item in facts})
        config = {"version": __version__, "rounds": rounds, "seconds": seconds, "files": facts}
        self.config = json.dumps(config).encode()
        self.assets = _assets(models)
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A phone that goes away in the middle is no news."""
        log.debug("a connection from %s ended badly", client_address, exc_info=True)


def _assets(models: Sequence[PageModel]) -> dict[str, Path]:
    """Address below the token -> file. Whatever is not here does not exist."""
    found = {name: fetch.PAGE / name for name in _OWN}
    found[""] = found["index.html"]
    found |= {f"vendor/{part}": fetch.VENDOR / part for part in fetch.PARTS.values()}
    for number, model in enumerate(models):
        found[f"models/{number}"] = model.path
        if model.picture is not None:
            found[f"tests/{number}.png"] = model.picture
    return found


def _policy() -> str:
    """Content security policy: nothing from elsewhere, no inline script but the frame's map of imports."""
    frame = (fetch.PAGE / "frame.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="importmap">(.*?)</script>', frame, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return (
        f"default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval' 'sha256-{digest}'; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self' blob: data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; "
        "object-src 'none'"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"phonecv/{__version__}", ""
    timeout = 60  # of a silent connection

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
        if place is None:
            self._refuse(HTTPStatus.FORBIDDEN, "the address lacks the token that phonecv printed")
        elif place != "figures":
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is taken here")
        elif not self.headers.get("Content-Type", "").startswith("application/json"):
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only JSON is taken")
        elif not length.isdecimal() or len(length) > 12:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a length is needed")
        elif int(length) > MAX_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BYTES} bytes")
        else:
            self._take(self.rfile.read(int(length)))
            return
        # A browser that is cut off while it sends shows no answer, so what was refused is read all the same.
        if length.isdecimal():
            self.rfile.read(min(int(length[:12]), 2 * MAX_BYTES))

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
        if place is None:
            self._refuse(HTTPStatus.FORBIDDEN, "the address lacks the token that phonecv printed", body=body)
        elif place == "config.json":
            self._send(HTTPStatus.OK, self.page.config, "application/json", body=body)
        elif place in self.page.assets:
            self._send_file(place, self.page.assets[place], body=body)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here", body=body)

    def _place(self) -> str | None:
        """What is asked for below the token; None without the right token."""
        token, slash, place = self.path.partition("?")[0].removeprefix("/").partition("/")
        given = token.encode("utf-8", "surrogateescape")
        return place if hmac.compare_digest(given, self.page.token.encode()) and slash else None

    def _send_file(self, place: str, path: Path, *, body: bool) -> None:
        try:
            file = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, f"{path.name} is no longer there", body=body)
            return
        with file:
            size = file.seek(0, 2)
            file.seek(0)
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
    """Offer the page until Ctrl-C.

    Args:
        files: exported .onnx and .tflite files.
        out: run folder for what phones send.
        host: address to listen on; "127.0.0.1" for this computer alone.
        port: 0 for a free one.
        https: with a certificate made for this run, which browsers ask about.
        rounds: of timing, at most.
        seconds: of rounds for each row, about.
        say: prints a line.

    Returns:
        How many reports came.

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
        browser = report["device"]["browser"]
        say(f"{device_name(report)} ({browser}): {rows} rows" + (f", {failed} failed" * bool(failed)) + f" -> {path}")

    with ExitStack() as stack:
        certificate = None
        if https:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phonecv-https-")))
            certificate, fingerprint = self_signed(folder, ["localhost", *names])
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


__all__ = ["PORT", "PageServer", "serve"]
