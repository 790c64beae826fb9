"""
The answers of OCSP responders that are shown with certificates, as handshakes look them up.

One place for a process, whatever generation serves: contexts know it, and an answer that is
renewed is there for the next handshake, with nothing built anew. Where an answer comes from,
and that it has been checked, is others' business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from pomeriumd.net.ocsp import responder


def named(certificate: x509.Certificate) -> str:
    """Return what a certificate's answer is kept under: 64 hexadecimal digits."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


@attrs.frozen
class Shown:
    """An answer that may be shown, and until when."""

    der: bytes = attrs.field(repr=False)
    until: float
    """Seconds since the epoch."""


@attrs.define(eq=False)
class Staples:
    """
    What there is to show.

    Args:
        now: seconds since the epoch.
    """

    _now: Callable[[], float]
    kept: dict[str, Shown] = attrs.field(factory=dict, repr=False)
    """By what ``named`` says of the certificate."""

    def find(self, name: str) -> bytes:
        """Return the answer for a certificate; empty if there is none in its time."""
        shown = self.kept.get(name)
        return shown.der if shown is not None and self._now() < shown.until else b""

    def serve(self, context: SSL.Context, certificate: x509.Certificate) -> None:
        """
        Have a context show the answer to clients that ask for one.

        Args:
            context: of this certificate; new.
            certificate: where it names no responder nothing is done, and nothing costs.
        """
        if responder(certificate) is not None:
            context.set_ocsp_server_callback(partial(_shown, self, named(certificate)))


def _shown(staples: Staples, name: str, connection: SSL.Connection, data: object) -> bytes:
    del connection, data
    return staples.find(name)
