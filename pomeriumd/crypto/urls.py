"""
Signed URLs: what one service of ours tells another through the user's browser.

The signature covers the text of the URL as it stands, and stands at its end; so nothing
is parsed, sorted or decoded before it has been verified, and there is nothing that two
readers could put together differently.

Source: RFC 2104 (HMAC); the parameters' names are those of Pomerium.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken

VALID = 300
"""Seconds for which a signed URL may arrive."""

LEEWAY = 60.0
"""Seconds by which two of our hosts' clocks may differ."""

_PARAMETERS = re.compile(r"[?&]pomerium_(?:issued|expiry|signature)=")

_SIGNED = re.compile(
    r"(?P<text>[\x21\x22\x24-\x7e]+"
    r"[?&]pomerium_issued=(?P<issued>[0-9]{1,11})"
    r"&pomerium_expiry=(?P<expiry>[0-9]{1,11}))"
    r"&pomerium_signature=(?P<signature>[A-Za-z0-9_-]{43})"
)
"""Printable ASCII but ``#``, and at its end our three parameters in our order."""


def sign_url(keys: KeyRing, url: str, now: float, *, valid: int = VALID) -> str:
    """
    Return ``url`` with the parameters that let it arrive until ``now + valid``.

    Args:
        keys: the first one signs.
        url: absolute, ASCII, without fragment.
        now: seconds since the epoch.
        valid: in seconds.

    Raises:
        ValueError: it has a fragment, or one of the parameters already.
    """
    if "#" in url or _PARAMETERS.search(url):
        raise ValueError("URL to sign has a fragment, or is signed already")
    issued = int(now)
    mark = "&" if "?" in url else "?"
    text = f"{url}{mark}pomerium_issued={issued}&pomerium_expiry={issued + valid}"
    return f"{text}&pomerium_signature={base64url.encode(_signature(keys[0], text))}"


def check_url(keys: KeyRing, url: str, now: float) -> None:
    """
    Return if ``url`` was signed by us and may still arrive.

    Args:
        keys: any of them may have signed it.
        url: scheme and host from our own settings, path and query as they came.
        now: seconds since the epoch.

    Raises:
        BadToken: not signed by us as it stands, too old, or from the future.
    """
    found = _SIGNED.fullmatch(url)
    if found is None:
        raise BadToken("link is not signed")
    given = base64url.decode(found["signature"])
    if not any(hmac.compare_digest(given, _signature(key, found["text"])) for key in keys):
        raise BadToken("link's signature does not verify")
    if int(found["issued"]) > now + LEEWAY:
        raise BadToken("link is from the future: the clocks differ")
    if int(found["expiry"]) + LEEWAY <= now:
        raise BadToken("link has expired")


def _signature(key: bytes, text: str) -> bytes:
    return hmac.digest(key, b"pomeriumd url 1\n" + text.encode("ascii"), hashlib.sha256)
