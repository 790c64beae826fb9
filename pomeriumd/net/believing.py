"""Whether one server's certificate is believed, and if not, why."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from pomeriumd.crypto.tls_faults import CertificateRefused, Found, judged, misnamed, unreadable

ServiceID = DNS_ID | IPAddress_ID


def check(
    wanted: ServiceID, protocol: TLSMemoryBIOProtocol
) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """
    Return OpenSSL's callback for each certificate of a server's chain.

    Args:
        wanted: what its own one must bear.
        protocol: is told why it is not believed, by a ``CertificateRefused``.
    """
    told = weakref.ref(protocol)

    def verify(
        _: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        if ok and depth:
            return True
        found = _against(wanted, certificate) if ok else _chain(certificate, number, depth)
        waiting = told()
        if found is not None and waiting is not None:
            # Not failVerification(): that hangs up before the alert is out, and then the upstream's
            # log does not say why. A test pins this.
            waiting._reason = Failure(CertificateRefused(found))  # noqa: SLF001  # see above
        return found is None

    return verify


def _chain(certificate: crypto.X509, number: int, depth: int) -> Found:
    """Return why OpenSSL does not believe a chain."""
    try:
        words = ffi.string(lib.X509_verify_cert_error_string(number)).decode("ascii", "replace")
        return judged(number, depth, certificate.to_cryptography(), words)
    except Exception:  # noqa: BLE001  # a stranger wrote it: whatever it is, it is not believed
        return unreadable()


def _against(wanted: ServiceID, certificate: crypto.X509) -> Found | None:
    """Return why a server's own certificate is not believed, None if it is."""
    try:
        read = certificate.to_cryptography()
        try:
            verify_service_identity(extract_patterns(read), [wanted], [])
        except Exception:  # noqa: BLE001  # no reason for which we would believe it
            return misnamed(_text(wanted), read)
    except Exception:  # noqa: BLE001  # as above
        return unreadable()
    return None


def _text(wanted: ServiceID) -> str:
    return wanted.hostname.decode("ascii") if isinstance(wanted, DNS_ID) else str(wanted.ip)
