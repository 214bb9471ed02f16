"""https for the phone page: this machine's addresses, and a certificate that lasts as long as the server."""

from __future__ import annotations

import hashlib
import ipaddress
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from phonecv.errors import UserError


def local_addresses() -> list[str]:
    """This machine's address in its network; empty without one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: only the way there is looked up
        except OSError:
            return []
        address = probe.getsockname()[0]
    return [] if ipaddress.ip_address(address).is_loopback else [address]


def self_signed(folder: Path, names: Sequence[str]) -> tuple[tuple[Path, Path], str]:
    """A new certificate for these names and addresses, by OpenSSL's program.

    Returns:
        Certificate and key in `folder`, and the certificate's fingerprint for comparing by eye.
    """
    program = shutil.which("openssl")
    if program is None:
        raise UserError(
            "--https needs the program openssl, which is not installed here; without it, serve over http: photos work, "
            "but only with one thread and without the camera"
        )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256",
        "-days", "14", "-subj", "/CN=phonecv", "-addext", f"subjectAltName={','.join(_named(name) for name in names)}",
        "-addext", "extendedKeyUsage=serverAuth", "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not certificate.is_file():
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"openssl could not make a certificate: {lines[-1]}")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest().upper()
    return (certificate, key), ":".join(digest[start : start + 2] for start in range(0, 64, 2))


def _named(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"
