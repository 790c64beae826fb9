"""
Texts with placeholders: ``${pomerium.client_cert_fingerprint}`` and its kin.

A text is parsed when the settings are read, so that an unknown name is a fault with its
place, and once more when a generation is built. ``$$`` is a dollar sign.
"""

from __future__ import annotations

import re

import attrs

from pomeriumd.settings.fields import header_value, shown
from pomeriumd.settings.reads import Unfit

PREFIX = "pomerium."

OF_CERTIFICATE = frozenset(
    f"client_cert_{fact}"
    for fact in (
        *("fingerprint", "spki_hash", "subject", "issuer", "serial"),
        *("san_dns", "san_email", "san_ip", "san_uri", "san_upn"),
    )
)
"""Names, without their prefix, of what a client certificate says."""

_NOT_YET = frozenset({"id_token", "access_token", "jwt"})

_MARK = re.compile(r"\$(?:\$|\{([^{}]{0,64})(\})?)")


@attrs.frozen
class Placeholder:
    """What stands for something that is known with each request only."""

    name: str
    """One of ``OF_CERTIFICATE``."""


Part = str | Placeholder


def parts(text: str) -> tuple[Part, ...]:
    """
    Return what a text is made of, in order, no empty text among it.

    Raises:
        Unfit: it holds a placeholder that is none of ours.
    """
    found: list[Part] = []
    position = 0
    for mark in _MARK.finditer(text):
        found.append(text[position : mark.start()])
        found.append("$" if mark[0] == "$$" else _named(mark))
        position = mark.end()
    found.append(text[position:])
    return tuple(part for part in found if part)


def _named(mark: re.Match[str]) -> Placeholder:
    name = mark[1]
    if not mark[2]:
        raise Unfit("holds ${ without its }; write $$ for a dollar sign")
    if not name.startswith(PREFIX):
        # What stands there may be a part of a password: it is not shown.
        raise Unfit("holds a placeholder that is not ours; write $$ for a dollar sign")
    fact = name.removeprefix(PREFIX)
    if fact in _NOT_YET or fact.startswith("request."):
        raise Unfit(f"not yet: ${{{PREFIX}{shown(fact)[1:-1]}}}")
    if fact not in OF_CERTIFICATE:
        known = ", ".join(sorted(OF_CERTIFICATE))
        raise Unfit(f"unknown placeholder ${{{PREFIX}{shown(fact)[1:-1]}}}; want one of {known}")
    return Placeholder(fact)


def request_header_value(found: object) -> str:
    """Return the value of a header field of requests; it may hold placeholders."""
    text = header_value(found)
    if "$pomerium." in text:
        raise Unfit("want ${pomerium.NAME}, got $pomerium.NAME")
    parts(text)
    return text
