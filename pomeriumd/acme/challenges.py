"""
What an authority that checks a name is answered with, as it lies in ``autocert_dir``.

Whoever orders writes it there (``responding``), and everybody answers: each process of this host,
and the other host of a pair that shares the directory. Nothing is remembered, so that an answer
is there at once and gone when it is taken back.

Source: RFC 8555 section 8.3 (HTTP-01), RFC 8737 section 3 (TLS-ALPN-01).
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

DIRECTORY = "challenges"
"""Below ``autocert_dir``."""

PROTOCOL = b"acme-tls/1"
"""What a checking authority offers by ALPN, alone. RFC 8737 section 6.2."""

LARGEST = 8192
"""Bytes of an answer; ours have some hundred, and a certificate with its key some thousand."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")
"""RFC 8555 section 8.1 wants 128 bits of entropy, in base64url. No dot and no slash: no name of
a file elsewhere."""

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_LONGEST_NAME = 253


@attrs.frozen
class Challenges:
    """
    The answers that are there at this moment.

    Args:
        directory: ``autocert_dir``.
    """

    _directory: str

    def key_authorization(self, token: str) -> bytes | None:
        """
        Return the body of ``/.well-known/acme-challenge/TOKEN``; None for a token of nobody's.

        Args:
            token: the last part of the path as it came; anything may stand in it.
        """
        path = token_path(self._directory, token)
        return None if path is None else _read(path)

    def certificate(
        self, name: bytes | None
    ) -> tuple[x509.Certificate, EllipticCurvePrivateKey] | None:
        """
        Return what a handshake with PROTOCOL shows; None for a name that nobody checks now.

        Args:
            name: the server name of the hello, in any case; None where there was none.
        """
        path = certificate_path(self._directory, (name or b"").decode("ascii", "replace").lower())
        pem = None if path is None else _read(path)
        if pem is None:
            return None
        try:
            key = load_pem_private_key(pem, None)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            return None
        return (certificate, key) if isinstance(key, EllipticCurvePrivateKey) else None


def token_path(directory: str, token: str) -> Path | None:
    """Return where the answer to a token lies; None if it can be no token."""
    if _TOKEN.fullmatch(token) is None:
        return None
    return Path(directory, DIRECTORY, f"{token}.token")


def certificate_path(directory: str, name: str) -> Path | None:
    """Return where the certificate for a name that is checked lies; None if it can be none."""
    if len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        return None
    return Path(directory, DIRECTORY, f"{name}.pem")


def _read(path: Path) -> bytes | None:
    """Return what a small file of ours holds; None if there is none, or something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return None
        return os.read(descriptor, LARGEST) or None
    except OSError:
        return None
    finally:
        os.close(descriptor)
