"""
Why TLS with another server came to nothing: told apart, in words for a log and a label.

Pure: OpenSSL's findings come as numbers and texts. What to change in the settings is said
elsewhere, by whoever knows what the server is to us. Whether a certificate was revoked is
asked nowhere.

Source: RFC 8446, 6.2 (alerts); x509_vfy.h of OpenSSL (numbers).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

NAMES = 8
"""Names of a certificate that are shown; some have a hundred."""

TEXT_SIZE = 120
"""Most characters that are shown of what a stranger wrote into a certificate."""

DEPTH = 9
"""Certificates that may stand between a server's own and a trusted one."""


class Fault(enum.Enum):
    """What went wrong; the value is its name in the log and in metrics."""

    UNTRUSTED = "untrusted-issuer"
    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET = "not-yet-valid"
    WRONG_NAME = "wrong-name"
    NO_NAME = "no-name"
    TOO_DEEP = "chain-too-long"
    PURPOSE = "not-for-servers"
    WEAK = "weak"
    INVALID = "invalid"
    OURS_WANTED = "client-certificate-wanted"
    """The other side asks for our certificate, and we show none."""
    OURS_REFUSED = "client-certificate-refused"
    VERSION = "protocol-version"
    CIPHERS = "cipher"
    NAME_UNKNOWN = "name-unknown"
    """The other side does not serve the name that we ask for."""
    HTTP_VERSION = "http-version"
    NOT_TLS = "not-tls"
    CLOSED = "closed"
    LATE = "timeout"
    OTHER = "other"


@attrs.frozen
class Found:
    """One failure of one handshake."""

    fault: Fault
    text: str
    """What was seen, ASCII: a fragment that follows the server's address."""


class CertificateRefused(Exception):
    """
    A server's certificate is not believed.

    Args:
        found: why.
    """

    def __init__(self, found: Found) -> None:
        super().__init__(found.text)
        self.found = found


_NO_ISSUER = (
    Fault.UNTRUSTED,
    "{whose} is of {issuer}, which it does not send and nobody trusts here",
)
_WEAK = (Fault.WEAK, "{whose} is too weak ({words})")

_CHAIN = {
    7: (Fault.UNTRUSTED, "{whose} is not signed with the key of the {issuer} known here"),
    9: (Fault.NOT_YET, "{whose} is not valid before {begin}"),
    10: (Fault.EXPIRED, "{whose} has expired, at {end}"),
    18: (Fault.SELF_SIGNED, "{whose} is signed by itself alone ({issuer})"),
    19: (Fault.UNTRUSTED, "its chain ends at {subject}, which is not trusted here"),
    22: (Fault.TOO_DEEP, f"its chain has more than {DEPTH} certificates of authorities"),
    25: (Fault.TOO_DEEP, "its chain is longer than {subject} allows"),
    26: (Fault.PURPOSE, "{whose} is not for servers (extended key usage)"),
    **dict.fromkeys((2, 20, 21, 27, 28, 33), _NO_ISSUER),
    **dict.fromkeys((66, 67, 68), _WEAK),
}
"""OpenSSL's errors of a chain: what each is, and how it is said."""

_ANY = (Fault.INVALID, "{whose} is not valid ({words})")


def judged(number: int, depth: int, certificate: x509.Certificate, words: str) -> Found:
    """
    Return why a chain is not believed.

    Args:
        number: of OpenSSL's error.
        depth: of the certificate at which it was found; 0 is the server's own.
        certificate: that one.
        words: OpenSSL's, for an error that has none here.
    """
    fault, text = _CHAIN.get(number, _ANY)
    owner = subject(certificate)
    said = text.format(
        whose="its certificate" if depth == 0 else f"the certificate of {owner}",
        subject=owner,
        issuer=title(certificate.issuer),
        begin=_date(certificate.not_valid_before_utc),
        end=_date(certificate.not_valid_after_utc),
        words=shown(words),
    )
    return Found(fault, said)


def misnamed(wanted: str, certificate: x509.Certificate) -> Found:
    """Return why a certificate is not believed that does not bear the name that was wanted."""
    names = names_of(certificate)
    if not names:
        return Found(
            Fault.NO_NAME,
            "its certificate bears no name (subjectAltName), only its title "
            f"{subject(certificate)}, and {shown(wanted)} is wanted",
        )
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return Found(
        Fault.WRONG_NAME,
        f"its certificate is for {', '.join(names[:NAMES])}{more}, not for {shown(wanted)}",
    )


def unreadable() -> Found:
    """Return why a certificate is not believed that cannot be read."""
    return Found(Fault.INVALID, "its certificate cannot be read")


_ALERTS = (
    ("certificate required", Fault.OURS_WANTED, "wants a client certificate"),
    ("protocol version", Fault.VERSION, "does not speak TLS 1.2 or 1.3"),
    ("unsupported protocol", Fault.VERSION, "does not speak TLS 1.2 or 1.3"),
    ("version too low", Fault.VERSION, "does not speak TLS 1.2 or 1.3"),
    ("no protocols available", Fault.VERSION, "does not speak TLS 1.2 or 1.3"),
    ("unsafe legacy renegotiation", Fault.VERSION, "has no secure renegotiation (RFC 5746)"),
    ("unrecognized name", Fault.NAME_UNKNOWN, "serves nobody of the name that we ask for"),
    ("no application protocol", Fault.HTTP_VERSION, "does not speak HTTP/1.1"),
    ("insufficient security", Fault.CIPHERS, "wants other ciphers than we have"),
    ("no shared cipher", Fault.CIPHERS, "has no cipher that we have"),
    ("cipher returned", Fault.CIPHERS, "has no cipher that we have"),
    ("key too small", Fault.WEAK, "has a key that is too small"),
    ("wrong curve", Fault.CIPHERS, "has no curve that we have"),
    ("wrong version number", Fault.NOT_TLS, "does not speak TLS at all"),
    ("http request", Fault.NOT_TLS, "does not speak TLS at all"),
    ("packet length too long", Fault.NOT_TLS, "does not speak TLS at all"),
    ("excessive message size", Fault.TOO_DEEP, "sends a chain of more than 100 KB"),
)
"""What stands in OpenSSL's text, what that is, and how it is said; the first that fits."""

_ABOUT_OURS = (
    "alert unknown ca",
    "alert bad certificate",
    "alert certificate expired",
    "alert certificate revoked",
    "alert certificate unknown",
    "alert unsupported certificate",
    "alert access denied",
)
"""What a server says of a client's certificate, and some of there being none."""


def broken_off(words: Sequence[str], *, asked: bool, shows: bool) -> Found:
    """
    Return why OpenSSL gave a handshake up.

    Args:
        words: its reasons, the first one first.
        asked: the other side asked for a certificate of ours.
        shows: we have one for it.
    """
    said = "; ".join(words).lower()
    for sign, fault, text in _ALERTS:
        if sign in said:
            return Found(fault, text)
    of_ours = next((sign for sign in _ABOUT_OURS if sign in said), "")
    if of_ours and shows:
        word = of_ours.removeprefix("alert ")
        return Found(Fault.OURS_REFUSED, f"does not take our client certificate ({word})")
    # TLS 1.2 has no alert of its own for a certificate that was asked for and not shown.
    failed = "alert handshake failure" in said
    if (of_ours or failed) and asked and not shows:
        return Found(Fault.OURS_WANTED, "wants a client certificate")
    if failed and asked:
        return Found(Fault.OURS_REFUSED, "does not take our client certificate")
    if failed:
        return Found(Fault.CIPHERS, "has no cipher that we have, or wants something else of us")
    return Found(Fault.OTHER, shown(said) or "breaks off the handshake")


CLOSED = Found(Fault.CLOSED, "closes the connection in the handshake")
LATE = Found(Fault.LATE, "does not finish its handshake")


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses that a certificate bears, as they are shown."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    dns = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return [shown(str(name)) for name in (*dns, *addresses)]


def subject(certificate: x509.Certificate) -> str:
    """Return what a certificate calls its owner."""
    return title(certificate.subject)


def title(name: x509.Name) -> str:
    """Return a common name, or all of it where there is none, in quotation marks."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f'"{shown(str(common[0].value) if common else name.rfc4514_string())}"'


def shown(text: str) -> str:
    """Return what a stranger wrote as one short line of ASCII."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * TEXT_SIZE])
    line = " ".join(printable.split())[:TEXT_SIZE]
    return line.encode("ascii", "backslashreplace").decode("ascii")


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
