"""
Have the authority find what it looks for, for as long as it may look.

txacme's ``IResponder``, but for all names of an order at once: ``challenge`` are the order's
Answers.

Source: RFC 8555 sections 8.3 and 8.4, RFC 8737 section 3.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from txacme.interfaces import IResponder
from zope.interface import implementer

from pomeriumd.acme.challenges import certificate_path, token_path
from pomeriumd.acme.files import write
from pomeriumd.acme.hook import CLEANUP, PRESENT, Hook
from pomeriumd.acme.order import Answer
from pomeriumd.acme.problems import HOOK, NOT_KEPT, AcmeError

HTTP, TLS, DNS = "http-01", "tls-alpn-01", "dns-01"

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

Aside = Callable[..., Deferred[Any]]
"""Calls a function with its arguments where it may take its time."""


@implementer(IResponder)
@attrs.frozen(eq=False)
class FileResponder:
    """
    Lays answers into ``autocert_dir``, where every process finds them.

    Args:
        challenge_type: HTTP or TLS.
        place: ``autocert_dir``.
        aside: for work that waits for the disk.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
    """

    challenge_type: str
    _place: str
    _aside: Aside
    _now: Callable[[], float]
    _random: Callable[[int], bytes]

    def start_responding(
        self, server_name: str, challenge: Sequence[Answer], response: object
    ) -> Deferred[None]:
        """Lay them there."""
        return self._aside(self._lay, challenge)

    def _lay(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            path = self._path(answer)
            if path is None:
                raise AcmeError("the authority's token is none", names=frozenset({answer.name}))
            content = answer.key_authorization.encode("ascii")
            if self.challenge_type == TLS:
                content = validation(answer, self._now())
            try:
                write(path, content, self._random)
            except OSError as error:
                raise not_kept(path, error) from error

    def stop_responding(
        self, server_name: str, challenge: Sequence[Answer], response: object
    ) -> Deferred[None]:
        """Take them away."""
        return self._aside(self._take_away, challenge)

    def _take_away(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            path = self._path(answer)
            if path is not None:
                path.unlink(missing_ok=True)

    def _path(self, answer: Answer) -> Path | None:
        if self.challenge_type == TLS:
            return certificate_path(self._place, answer.host)
        return token_path(self._place, answer.token)


@implementer(IResponder)
@attrs.frozen(eq=False)
class HookResponder:
    """Has a program make records, one after the other: two may have one name."""

    _hook: Hook
    challenge_type: str = DNS
    _log = Logger()

    def start_responding(
        self, server_name: str, challenge: Sequence[Answer], response: object
    ) -> Deferred[None]:
        """Have them made."""
        return Deferred.fromCoroutine(self._present(challenge))

    async def _present(self, answers: Sequence[Answer]) -> None:
        for done, answer in enumerate(answers):
            try:
                await self._hook.run(PRESENT, *record(answer))
            except (AcmeError, CancelledError) as error:
                await self._cleanup(answers[: done + 1])
                if isinstance(error, AcmeError):
                    error.names = frozenset({answer.name})
                raise

    def stop_responding(
        self, server_name: str, challenge: Sequence[Answer], response: object
    ) -> Deferred[None]:
        """Have them removed; a record that stays does no harm, and is said."""
        return Deferred.fromCoroutine(self._cleanup(challenge))

    async def _cleanup(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            try:
                await self._hook.run(CLEANUP, *record(answer))
            except AcmeError as error:
                if error.outcome != HOOK:
                    raise
                self._log.warn("a record may be left: {problem}", problem=str(error))


def record(answer: Answer) -> tuple[str, str]:
    """Return the name of a TXT record, and what it is to say. RFC 8555 section 8.4."""
    digest = hashlib.sha256(answer.key_authorization.encode("ascii")).digest()
    value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
    return f"_acme-challenge.{answer.host}.", value


def validation(answer: Answer, now: float) -> bytes:
    """Return a key and the certificate that proves a host, PEM. RFC 8737 section 3."""
    digest = hashlib.sha256(answer.key_authorization.encode("ascii")).digest()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    today = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(answer.host)]), critical=True)
        # An OCTET STRING of 32 octets.
        .add_extension(
            x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def not_kept(path: Path | str, error: OSError) -> AcmeError:
    """Return what is said where nothing can be written."""
    return AcmeError(
        f"{str(path)!a} cannot be written: {error.strerror}; see to autocert_dir, which has "
        "to belong to the daemon's user",
        NOT_KEPT,
        whole=True,
    )
