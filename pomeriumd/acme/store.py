"""
What is kept in ``autocert_dir``: certificates, the account, what went wrong; and who may order.

::

    autocert_dir/
        lock                          held by whoever orders
        state.json                    what went wrong, and when to try again
        accounts/ID/key.pem           of an authority's account; ID is of its URL
        accounts/ID/account.json
        certificates/index            the files beside it that count
        certificates/NAME-SERIAL.pem  key, certificate and chain
        challenges/                   see ``challenges``

All of it may be shared between hosts. Every call may take as long as the storage does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pomeriumd.acme.files import PRIVATE, make_directory, write
from pomeriumd.acme.problems import NOT_KEPT, AcmeError
from pomeriumd.acme.schedule import Kept, Trouble
from pomeriumd.settings.automatic import DIRECTORY, INDEX, dns_names, kept_pairs
from pomeriumd.settings.files import Files
from pomeriumd.settings.values import CertificatePair

LARGEST = 1 << 20
"""Bytes of a file of ours that is read here."""


@attrs.frozen(kw_only=True)
class AccountFile:
    """What is known of an account."""

    directory: str = ""
    kid: str = ""
    key: str = ""
    """Thumbprint of its key: beside another one the rest says nothing."""
    contact: tuple[str, ...] = ()


@attrs.define(eq=False)
class Store:
    """
    All that is kept.

    Args:
        place: ``autocert_dir``.
        random: returns that many unpredictable bytes.
    """

    _place: str
    _random: Callable[[int], bytes]

    @property
    def _certificates(self) -> Path:
        return Path(self._place, DIRECTORY)

    # Certificates

    def kept(self) -> list[Kept]:
        """Return the certificates that are there and whole."""
        return [_described(pair) for _, pair in kept_pairs(self._place, Files())]

    def keep(self, names: tuple[str, ...], pem: bytes, now: float) -> None:
        """
        Keep a certificate, and forget those that it makes needless or that have expired.

        Args:
            names: that it was ordered for.
            pem: its key, itself, and its chain.
            now: seconds since the epoch.

        Raises:
            OSError: it cannot be written.
        """
        leaf = x509.load_pem_x509_certificates(pem)[0]
        title = names[0].replace("*", "_")
        file = f"{title[:200]}-{leaf.serial_number & 0xFFFFFFFF:08x}.pem"
        write(self._certificates / file, pem, self._random)
        before = self.kept()
        fresh = dns_names(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
        good = [one for one in before if one.end > now and not one.names <= fresh]
        self._list(sorted({file, *(one.file for one in good)}))
        for one in before:
            if one not in good and one.file != file:
                (self._certificates / one.file).unlink(missing_ok=True)

    def _list(self, files: list[str]) -> None:
        text = "".join(f"{file}\n" for file in files)
        write(self._certificates / INDEX, text.encode("ascii"), self._random)

    # What went wrong

    def troubles(self) -> dict[str, Trouble]:
        """Return what went wrong, by name; a file that makes no sense is as good as none."""
        try:
            return cattrs.structure(self._json(Path("state.json"))["troubles"], dict[str, Trouble])
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            cattrs.BaseValidationError,
        ):
            return {}

    def remember(self, troubles: Mapping[str, Trouble]) -> None:
        """Write down what went wrong; raise OSError."""
        document = {"troubles": {name: attrs.asdict(one) for name, one in troubles.items()}}
        write(Path(self._place, "state.json"), _plain(document), self._random)

    # The account

    def account_key(self, url: str) -> ec.EllipticCurvePrivateKey:
        """
        Return the key of the account at an authority; it is made if there is none.

        Raises:
            AcmeError: what lies there is no such key.
            OSError: it can be neither read nor made.
        """
        path = self._account(url) / "key.pem"
        try:
            pem = path.read_bytes()[:LARGEST]
        except FileNotFoundError:
            made = ec.generate_private_key(ec.SECP256R1())
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write(path, pem, self._random)
            return made
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            key = None
        if not (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            raise AcmeError(
                f"{str(path)!a} holds no EC P-256 key; put back what was there, or remove the "
                "directory that it is in, and another account is made",
                NOT_KEPT,
                whole=True,
            )
        return key

    def account(self, url: str) -> AccountFile:
        """Return what is known of the account; nothing if it was never made."""
        try:
            found = cattrs.structure(self._json(self._account(url) / "account.json"), AccountFile)
        except (OSError, ValueError, TypeError, AttributeError, cattrs.BaseValidationError):
            return AccountFile()
        return found if found.directory == url else AccountFile()

    def keep_account(self, account: AccountFile) -> None:
        """Write it down; raise OSError."""
        path = self._account(account.directory) / "account.json"
        write(path, _plain(attrs.asdict(account)), self._random)

    def _account(self, url: str) -> Path:
        make_directory(Path(self._place))
        make_directory(Path(self._place, "accounts"))
        return Path(self._place, "accounts", hashlib.sha256(url.encode()).hexdigest()[:16])

    def _json(self, path: Path) -> Any:
        with Path(self._place, path).open("rb") as file:
            return json.loads(file.read(LARGEST))

    # Who may order

    def lock(self) -> int | None:
        """
        Return a descriptor of the lock, whose end frees it; None if somebody holds it.

        The kernel frees it when its holder dies, on this host or (of a file system that knows how)
        on another.

        Raises:
            OSError: there can be no lock there.
        """
        make_directory(Path(self._place))
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(Path(self._place, "lock"), flags, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _described(pair: CertificatePair) -> Kept:
    leaf = x509.load_pem_x509_certificates(pair.chain)[0]
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
        staple = x509.TLSFeatureType.status_request in features
    except (x509.ExtensionNotFound, ValueError):
        staple = False
    return Kept(
        file=Path(pair.place).name,
        names=dns_names(pair.chain),
        begin=leaf.not_valid_before_utc.timestamp(),
        end=leaf.not_valid_after_utc.timestamp(),
        must_staple=staple,
    )


def _plain(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"
