"""
What is to be said of one certificate, whichever hosts it is shown for.

Pure: the time, the authorities and what is known of files are arguments. Chains are verified by
OpenSSL, as proxies, balancers and curl do it.
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import pairwise

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from OpenSSL import crypto

from pomeriumd.net.pem import read_certificates, read_pair
from pomeriumd.settings.values import CertificatePair

SOON_DAYS = 30
"""With fewer left a certificate is to be renewed; of one with a short life with a third left."""

RSA_BITS = 2048
"""Below it OpenSSL refuses to serve, and browsers refuse to come."""

_BROKEN = (hashes.MD5, hashes.SHA1)


class Severity(IntEnum):
    """How bad something is; the exit status is that of the worst."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


@attrs.frozen
class Missing:
    """Something that is not as it should be, and what to do."""

    severity: Severity
    text: str


@attrs.frozen(eq=False)
class Trust:
    """
    Somebody who trusts some authorities.

    Args:
        label: who; the table shows it.
        store: the authorities.
        is_system: they are those of the system, which is what browsers are likely to have.
    """

    label: str
    store: crypto.X509Store = attrs.field(repr=False)
    is_system: bool = False


@attrs.frozen
class KeptIn:
    """A file that was read for the settings."""

    path: str
    mode: int
    """As ``st_mode`` has it."""
    content: bytes = attrs.field(default=b"", repr=False)

    @property
    def is_open(self) -> bool:
        """Return whether everybody on the machine may read it."""
        return bool(self.mode & stat.S_IROTH)

    def holds(self, pem: bytes) -> bool:
        """Return whether a key stands in it among other things: as PEM, or as base64 of that."""
        line = pem.splitlines()[1]
        # Without the end: whether a line break stood there is not known any more.
        encoded = base64.b64encode(pem.rstrip(b"\r\n"))[:-4]
        return line in self.content or encoded in b"".join(self.content.split())


@attrs.frozen(kw_only=True)
class Certificate:
    """One certificate of the settings, and what is to be said of it."""

    pair: CertificatePair = attrs.field(repr=False)
    file: str
    """Its path; empty where it stands in the settings themselves."""
    subject: str
    issuer: str
    end: datetime
    days: int
    """Whole days that are left; below 0 it has expired."""
    trusts: tuple[Trust, ...]
    missing: tuple[Missing, ...]

    @property
    def browsers(self) -> bool:
        """Return whether browsers are likely to trust it."""
        return any(trust.is_system for trust in self.trusts)


def looked_at(
    pair: CertificatePair,
    now: float,
    trusts: Sequence[Trust],
    files: Mapping[bytes, KeptIn],
    settings_file: KeptIn,
) -> Certificate:
    """
    Return what is to be said of a certificate.

    Args:
        pair: as the settings have it.
        now: seconds since the epoch.
        trusts: whose authorities are known here.
        files: those that were read, by their content without the line break at its end.
        settings_file: may hold the keys that are in none of these.
    """
    chain = read_certificates(pair.chain)
    today = datetime.fromtimestamp(now, UTC)
    believed = tuple(trust for trust in trusts if _verifies(chain, trust.store, today))
    key = pair.key.reveal()
    held = files.get(key.rstrip(b"\r\n"))
    if held is None and settings_file.holds(key):
        held = settings_file
    return Certificate(
        pair=pair,
        file=_path(files, pair.chain),
        subject=_title(chain[0].subject),
        issuer=_title(chain[0].issuer),
        end=chain[0].not_valid_after_utc,
        days=(chain[0].not_valid_after_utc - today) // timedelta(days=1),
        trusts=believed,
        missing=(
            *_dates(chain, today),
            *_weak(chain),
            *_fits(pair),
            *_links(chain, trusted=bool(believed)),
            *_open(held),
        ),
    )


def _path(files: Mapping[bytes, KeptIn], content: bytes) -> str:
    found = files.get(content.rstrip(b"\r\n"))
    return "" if found is None else found.path


def _title(name: x509.Name) -> str:
    """Return the common name, or else the whole."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _verifies(chain: Sequence[x509.Certificate], store: crypto.X509Store, now: datetime) -> bool:
    """Return whether a chain leads to an authority, on the day of the leaf that is nearest."""
    leaf, *others = map(crypto.X509.from_cryptography, chain)
    # Whether it is in date is told apart: who trusts an expired one will trust its successor.
    day = min(max(now, chain[0].not_valid_before_utc), chain[0].not_valid_after_utc)
    store.set_time(day.replace(tzinfo=None))
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


def _dates(chain: Sequence[x509.Certificate], today: datetime) -> Iterator[Missing]:
    begin, end = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    soon = min(timedelta(days=SOON_DAYS), (end - begin) / 3)
    if end <= today:
        yield Missing(Severity.ERROR, f"expired on {end:%Y-%m-%d}: renew it")
    elif begin > today:
        yield Missing(
            Severity.ERROR, f"is not good before {begin:%Y-%m-%d %H:%M} UTC: is the clock right?"
        )
    elif end - today < soon:
        yield Missing(Severity.WARNING, f"expires soon, on {end:%Y-%m-%d}: renew it")
    for link in chain[1:]:
        if link.not_valid_after_utc <= today:
            title, when = _title(link.subject), link.not_valid_after_utc
            yield Missing(
                Severity.ERROR,
                f"the intermediate {title} expired on {when:%Y-%m-%d}: get the present one",
            )


def _weak(chain: Sequence[x509.Certificate]) -> Iterator[Missing]:
    for link in chain:
        key = link.public_key()
        if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
            yield Missing(
                Severity.ERROR,
                f"weak key: {_title(link.subject)} has RSA of {key.key_size} bits, want "
                f"{RSA_BITS} or EC P-256",
            )
        if link.issuer != link.subject and isinstance(link.signature_hash_algorithm, _BROKEN):
            used = link.signature_hash_algorithm.name.upper()
            yield Missing(
                Severity.ERROR,
                f"weak signature: {_title(link.subject)} is signed with {used}; have it "
                "issued anew",
            )


def _fits(pair: CertificatePair) -> Iterator[Missing]:
    try:
        read_pair(pair.chain, pair.key.reveal())
    except ValueError as error:
        yield Missing(Severity.ERROR, str(error))


def _links(chain: Sequence[x509.Certificate], *, trusted: bool) -> Iterator[Missing]:
    """Say what is wrong with the way to the root."""
    for link, above in pairwise(chain):
        if link.issuer != above.subject:
            yield Missing(
                Severity.WARNING,
                f"out of order: {_title(above.subject)} stands behind {_title(link.subject)} and "
                f"did not issue it; want {_title(link.issuer)} there",
            )
    if trusted:
        return
    top = chain[-1]
    if len(chain) == 1 and top.issuer == top.subject:
        yield Missing(
            Severity.WARNING, "self-signed: only who is given this very certificate trusts it"
        )
    elif top.issuer == top.subject:
        yield Missing(
            Severity.WARNING,
            f"nobody known here trusts its root {_title(top.subject)}; --ca FILE names it",
        )
    elif _names_its_issuer(top):
        yield Missing(
            Severity.ERROR,
            f"an intermediate is missing: put the certificate of {_title(top.issuer)} behind it, "
            "in the same file",
        )
    else:
        yield Missing(
            Severity.WARNING,
            f"its issuer {_title(top.issuer)} is neither in its file nor known here: an "
            "intermediate is missing, or it is an authority of your own, which --ca FILE names",
        )


def _names_its_issuer(certificate: x509.Certificate) -> bool:
    """Return whether it says where its issuer's certificate lies, as those of public ones do."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return False
    kinds = {one.access_method for one in found.value}
    return AuthorityInformationAccessOID.CA_ISSUERS in kinds


def _open(held: KeptIn | None) -> Iterator[Missing]:
    if held is not None and held.is_open:
        yield Missing(
            Severity.ERROR,
            f"everybody on this machine can read its key: chmod 600 {held.path}",
        )
