"""
Our cookies on the wire: their names, and values larger than one cookie holds.

A value over ``PIECE_SIZE`` is cut. The first piece says how many there are and the first
and all others carry a tag of the whole, so that pieces of two values never mix: a
sibling domain that can set cookies for ours can add candidates, but spoil none. The name
of our host-only cookies begins with ``__Host-`` where browsers allow it, which closes
even that.

Source: RFC 6265bis sections 4.1.3 (prefixes) and 5.7; browsers keep 4,096 bytes a cookie.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

import attrs

from pomeriumd.crypto import base64url
from pomeriumd.http.cookies import set_cookie
from pomeriumd.http.events import Field

Pair = tuple[bytes, bytes]
"""One cookie of a request: name and value."""

PIECE_SIZE = 3_800
"""Characters of one cookie's value: 4,096 less the longest name of ours and some room."""

PIECE_COUNT = 5
"""Most cookies for one value."""

VALUE_SIZE = PIECE_COUNT * (PIECE_SIZE - 16)
"""Longest value, in characters: 16 in each piece are for count and tag."""

CANDIDATES = 8
"""Most values that are tried for one cookie; a browser sends one, unless somebody tosses
others in."""

_FIRST = re.compile(r"%([2-9])\.([A-Za-z0-9_-]{8})\.(.+)", re.DOTALL)
_OTHER = re.compile(r"([A-Za-z0-9_-]{8})\.(.+)", re.DOTALL)


@attrs.frozen(kw_only=True)
class CookieShape:
    """One cookie of ours: its name and its attributes."""

    name: str
    domain: str | None = None
    """None: the host that sets it, and no other."""
    secure: bool = True
    http_only: bool = True
    same_site: str = "Lax"
    full_name: str = attrs.field(init=False)
    """With ``__Host-`` in front if it is host-only and secure."""

    @full_name.default
    def _full_name(self) -> str:
        return f"__Host-{self.name}" if self.secure and self.domain is None else self.name

    def host_only(self, suffix: str) -> CookieShape:
        """
        Return the shape of a cookie beside this one that never leaves its host.

        It is SameSite=Lax where this one is Strict, which a browser that comes back from the
        provider would not send.
        """
        same_site = "Lax" if self.same_site.lower() == "strict" else self.same_site
        return attrs.evolve(
            self, name=f"{self.name}_{suffix}", domain=None, http_only=True, same_site=same_site
        )

    def field(self, name: str, value: str, max_age: int) -> Field:
        """Return a Set-Cookie field with these attributes."""
        return set_cookie(
            name,
            value,
            domain=self.domain,
            secure=self.secure,
            http_only=self.http_only,
            same_site=self.same_site,
            max_age=max_age,
        )


def write(
    shape: CookieShape, value: str, *, max_age: int, pairs: Iterable[Pair] = ()
) -> list[Field]:
    """
    Return the Set-Cookie fields for a value.

    Args:
        shape: name and attributes.
        value: of base64url characters, dots among them.
        max_age: in seconds.
        pairs: what the browser sent, if pieces that the new value does not need are to
            be cleared.

    Raises:
        ValueError: the value is longer than ``VALUE_SIZE``.
    """
    if len(value) > VALUE_SIZE:
        raise ValueError(f"cookie is {len(value)} characters, want {VALUE_SIZE} at most")
    names = [shape.full_name, *(f"{shape.full_name}_{n}" for n in range(1, PIECE_COUNT))]
    written = dict(zip(names, _pieces(value), strict=False))
    fields = [shape.field(name, piece, max_age) for name, piece in written.items()]
    sent = {name for name, _ in pairs}
    left = [n for n in names if n not in written and n.encode("ascii") in sent]
    return fields + [shape.field(name, "", 0) for name in left]


def read(pairs: Iterable[Pair], shape: CookieShape) -> list[str]:
    """
    Return every value that may be meant, whole, in the order the browser sent them.

    A value with a piece missing is none. None of them has been verified.
    """
    first = shape.full_name.encode("ascii")
    begins: list[str] = []
    others: dict[tuple[bytes, str], str] = {}
    prefix = first + b"_"
    for name, value in pairs:
        if name == first:
            begins.append(value.decode("latin-1"))
        elif name.startswith(prefix) and len(name) == len(prefix) + 1:
            found = _OTHER.fullmatch(value.decode("latin-1"))
            if found is not None:
                others.setdefault((name[-1:], found[1]), found[2])
    values: list[str] = []
    for begin in begins[:CANDIDATES]:
        whole = _joined(begin, others)
        if whole:
            values.append(whole)
    return values


def clear(pairs: Iterable[Pair], shape: CookieShape) -> list[Field]:
    """Return the Set-Cookie fields that clear a cookie and every piece that was sent."""
    whole = re.compile(re.escape(shape.full_name.encode("ascii")) + rb"(?:_[0-9]{1,2})?")
    names = sorted({name for name, _ in pairs if whole.fullmatch(name)})
    shapes = [shape]
    if shape.domain is not None:
        # One of the same name may have been set by this host for itself alone.
        shapes.append(attrs.evolve(shape, domain=None))
    return [each.field(name.decode("ascii"), "", 0) for name in names for each in shapes]


def is_ours(cookie_name: str) -> Callable[[bytes], bool]:
    """
    Return the test for names of cookies that end at us: all that we set at a route host.

    It is exact: ``_pomeriumx`` belongs to an application.
    """
    name = re.escape(cookie_name.encode("ascii"))
    ours = re.compile(
        rb"(?:__Host-)?"
        + name
        + rb"(?:_(?:[0-9]{1,2}|authenticate(?:_[0-9]{1,2})?|rounds|trail|login_[A-Za-z0-9_-]+))?"
    )
    return lambda given: ours.fullmatch(given) is not None


def _pieces(value: str) -> list[str]:
    if len(value) <= PIECE_SIZE:
        return [value]
    size = PIECE_SIZE - 16
    cut = [value[at : at + size] for at in range(0, len(value), size)]
    tag = _tag(value)
    return [f"%{len(cut)}.{tag}.{cut[0]}", *(f"{tag}.{piece}" for piece in cut[1:])]


def _joined(begin: str, others: dict[tuple[bytes, str], str]) -> str | None:
    """Return the value that begins so, or None if it is not there whole."""
    if not begin.startswith("%"):
        return begin
    found = _FIRST.fullmatch(begin)
    if found is None or int(found[1]) > PIECE_COUNT:
        return None
    tag = found[2]
    pieces = [others.get((b"%d" % n, tag)) for n in range(1, int(found[1]))]
    rest = [piece for piece in pieces if piece is not None]
    if len(rest) != len(pieces):
        return None
    return found[3] + "".join(rest)


def _tag(value: str) -> str:
    """Return eight characters that tell one value's pieces from another's."""
    return base64url.encode(hashlib.sha256(value.encode("ascii")).digest()[:6])
