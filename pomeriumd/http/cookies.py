"""
Cookie and Set-Cookie fields.

Source: RFC 6265 sections 4.1 and 5.4, and draft-ietf-httpbis-rfc6265bis for the name prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pomeriumd.errors import PomeriumError
from pomeriumd.http.events import Field

_NAME_OF_PAIR = re.compile(rb"[\x21-\x3a\x3c\x3e-\x7e]+")
"""What browsers take for a name: more than the token that servers should choose."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")

_PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e]*")

_DOMAIN = re.compile(r"\.?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*")

_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}


def cookies(fields: Iterable[Field]) -> list[tuple[bytes, bytes]]:
    """
    Return all cookies of a request as (name, value), in order, duplicates too.

    A piece without an equals sign or without a proper name is passed over: a cookie of
    somebody else's that is broken must not hide ours. Values are as they stood, quotes
    included.
    """
    found = []
    for field, text in fields:
        if field == b"cookie":
            for piece in text.split(b";"):
                name, equals, value = piece.strip().partition(b"=")
                name = name.rstrip()
                if equals and _NAME_OF_PAIR.fullmatch(name):
                    found.append((name, value.lstrip()))
    return found


def without(fields: list[Field], ours: Callable[[bytes], bool]) -> list[Field]:
    """
    Take cookies off.

    Args:
        fields: of a request.
        ours: says by its name whether a cookie goes. It is asked for broken pieces too.

    Returns:
        The fields, with every byte of the cookies that stay where it was; a Cookie field of
        which nothing is left is gone.
    """
    kept: list[Field] = []
    for field in fields:
        if field[0] != b"cookie":
            kept.append(field)
            continue
        pieces = field[1].split(b";")
        staying = [piece for piece in pieces if not ours(piece.partition(b"=")[0].strip())]
        if len(staying) == len(pieces):
            kept.append(field)
        elif any(piece.strip() for piece in staying):
            kept.append((b"cookie", b";".join(staying).strip()))
    return kept


def set_cookie(
    name: str,
    value: str,
    *,
    path: str = "/",
    domain: str | None = None,
    secure: bool,
    http_only: bool = True,
    same_site: str = "Lax",
    max_age: int | None = None,
) -> Field:
    """
    Return the field that sets a cookie, or clears it with a ``max_age`` of 0.

    Args:
        name: a token; with the prefix ``__Host-`` or ``__Secure-`` it has to keep their rules.
        value: no white space, quote, comma, semicolon or backslash.
        path: begins with a slash.
        domain: None for a cookie of this host alone.
        secure: whether it travels over TLS only.
        http_only: whether scripts are kept from it.
        same_site: "Strict", "Lax" or "None", in any case.
        max_age: seconds; None for as long as the browser runs.

    Raises:
        PomeriumError: an argument would write another attribute or field than its own, or
            browsers would drop the cookie. The text does not hold the value.
    """
    _check(name, value, path, domain, same_site)
    _check_prefix(name, path, domain, secure=secure)
    parts = [f"{name}={value}", f"Path={path}"]
    if domain is not None:
        parts.append(f"Domain={domain}")
    if max_age is not None:
        parts.append(f"Max-Age={max(0, max_age)}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    kind = _SAME_SITE[same_site.lower()]
    if kind == "None" and not secure:
        raise PomeriumError(f"cookie {name} is SameSite=None, want Secure with it")
    parts.append(f"SameSite={kind}")
    return b"set-cookie", "; ".join(parts).encode("ascii")


def _check(name: str, value: str, path: str, domain: str | None, same_site: str) -> None:
    """Refuse what would end a cookie's part early (H9)."""
    if not _NAME.fullmatch(name):
        raise PomeriumError(f"cookie name {name!a} is not a token")
    if not _VALUE.fullmatch(value):
        raise PomeriumError(f"value of cookie {name} holds what a cookie may not")
    if not _PATH.fullmatch(path):
        raise PomeriumError(f"path of cookie {name} is not a path")
    if domain is not None and not _DOMAIN.fullmatch(domain):
        raise PomeriumError(f"domain of cookie {name} is not a domain")
    if same_site.lower() not in _SAME_SITE:
        raise PomeriumError(f"SameSite of cookie {name} is not Strict, Lax or None")


def _check_prefix(name: str, path: str, domain: str | None, *, secure: bool) -> None:
    """Refuse what browsers drop without a word."""
    prefix = name[: name.find("-") + 1].lower()
    if prefix in ("__host-", "__secure-") and not secure:
        raise PomeriumError(f"cookie {name} is not Secure")
    if prefix == "__host-" and (path != "/" or domain is not None):
        raise PomeriumError(f"cookie {name} has a domain or a path, want / alone")
