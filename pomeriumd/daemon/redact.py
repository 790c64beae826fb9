"""
The last line of defence against secrets in the log: hide them by name and by shape.

No caller logs a secret on purpose; types that never render see to that. This is for the
day when somebody logs a whole request, or an exception quotes a URL.

Source: the leak of a shared secret through an access log (Pomerium before 0.4.0, GH-338).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

HIDDEN = "[hidden]"
"""What stands in the log where a secret would."""

TEXT_SIZE = 16_384
"""Most characters of one text in a log event; the middle of a longer one is left out."""

DEPTH = 6
"""Levels of nesting that a log event keeps; deeper ones are left out."""

ITEMS = 64
"""Most items of one list or mapping in a log event."""

_WORDS = frozenset(
    {
        "assertion",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "csrf",
        "jwt",
        "nonce",
        "passphrase",
        "passwd",
        "password",
        "secret",
        "session",
        "signature",
        "token",
        "tokens",
        "verifier",
    }
)
"""A name with one of these as a word is a secret's: ``set-cookie``, ``refresh_token``."""

_NAMES = frozenset(
    {
        "authorization",
        "client_key",
        "code",
        "private_key",
        "proxy_authorization",
        "query",
        "signing_key",
        "state",
    }
)
"""Names that are a secret's only as a whole: ``status_code`` and ``code_place`` are not."""

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_SHAPES = (
    # Three base64url parts that begin like a JSON object: a JWT, whatever it is for.
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)*"), HIDDEN),
    # The values of a query, but not its names: those tell which request it was.
    (re.compile(r"([?&][\w.~%\[\]-]{1,64}=)[^&\s\"'<>\\]+"), rf"\1{HIDDEN}"),
    # A header field in a repr: (b'cookie', b'...').
    (
        re.compile(
            r"(['\"](?:[\w-]*authorization|(?:set-)?cookie|[\w-]*assertion)['\"],?:?\s*b?)"
            r"(?:'[^']*'|\"[^\"]*\")",
            re.IGNORECASE,
        ),
        rf"\1'{HIDDEN}'",
    ),
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/-]{8,}=*"), rf"\1 {HIDDEN}"),
    (re.compile(r"((?:__Host-)?_pomerium[\w-]*=)[^;\s\"'\\]+"), rf"\1{HIDDEN}"),
)


def is_secret(name: str) -> bool:
    """Tell whether a field of this name holds a secret, in any spelling."""
    words = _SEPARATORS.sub("_", name.lower()).strip("_")
    return words in _NAMES or not _WORDS.isdisjoint(words.split("_"))


def scrub(text: str) -> str:
    """Return the text, bounded, with everything that has the shape of a secret hidden."""
    if len(text) > TEXT_SIZE:
        half = TEXT_SIZE // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    # A lone surrogate (an undecodable file name) cannot be encoded as JSON.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value: object, depth: int = DEPTH) -> object:
    """
    Turn any value of a log event into what JSON can hold, bounded and without secrets.

    Returns:
        None, a bool, an int of at most 53 bits, a float, a text, or a list or dict of
        these. Anything else becomes its scrubbed repr, which a type may refuse to give.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, bytes | bytearray):
        return scrub(value[:TEXT_SIZE].decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _nested(value, depth)
    return scrub(value if isinstance(value, str) else repr(value))


def _nested(value: Mapping[object, object] | Collection[object], depth: int) -> object:
    if depth == 0:
        return "[...]"
    if isinstance(value, Mapping):
        return fields(value, depth)
    return [plain(item, depth - 1) for _, item in zip(range(ITEMS), value, strict=False)]


def fields(values: Mapping[object, object], depth: int = DEPTH) -> dict[str, object]:
    """Return the mapping, one level deep into C{depth}, with the secrets hidden by name."""
    kept: dict[str, object] = {}
    for _, (key, value) in zip(range(ITEMS), values.items(), strict=False):
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        kept[scrub(name)] = HIDDEN if is_secret(name) else plain(value, depth - 1)
    return kept
