"""
base64url without padding, read strictly: one text for each octet string.

The standard library skips characters that it does not know and ignores the unused bits
of the last one, so that many texts would pass for one signature.

Source: RFC 4648 sections 3.5 and 5.
"""

from __future__ import annotations

import base64
import binascii

from pomeriumd.errors import BadToken

_TO_STANDARD = str.maketrans("-_+/", "+/!!")  # the standard alphabet's own pair is refused


def encode(octets: bytes) -> str:
    """Return ``octets`` as base64url text without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """
    Return the octets that ``text`` stands for.

    Raises:
        BadToken: another alphabet, padding, a length that cannot be, or unused bits set.
    """
    padded = text.translate(_TO_STANDARD) + "=" * (-len(text) % 4)
    try:
        octets = binascii.a2b_base64(padded, strict_mode=True)
    except ValueError:
        # binascii.Error is a ValueError, and so is text that is not ASCII.
        raise BadToken("text is not base64url") from None
    if encode(octets) != text:
        raise BadToken("text is not canonical base64url")
    return octets
