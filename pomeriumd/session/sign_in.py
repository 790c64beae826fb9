"""
What a route host asks of authenticate, in a signed URL: sign somebody in, or out.

Both sides take the definition from here.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode

import attrs

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.tokens import LAST_SECOND
from pomeriumd.crypto.urls import check_url, sign_url
from pomeriumd.errors import BadToken
from pomeriumd.http.query import parameters

SIGN_IN = "/.pomerium/sign_in"
"""Path at authenticate."""

SIGN_OUT = "/.pomerium/sign_out"
"""Path at authenticate, and at every route host."""

CALLBACK = "/.pomerium/callback/"
"""Path at every route host, where the hand-off arrives."""

_LOGIN_SIZE = 128
"""Longest ``id.hash``, in characters; ours have 75."""


@attrs.frozen(kw_only=True)
class SignInRequest:
    """What a route host wants to know: who is this browser's user?"""

    redirect: str
    """The absolute URL that was asked for."""
    login: str
    """``id.hash`` of the login's cookie at the route host."""
    seen: int = 0
    """When a request last used the session that is to be renewed; 0 if there is none.
    Authenticate sees a browser only now and then: without it, somebody who works in one
    page for an hour would count as idle."""


def sign_in_url(keys: KeyRing, authenticate: str, request: SignInRequest, now: float) -> str:
    """Return the URL at authenticate (its origin) that asks for a sign-in."""
    asked = {"pomerium_redirect_uri": request.redirect, "pomerium_login": request.login}
    if request.seen:
        asked["pomerium_seen"] = str(request.seen)
    return sign_url(keys, f"{authenticate}{SIGN_IN}?{urlencode(asked)}", now)


def read_sign_in(
    keys: KeyRing, authenticate: str, query: bytes | None, now: float
) -> SignInRequest:
    """
    Return what a signed sign-in URL asks for.

    Args:
        keys: of signed URLs.
        authenticate: our own origin, from the settings: never from the Host field.
        query: as it came.
        now: seconds since the epoch.

    Raises:
        BadToken: not signed by us, too old, or not what a route host writes.
        BadMessage: a parameter stands twice, or the query cannot be read.
    """
    given = _checked(keys, authenticate + SIGN_IN, query, now)
    seen = given.get("pomerium_seen", "0")
    login = given.get("pomerium_login", "")
    if not (seen.isascii() and seen.isdigit() and len(seen) < len(str(LAST_SECOND)) + 1):
        raise BadToken("sign-in's pomerium_seen is no time")
    if not 0 < len(login) <= _LOGIN_SIZE:
        raise BadToken(f"sign-in's pomerium_login is no text of 1 to {_LOGIN_SIZE} characters")
    return SignInRequest(
        redirect=given.get("pomerium_redirect_uri", ""), login=login, seen=int(seen)
    )


def sign_out_url(
    keys: KeyRing, authenticate: str, *, session_id: str, redirect: str, now: float
) -> str:
    """
    Return the URL at authenticate that ends one session, without asking again.

    Args:
        keys: of signed URLs.
        authenticate: its origin.
        session_id: of the session that ends. The URL names it by a digest, and does
            nothing to a browser that has another one.
        redirect: an absolute URL of ours that the signed-out page links to.
        now: seconds since the epoch.
    """
    asked = {"pomerium_session": session_mark(session_id), "pomerium_redirect_uri": redirect}
    return sign_url(keys, f"{authenticate}{SIGN_OUT}?{urlencode(asked)}", now)


@attrs.frozen(kw_only=True)
class SignOutRequest:
    """What a route host wants done: this session has ended, end it everywhere."""

    session: str
    """The mark of its id."""
    redirect: str

    def is_of(self, session_id: str) -> bool:
        """Say whether it is this session that is to end."""
        return hmac.compare_digest(self.session.encode(), session_mark(session_id).encode())


def read_sign_out(
    keys: KeyRing, authenticate: str, query: bytes | None, now: float
) -> SignOutRequest:
    """Return what a signed sign-out URL asks for; errors as in :func:`read_sign_in`."""
    given = _checked(keys, authenticate + SIGN_OUT, query, now)
    return SignOutRequest(
        session=given.get("pomerium_session", ""), redirect=given.get("pomerium_redirect_uri", "")
    )


def session_mark(session_id: str) -> str:
    """Return a digest that names a session without giving it away."""
    digest = hashlib.sha256(b"pomeriumd session mark\n" + session_id.encode())
    return base64url.encode(digest.digest())


def _checked(keys: KeyRing, address: str, query: bytes | None, now: float) -> dict[str, str]:
    """Return the parameters of a signed URL, read only after its signature."""
    if query is None or not query.isascii():
        raise BadToken("link is not signed")
    check_url(keys, f"{address}?{query.decode('ascii')}", now)
    return parameters(query)
