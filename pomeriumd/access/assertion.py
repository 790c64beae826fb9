"""
What an upstream is told about the person who asks, and how it can be sure.

Four fields: a signed assertion for applications that verify (an attacker who gets past the
proxy cannot make one), and three plain ones for those that cannot. Applications find the
key at ``/.well-known/pomerium/jwks.json``.

A claim is text from the provider, in parts from the person: none can break a field, and
none can be taken for another one. A value of visible ASCII stands as it is; any other is
written as an RFC 8187 extended value, ``UTF-8''`` and percent-encoded octets, and so is a
plain one that would look like that.

Source: RFC 7519, RFC 8187 section 3.2; shared facts on identity headers, section 8.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import attrs

from pomeriumd.access.names import ends_here
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.http.events import Field
from pomeriumd.http.fields import FieldLines, field_lines
from pomeriumd.session.session import Identity, Session

__all__ = ["IdentityHeaders", "encoded", "ends_here"]

ASSERTION = b"x-pomerium-jwt-assertion"
USER_ID = b"x-pomerium-authenticated-user-id"
USER_EMAIL = b"x-pomerium-authenticated-user-email"
USER_GROUPS = b"x-pomerium-authenticated-user-groups"

VALID = 300
"""Seconds for which an assertion is valid: enough for clocks that differ, too short to be
worth stealing."""
KEYS_KEPT = 300
"""Seconds for which applications may keep the list of keys."""
SIGN_AGAIN = 60
"""Seconds for which one assertion is handed out again; a signature costs fifty times what
finding it costs."""
VALUE_SIZE = 8192
"""Bytes of one field's value; common servers refuse lines above that."""
KEPT_MOST = 4096
"""Assertions remembered, one for each session and host in use."""
KEPT_SIZE = 16 * 1024 * 1024
"""Bytes of remembered fields; reached only where groups are many and long."""

# Spaces stand inside only: at either end they would be trimmed on the way.
_plain = re.compile(r"(?!(?i:utf-8)'')[!-~](?:[ -~]*[!-~])?", re.ASCII).fullmatch

_ATTR_CHAR = "!#$&+-.^_`|~"
"""What RFC 8187 leaves as it is, beside letters and digits."""


class _Signed(NamedTuple):
    """The fields of one session at one host, for one minute."""

    at: int
    identity: Identity
    lines: FieldLines


@attrs.define(eq=False)
class IdentityHeaders:
    """
    Makes the identity fields, and remembers them for a minute each.

    Args:
        key: signs.
        also: public keys (JWK) that are published beside that of ``key``: another replica
            signs with one of them, or has signed what is valid still.
    """

    _key: SigningKey = attrs.field(repr=False)
    _also: tuple[Mapping[str, str], ...] = attrs.field(default=(), repr=False)
    _kept: OrderedDict[tuple[str, str], _Signed] = attrs.field(
        init=False, repr=False, factory=OrderedDict
    )
    _size: int = attrs.field(init=False, repr=False, default=0)

    def lines(self, session: Session, audience_host: str, now: float) -> FieldLines:
        """
        Return what an upstream is told about this session's owner.

        Args:
            session: verified.
            audience_host: the route's host, without a port: ``iss`` and ``aud``.
            now: seconds since the epoch.

        Returns:
            The fields: assertion, then user id, e-mail and groups; one that there is nothing to
            say in, or that would be longer than 8 KiB, is left out whole. With the
            groups field the claim goes as well, and ``groups_left_out`` says so.
        """
        which = (session.id, audience_host)
        kept = self._kept.get(which)
        if kept is not None and kept.at <= now < kept.at + SIGN_AGAIN:
            identity = session.identity
            # The same object nearly always: verified sessions are remembered, too.
            if kept.identity is identity or kept.identity == identity:
                self._kept.move_to_end(which)
                return kept.lines
        return self._sign(which, session, int(now))

    def jwks(self) -> bytes:
        """Return the JSON document by which upstreams verify assertions."""
        return json.dumps({"keys": [self._key.jwk(), *self._also]}).encode("ascii")

    def _sign(self, which: tuple[str, str], session: Session, at: int) -> FieldLines:
        plain = _plain_fields(session.identity)
        groups_fit = not session.identity.groups or any(name == USER_GROUPS for name, _ in plain)
        claims = _claims(session, which[1], at, groups_fit=groups_fit)
        assertion = self._key.sign(claims, headers={"typ": "JWT"}).encode("ascii")
        lines = field_lines(_short_enough([(ASSERTION, assertion), *plain]))
        self._remember(which, _Signed(at, session.identity, lines))
        return lines

    def _remember(self, which: tuple[str, str], signed: _Signed) -> None:
        old = self._kept.pop(which, None)
        self._size += len(signed.lines) - (len(old.lines) if old is not None else 0)
        self._kept[which] = signed
        while len(self._kept) > KEPT_MOST or self._size > KEPT_SIZE:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.lines)


def encoded(text: str, *, also: str = "") -> bytes:
    """
    Return a field value from which exactly this text can be read again.

    Args:
        text: anything.
        also: characters that may not stand as they are, such as a separator.

    Returns:
        The text itself if it is visible ASCII with spaces inside at most, does not look
        encoded, and has nothing of ``also``; an RFC 8187 extended value otherwise.
    """
    if _plain(text) is not None and not any(sign in text for sign in also):
        return text.encode("ascii")
    # A lone surrogate, which JSON can bring, stays apart from every other text this way;
    # a strict reader will refuse it, and so should it.
    return b"UTF-8''" + quote(text.encode("utf-8", "surrogatepass"), safe=_ATTR_CHAR).encode()


def _plain_fields(identity: Identity) -> tuple[Field, ...]:
    """Return user id, e-mail and groups, as far as there is something to say."""
    fields = [(USER_ID, encoded(identity.subject))]
    if identity.email is not None:
        fields.append((USER_EMAIL, encoded(identity.email)))
    if identity.groups:
        groups = b",".join(encoded(group, also=",") for group in identity.groups)
        fields.append((USER_GROUPS, groups))
    return _short_enough(fields)


def _short_enough(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Leave out what is too long. Nothing is cut: half a list of groups is another list."""
    return tuple(field for field in fields if len(field[1]) <= VALUE_SIZE)


def _claims(session: Session, host: str, at: int, *, groups_fit: bool) -> dict[str, Any]:
    identity = session.identity
    claims: dict[str, Any] = {
        "iss": host,
        "aud": host,
        "sub": identity.subject,
        "user": identity.subject,
        "sid": session.id,
        "iat": at,
        "exp": at + VALID,
    }
    if identity.email is not None:
        claims["email"] = identity.email
    if identity.name is not None:
        claims["name"] = identity.name
    if groups_fit:
        claims["groups"] = list(identity.groups)
    else:
        claims["groups_left_out"] = True
    # Two assertions that differ in anything never share an id, and no chance is needed.
    claims["jti"] = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).hexdigest()[:32]
    return claims
