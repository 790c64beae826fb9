"""
Sealing: hide octets in a text that only we can make and only we can read.

XAES-256-GCM: AES-256-GCM with a nonce of 24 random bytes. Anybody can make us seal
something (a login begins with an anonymous request), and with the usual 12 random bytes
a key would be worn out after 2^32 of them; with 24 there is no number to count.

Source: C2SP XAES-256-GCM; NIST SP 800-108 (the key for one message), SP 800-38D.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken

VERSION = b"\x01"
"""First byte of what is sealed; another value is another format."""

NONCE_SIZE = 24
"""Random bytes of each seal."""

TAG_SIZE = 16
"""What AES-GCM adds."""

SEALED_SIZE = 32_768
"""Longest sealed text that is looked at, in characters; cookies end far below it."""


def seal(keys: KeyRing, plain: bytes, *, context: bytes, random: Callable[[int], bytes]) -> str:
    """
    Return ``plain`` sealed under the first key, as base64url text.

    Args:
        keys: of 32 bytes each.
        plain: what to hide.
        context: where this seal may be opened, and as what; the same octets must be
            given to :func:`unseal`.
        random: returns that many unpredictable bytes.

    Raises:
        ValueError: the sealed text would be longer than ``SEALED_SIZE``.
    """
    nonce = random(NONCE_SIZE)
    hidden = _cipher(keys[0], nonce).encrypt(nonce[12:], plain, VERSION + context)
    sealed = base64url.encode(VERSION + nonce + hidden)
    if len(sealed) > SEALED_SIZE:
        raise ValueError(f"sealed text is {len(sealed)} characters, want {SEALED_SIZE} at most")
    return sealed


def unseal(keys: KeyRing, sealed: str, *, context: bytes) -> bytes:
    """
    Return what was sealed under any of ``keys`` with the same ``context``.

    Raises:
        BadToken: made elsewhere, for another context, altered, or too long.
    """
    if len(sealed) > SEALED_SIZE:
        raise BadToken(f"sealed text is over {SEALED_SIZE} characters")
    octets = base64url.decode(sealed)
    if octets[:1] != VERSION or len(octets) < len(VERSION) + NONCE_SIZE + TAG_SIZE:
        raise BadToken("sealed text is of no known format")
    nonce, hidden = octets[1 : 1 + NONCE_SIZE], octets[1 + NONCE_SIZE :]
    for key in keys:
        try:
            return _cipher(key, nonce).decrypt(nonce[12:], hidden, VERSION + context)
        except InvalidTag:
            continue
    raise BadToken("seal does not open")


def _cipher(key: bytes, nonce: bytes) -> AESGCM:
    """Return the cipher of one message: its key comes from the nonce's first half."""
    derivation = KBKDFCMAC(
        algorithm=AES,
        mode=Mode.CounterMode,
        length=32,
        rlen=2,
        llen=None,
        location=CounterLocation.BeforeFixed,
        label=None,
        context=None,
        fixed=b"X\x00" + nonce[:12],
    )
    return AESGCM(derivation.derive(key))
