"""
What a responder is asked about a certificate, and which of its answers may be shown.

Pure: bytes and values in, bytes and values out, or an error that says what is wrong. An answer
is believed only if the certificate's issuer signed it, or somebody whom the issuer has
certified for this (a delegated responder); if it is about this very certificate; and in its
time. There is no nonce: responders answer with what they have signed for everybody.

Source: RFC 6960; RFC 7633 for certificates that must be shown with an answer; RFC 9654 (which
drops SHA-1 signatures, and keeps its use to name an issuer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from pomeriumd.net.pem import title

LARGEST = 65_536
"""Bytes of an answer. Real ones have 0.3 to 3 KB; TLS has room for 16 MB, in each handshake."""

LONGEST_URL = 2_048

_PLAIN = re.compile(r"[!-~]+")
"""What a URL is made of: nothing here can end a line or a word of a request."""

SKEW = 300.0
"""Seconds that a responder's clock may be ahead of ours."""

UNTIL_NEWER = 86_400.0
"""Seconds for which an answer holds that does not say until when. Browsers do the same."""

MOST_CERTIFICATES = 8
"""Of an answer, to look for its signer among."""

SIGNED_BY = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
"""Digests of signatures that count."""

NAMED_BY = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)
"""Digests that name the issuer, in an answer; nothing rests on them but the choice."""


class Revoked(ValueError):
    """The issuer has revoked the certificate, and signed that it did."""


@attrs.frozen(eq=False)
class Subject:
    """A certificate that an answer can be had for."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    url: str
    """Of the responder; plain http."""

    @property
    def request(self) -> bytes:
        """Return the question for the responder, DER. SHA-1 is what all of them understand."""
        builder = ocsp.OCSPRequestBuilder().add_certificate(
            self.certificate,
            self.issuer,
            hashes.SHA1(),  # noqa: S303  # a name and no seal
        )
        return builder.build().public_bytes(Encoding.DER)


@attrs.frozen
class Staple:
    """An answer that may be shown with a certificate."""

    der: bytes = attrs.field(repr=False)
    begin: float
    """When it was true, by the responder: seconds since the epoch."""
    until: float
    """When it must not be shown any more."""


def must_staple(certificate: x509.Certificate) -> bool:
    """Return whether browsers are told to refuse the certificate without an answer."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.TLSFeature)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return x509.TLSFeatureType.status_request in found.value


def responder(certificate: x509.Certificate) -> str | None:
    """Return the URL of the first responder that the certificate names; None if it names none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return None
    for way in found.value:
        if way.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            way.access_location, x509.UniformResourceIdentifier
        ):
            return way.access_location.value
    return None


def subject_of(chain: Sequence[x509.Certificate]) -> Subject | None:
    """
    Return what is to be asked about the first certificate of a chain.

    Args:
        chain: at least one, as it is shown to clients.

    Returns:
        None where the certificate names no responder.

    Raises:
        ValueError: it names one that cannot be asked; the text says what to do.
    """
    certificate = chain[0]
    url = responder(certificate)
    if url is None:
        return None
    _check_url(url)
    for issuer in chain[1:]:
        with suppress(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            certificate.verify_directly_issued_by(issuer)
            return Subject(certificate, issuer, url)
    raise ValueError(
        "names an OCSP responder, but its issuer's certificate does not follow it; put the whole "
        "chain into the file"
    )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        named = parts.scheme == "http" and parts.hostname and (parts.port or 1)
    except ValueError:
        named = None
    # What is signed needs no TLS; and https could need this very answer first.
    if not named or parts.username is not None or not _PLAIN.fullmatch(url):
        raise ValueError(f"names the OCSP responder {url[:100]!a}, want http://HOST/...")
    if len(url) > LONGEST_URL:
        raise ValueError(f"names an OCSP responder in over {LONGEST_URL} characters")


def read(der: bytes, subject: Subject, now: float) -> Staple:
    """
    Return an answer as something to show, once all of it has been checked.

    Args:
        der: from the responder, or from a file that anybody could have written.
        subject: the certificate.
        now: seconds since the epoch.

    Raises:
        Revoked: it is good, and says that the certificate is revoked.
        ValueError: it must not be shown; the text says why.
    """
    if len(der) > LARGEST:
        raise ValueError(f"the answer has over {LARGEST} bytes")
    try:
        answer = ocsp.load_der_ocsp_response(der)
    except ValueError:
        raise ValueError("the answer is no OCSP response") from None
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        said = answer.response_status.name.lower().replace("_", " ")
        raise ValueError(f"the responder says: {said}")
    try:
        single = _single(answer, subject)
        _verify(answer, subject.issuer, now)
        begin, until = _times(single)
    except (TypeError, UnsupportedAlgorithm):
        raise ValueError("the answer has something in it that cannot be read") from None
    if begin > now + SKEW:
        raise ValueError(f"the answer is from the future ({_shown(begin)}); compare the clocks")
    if until <= now:
        raise ValueError(f"the answer expired at {_shown(until)}")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        raise Revoked(f"revoked at {_shown(_seconds(single.revocation_time_utc))}")
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise ValueError("the responder does not know the certificate")
    return Staple(der, begin, until)


def until(der: bytes) -> float:
    """
    Return when an answer ends that has been checked before, in seconds since the epoch.

    Raises:
        ValueError: it is no good answer.
    """
    try:
        answer = ocsp.load_der_ocsp_response(der)
    except ValueError:
        raise ValueError("this cannot be read") from None
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError("this is an error")
    return min((_times(single)[1] for single in answer.responses), default=0.0)


def _single(answer: ocsp.OCSPResponse, subject: Subject) -> ocsp.OCSPSingleResponse:
    """Return the part of the answer that is about this certificate."""
    for single in answer.responses:
        if single.serial_number != subject.certificate.serial_number:
            continue
        digest = single.hash_algorithm
        if not isinstance(digest, NAMED_BY):
            continue
        builder = ocsp.OCSPRequestBuilder()
        asked = builder.add_certificate(subject.certificate, subject.issuer, digest).build()
        found = single.issuer_name_hash, single.issuer_key_hash
        if found == (asked.issuer_name_hash, asked.issuer_key_hash):
            return single
    raise ValueError("the answer is about another certificate")


def _verify(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> None:
    """See that the issuer signed the answer, or somebody for it."""
    digest = answer.signature_hash_algorithm
    if digest is not None and not isinstance(digest, SIGNED_BY):
        raise ValueError(f"the answer is signed with {digest.name}, want sha256 or better")
    candidates = [issuer]
    candidates += [
        one for one in answer.certificates[:MOST_CERTIFICATES] if _delegated(one, issuer, now)
    ]
    if not any(_signed(answer, one) for one in candidates if _is_responder(answer, one)):
        raise ValueError("neither the certificate's issuer signed the answer nor one it delegated")


def _is_responder(answer: ocsp.OCSPResponse, one: x509.Certificate) -> bool:
    """Return whether the answer says that it comes from this one."""
    if answer.responder_name is not None:
        return answer.responder_name == one.subject
    key = x509.SubjectKeyIdentifier.from_public_key(one.public_key()).digest
    return answer.responder_key_hash == key


def _delegated(one: x509.Certificate, issuer: x509.Certificate, now: float) -> bool:
    """Return whether the issuer lets this one answer for it. RFC 6960, 4.2.2.2."""
    try:
        one.verify_directly_issued_by(issuer)
        usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (
        x509.ExtensionNotFound,
        InvalidSignature,
        TypeError,
        UnsupportedAlgorithm,
        ValueError,
    ):
        return False
    begin, end = _seconds(one.not_valid_before_utc), _seconds(one.not_valid_after_utc)
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage and begin <= now + SKEW and now < end


def _signed(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, signature, signed = signer.public_key(), answer.signature, answer.tbs_response_bytes
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
            return True
        digest = answer.signature_hash_algorithm
        if not isinstance(digest, SIGNED_BY):
            return False
        if isinstance(key, RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, signed, ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _times(single: ocsp.OCSPSingleResponse) -> tuple[float, float]:
    """Return from when and until when, in seconds since the epoch."""
    begin = _seconds(single.this_update_utc)
    newer = single.next_update_utc
    return begin, begin + UNTIL_NEWER if newer is None else _seconds(newer)


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def whose(certificate: x509.Certificate) -> str:
    """Return a certificate as log lines have it."""
    return f"the certificate of {title(certificate)}"
