"""
Files of the internal authority: whole or not at all, and keys for nobody else.

What root writes belongs to whoever the directory belongs to: the daemon reads its key as its own
user, also after a renewal.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pomeriumd.cli.ca.authority import Made, NotIssued

CERTIFICATE, KEY = "ca.crt", "ca.key"

PUBLIC, PRIVATE = 0o644, 0o600

OTHERS = stat.S_IRWXG | stat.S_IRWXO


class AlreadyThere(NotIssued):
    """Something lies where it would be written."""


def make_directory(path: Path) -> None:
    """
    Make a directory for its owner alone, or find that there is one.

    Raises:
        NotIssued: it cannot be made, or others may look into it.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_dir() and not path.stat().st_mode & OTHERS:
            return
        raise NotIssued(f"{path}: want a directory of mode 0700; chmod 700 {path}") from None
    except OSError as error:
        raise NotIssued(f"{path}: cannot be made: {error.strerror}") from None


def read_authority(directory: Path) -> Made:
    """
    Return the authority that lies in a directory.

    Raises:
        NotIssued: there is none, or it is none of ours.
    """
    paths = directory / CERTIFICATE, directory / KEY
    try:
        pem, key_pem = (path.read_bytes() for path in paths)
    except OSError as error:
        raise NotIssued(
            f"{error.filename}: cannot be read: {error.strerror}; -d names the directory in which "
            "`pomeriumd ca init` made an authority"
        ) from None
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        raise NotIssued(f"{directory}: holds no certificate and key that can be read") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise NotIssued(f"{paths[1]}: is not the key of {paths[0]}")
    return Made(certificate, key)


def keep(certificate: Path, key: Path, made: Made, *, over: bool) -> None:
    """
    Put a certificate and its key in place.

    Args:
        certificate: path of the one.
        key: path of the other.
        made: both.
        over: replace what is there; else nothing may be.

    Raises:
        AlreadyThere: something is.
        NotIssued: they cannot be written.
    """
    if not over:
        for path in (certificate, key):
            if os.path.lexists(path):
                raise AlreadyThere(f"{path}: is there already")
    try:
        # The key first: who sees the new certificate has the key that fits.
        _put(key, made.key_pem, PRIVATE, over=over)
        _put(certificate, made.pem, PUBLIC, over=over)
    except OSError as error:
        text = f"{error.filename2 or error.filename}: cannot be written: {error.strerror}"
        raise NotIssued(text) from None


def _put(path: Path, octets: bytes, mode: int, *, over: bool) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, flags, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # from a descriptor, not a path
            os.fchmod(descriptor, mode)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(octets)
            file.flush()
            # After a power cut the name must not be there with nothing behind it.
            os.fsync(descriptor)
        if over:
            draft.replace(path)
        else:
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
