"""
Readers of single values: texts, numbers, durations, secrets, names.

Each takes what a source found and returns the value, or raises Unfit with a text of
one line: what was found, what is wanted. Readers of secrets never show what was found.

Source: Go's time.ParseDuration for durations; RFC 6265 section 4.1.1 for cookie names;
RFC 9110 section 5 for header fields.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable

from pomeriumd.errors import BadMessage
from pomeriumd.http.target import canonical
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import Secret

LONGEST_SHOWN = 60
"""Characters of a found text that an error shows."""

LONGEST_TEXT = 4_096
"""Characters of one text; no setting of ours needs more."""

SECRET_SIZE = 32
"""Bytes of a root secret: what HKDF-SHA256 can use in full."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PIECE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(ns|us|µs|μs|ms|s|m|h)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def shown(text: str) -> str:
    """Return a found text fit for an error: quoted, ASCII, not too long."""
    if len(text) > LONGEST_SHOWN:
        return ascii(text[:LONGEST_SHOWN]) + "..."
    return ascii(text)


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "nothing"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (bytes, "a file"),
    (tuple, "a list"),
)


def kind_of(found: object) -> str:
    """Return what a found value is, in the operator's words."""
    for types, name in _KINDS:
        if isinstance(found, types):
            return name
    return "a map"


def text(found: object) -> str:
    """Return a text as it was found; not empty, on one line."""
    if isinstance(found, bytes):
        found = _decoded(found)
    if isinstance(found, (int, float)):
        raise Unfit(f"want text, got {kind_of(found)}; put it in quotes")
    if not isinstance(found, str):
        raise Unfit(f"want text, got {kind_of(found)}")
    if not found:
        raise Unfit("want text, got an empty one")
    if len(found) > LONGEST_TEXT:
        raise Unfit(f"want at most {LONGEST_TEXT} characters, got {len(found)}")
    if not found.isprintable():
        raise Unfit("holds a control character or a line break")
    return found


def _decoded(octets: bytes) -> str:
    try:
        return octets.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unfit("is not UTF-8") from None


def word(found: object) -> str:
    """Return a text without white space."""
    value = text(found)
    if value.split() != [value]:
        raise Unfit(f"want no spaces, got {shown(value)}")
    return value


def flag(found: object) -> bool:
    """Return true or false; the environment can only say it as text."""
    if isinstance(found, bool):
        return found
    if isinstance(found, str) and found.lower() in ("true", "false"):
        return found.lower() == "true"
    got = shown(found) if isinstance(found, str) else kind_of(found)
    raise Unfit(f"want true or false, got {got}")


def never(why: str) -> Callable[[object], bool]:
    """Return a reader of a flag that may be false only."""

    def read(found: object) -> bool:
        if flag(found):
            raise Unfit(f"want false: {why}")
        return False

    return read


def count(least: int, most: int) -> Callable[[object], int]:
    """Return a reader of whole numbers between two bounds, both included."""

    def read(found: object) -> int:
        number = found
        if isinstance(found, str) and re.fullmatch("[0-9]{1,12}", found, re.ASCII):
            number = int(found)
        if isinstance(number, bool) or not isinstance(number, int):
            got = shown(found) if isinstance(found, str) else kind_of(found)
            raise Unfit(f"want a whole number, got {got}")
        if not least <= number <= most:
            raise Unfit(f"want {least} to {most}, got {number}")
        return number

    return read


def one_of(*choices: str, not_yet: tuple[str, ...] = ()) -> Callable[[object], str]:
    """Return a reader of one word out of a few; those in ``not_yet`` are named as such."""
    listed = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))

    def read(found: object) -> str:
        value = text(found)
        if value in not_yet:
            raise Unfit(f"not yet: {shown(value)}; want {listed}")
        if value not in choices:
            raise Unfit(f"want {listed}, got {shown(value)}")
        return value

    return read


def duration(least: float, most: float, *, zero: bool = False) -> Callable[[object], float]:
    """
    Return a reader of durations in Go's syntax, as seconds.

    Args:
        least: lower bound in seconds, included.
        most: upper bound in seconds, included.
        zero: whether 0 is allowed besides (it then means "no limit").
    """

    def read(found: object) -> float:
        seconds = _seconds(found)
        if not (least <= seconds <= most or (zero and seconds == 0)):
            bounds = f"{written(least)} to {written(most)}{' or 0s' if zero else ''}"
            raise Unfit(f"want {bounds}, got {written(seconds)}")
        return seconds

    return read


def _seconds(found: object) -> float:
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        if found == 0:
            return 0.0
        raise Unfit(f"no unit in {found}; write {found}s or {found}m")
    value = text(found)
    if value == "0":
        return 0.0
    if _NUMBER.fullmatch(value):
        raise Unfit(f"no unit in {shown(value)}; write {value[:12]}s or {value[:12]}m")
    total, position = 0.0, 0
    while piece := _PIECE.match(value, position):
        total += float(piece[1]) * _UNITS[piece[2]]
        position = piece.end()
    if position != len(value) or not value:
        raise Unfit(f"want a duration such as 30s, 5m or 1h30m, got {shown(value)}")
    # 1.1h is 3960.0000000000005 by the sum above; nobody means the rest.
    return round(total, 9)


def written(seconds: float) -> str:
    """Return a duration as an operator writes it: ``1h30m``, ``500ms``."""
    if seconds <= 0:
        return "0s"
    if seconds < 1:
        return f"{round(seconds * 1000, 6):g}ms"
    whole, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(whole), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else ""]
    return "".join(parts) + (f"{round(rest, 9):.12g}s" if rest else "")


def base64_text(found: object) -> bytes:
    """Return what standard base64 says, line breaks left out; never show what was found."""
    if isinstance(found, bytes):
        found = _decoded(found)
    if not isinstance(found, str):
        raise Unfit(f"want base64, got {kind_of(found)}")
    try:
        return base64.b64decode("".join(found.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("is not base64") from None


def root_secret(found: object) -> Secret:
    """Return 32 bytes out of base64."""
    try:
        octets = base64_text(found)
    except Unfit as error:
        raise Unfit(f"{error}; {_HOW_TO_MAKE}") from None
    if len(octets) != SECRET_SIZE:
        raise Unfit(f"want {SECRET_SIZE} bytes in base64, got {len(octets)}; {_HOW_TO_MAKE}")
    return Secret(octets)


_HOW_TO_MAKE = "`head -c32 /dev/urandom | base64` makes one"


def secret_text(found: object) -> Secret:
    """Return a secret that is a text; never show it."""
    try:
        return Secret(text(found).encode())
    except UnicodeEncodeError:
        raise Unfit("is not UTF-8") from None


def token(what: str) -> Callable[[object], str]:
    """Return a reader of names as RFC 9110 allows them (``token``)."""

    def read(found: object) -> str:
        value = text(found)
        if not _TOKEN.fullmatch(value):
            raise Unfit(f"want a {what} of letters, digits and dashes, got {shown(value)}")
        return value

    return read


cookie_token = token("cookie name")


def header_name(found: object) -> str:
    """Return a header field's name; never show it: after a slip it holds the value."""
    value = text(found)
    if not _TOKEN.fullmatch(value):
        raise Unfit("want a header name of letters, digits and dashes")
    return value


PREFIXES = ("__host-", "__secure-")
"""What browsers give a meaning; lower case. The daemon adds ``__Host-`` where it holds."""


def cookie_name(found: object) -> str:
    """Return a cookie's name without the prefixes that only we may add."""
    value = cookie_token(found)
    if value.lower().startswith(PREFIXES):
        raise Unfit(f"want no prefix, got {shown(value)}; __Host- is added where it can be")
    if len(value) > LONGEST_SHOWN:
        raise Unfit(f"want at most {LONGEST_SHOWN} characters, got {len(value)}")
    return value


_cluster_token = token("cluster name")


def cluster_name(found: object) -> str:
    """Return the name of a cluster: it stands in log lines and metrics."""
    value = _cluster_token(found)
    if len(value) > LONGEST_SHOWN:
        raise Unfit(f"want at most {LONGEST_SHOWN} characters, got {len(value)}")
    return value


def header_value(found: object) -> str:
    """Return a header's value; it may be a secret, so it is never shown."""
    if not isinstance(found, str):
        raise Unfit(f"want text, got {kind_of(found)}; put it in quotes")
    if len(found) > LONGEST_TEXT:
        raise Unfit(f"want at most {LONGEST_TEXT} characters, got {len(found)}")
    # A line break would begin a header field of its own, or a second request.
    if any(not " " <= character <= "~" for character in found):
        raise Unfit("holds a character that a header field may not: want printable ASCII")
    if found != found.strip():
        raise Unfit("begins or ends with a space")
    return found


HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""What belongs to one connection; RFC 9110 section 7.6.1."""


def response_header_value(found: object) -> str:
    """Return the value of a header field of responses."""
    value = header_value(found)
    if "$pomerium." in value or "${pomerium." in value:
        raise Unfit("not yet: $pomerium. substitutions")
    return value


def response_header_name(found: object) -> str:
    """Return the name of a header field that may be set on every response."""
    name = header_name(found)
    if name.lower() in HOP_BY_HOP | {"content-length", "content-type", "set-cookie", "location"}:
        raise Unfit(f"{name} is not for settings: it belongs to each response")
    return name


def request_header_name(found: object) -> str:
    """Return the name of a header field that a route may set on its requests."""
    name = header_name(found)
    if name.lower() in HOP_BY_HOP | {"content-length", "expect"}:
        raise Unfit(f"{name} is not for settings: it belongs to the connection")
    if name.lower() == "host":
        raise Unfit("Host is not set here; see 'preserve_host_header'")
    # A backend may fold these into one (WSGI, CGI, PHP do), so all spellings count.
    if re.sub("[_.]", "-", name.lower()).startswith("x-pomerium-"):
        raise Unfit(f"{name} is ours alone: the application trusts it")
    return name


def user(found: object) -> str:
    """Return an e-mail address with exactly one ``@``, or a provider's user id."""
    value = word(found)
    if value.count("@") > 1:
        raise Unfit(f"want one @ at most, got {shown(value)}")
    name, at, domain = value.partition("@")
    if at and not (name and domain):
        raise Unfit(f"want name@domain or a user id, got {shown(value)}")
    return value


_LABELS = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def domain(found: object) -> str:
    """Return a domain in lower case: labels and dots, nothing in front."""
    value = word(found).lower()
    if "@" in value:
        raise Unfit(f"want a domain without @, got {shown(value)}")
    if value.startswith("."):
        raise Unfit(f"want a domain without a leading dot, got {shown(value)}")
    if not _LABELS.fullmatch(value) or len(value) > 253:  # noqa: PLR2004 - RFC 1035
        raise Unfit(f"want a domain such as example.com, got {shown(value)}")
    return value


def certificate_name(found: object) -> str:
    """Return a name that a certificate can be for: a domain, or ``*.`` and one."""
    value = word(found)
    star = "*." if value.startswith("*.") else ""
    return star + domain(value.removeprefix("*."))


def mail_address(found: object) -> str:
    """Return an e-mail address."""
    value = word(found)
    name, at, host = value.rpartition("@")
    if not (at and name and host) or "@" in name:
        raise Unfit(f"want name@domain, got {shown(value)}")
    return value


def mac_key(found: object) -> Secret:
    """Return the octets that base64url says, with padding or without; never show them."""
    said = _decoded(found).strip() if isinstance(found, bytes) else found
    if not isinstance(said, str):
        raise Unfit(f"want base64url, got {kind_of(found)}")
    said = said.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        octets = base64.b64decode(said + "=" * (-len(said) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("is not base64url") from None
    if not octets:
        raise Unfit("want base64url of a key, got an empty one")
    return Secret(octets)


def path(found: object) -> str:
    """Return a path in the one form that requests have when the rules see them."""
    value = text(found)
    if not value.startswith("/"):
        raise Unfit(f"want a path that begins with /, got {shown(value)}")
    if not value.isascii():
        raise Unfit(f"want ASCII, other characters as %XX, got {shown(value)}")
    try:
        form, query = canonical(value.encode("ascii"))
    except BadMessage as error:
        raise Unfit(f"no request has the path {shown(value)}: {error}") from None
    if query is not None:
        raise Unfit(f"want a path without a query, got {shown(value)}")
    if form.decode("ascii") != value:
        raise Unfit(f"requests have it as {shown(form.decode('ascii'))}, got {shown(value)}")
    return value


def same_site(found: object) -> str:
    """Return ``lax`` or ``none``."""
    value = text(found).lower()
    if value == "strict":
        # The callback is reached from the provider's site, and then the login cookie is not there.
        raise Unfit(
            "'strict' breaks every login: the browser leaves the cookies out when the provider "
            "sends the user back; want lax or none"
        )
    return _same_site(value)


_same_site = one_of("lax", "none")

ASYMMETRIC = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""What an ID token may be signed with. With HS256 a client secret, or a public key taken for
one, would do to forge it; ``none`` needs nothing."""

algorithm = one_of(*ASYMMETRIC)


def directory(found: object) -> str:
    """Return an absolute path in the file system."""
    value = text(found)
    if not value.startswith("/"):
        raise Unfit(f"want an absolute path, got {shown(value)}")
    return value


SOCKET_PATH_SIZE = 107
"""Bytes of a unix socket's path: ``sun_path`` without its end. unix(7)."""


def socket_path(found: object) -> str:
    """Return an absolute path that a unix socket can have."""
    value = directory(found)
    size = len(os.fsencode(value))
    if size > SOCKET_PATH_SIZE:
        raise Unfit(
            f"want at most {SOCKET_PATH_SIZE} bytes, which is all that a socket's path can have, "
            f"got {size}: {shown(value)}; name a shorter one in control_socket"
        )
    return value
