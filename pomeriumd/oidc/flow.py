"""
The authorization code flow as text: URLs and bodies out, answers in.

Pure. PKCE with S256, state and nonce go into every authorization request; there is no
switch to leave one out.

Source: RFC 6749, RFC 7636, RFC 7009, RFC 9207, OpenID Connect Core 1.0 section 3.1,
OpenID Connect RP-Initiated Logout 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import attrs

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.metadata import CLIENT_AUTHENTICATION, Metadata
from pomeriumd.oidc.refusals import refusal

MAX_CODE = 8_192
"""Characters of an authorization code; Microsoft's have some 1,500."""

MAX_TOKEN = 65_536
"""Characters of each token in an answer."""

MAX_HINT = 4_096
"""Characters of an ID token that still fits into a logout URL everywhere."""

Parameters = Sequence[tuple[str, str]]

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_VISIBLE = re.compile(r"[!-~]+")
_WORDS = re.compile(r"[ !#-\[\]-~]{1,200}")


@attrs.frozen
class Credentials:
    """How we show the provider who we are."""

    client_id: str
    secret: bytes = attrs.field(repr=False)


@attrs.frozen
class Form:
    """A POST to an endpoint of the provider."""

    url: str
    body: bytes = attrs.field(repr=False)
    authorization: bytes | None = attrs.field(repr=False, default=None)


@attrs.frozen(kw_only=True)
class Tokens:
    """A token answer that can be read; nothing in it is verified yet."""

    access_token: str = attrs.field(repr=False)
    id_token: str | None = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(repr=False)


@attrs.frozen
class Refusal:
    """An error answer of the token endpoint."""

    error: str
    """The code of RFC 6749 section 5.2; empty when the answer named none."""
    description: str
    """The provider's words, made safe to log."""


def challenge(verifier: str) -> str:
    """
    Return the S256 challenge for a PKCE verifier.

    Raises:
        LoginFailed: ``pkce``: there is no proper verifier, so this sign-in is not ours.
    """
    if not _VERIFIER.fullmatch(verifier):
        raise refusal("pkce", "pkce: verifier is not 43 to 128 unreserved characters")
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def authorization_url(
    metadata: Metadata,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str],
    state: str,
    nonce: str,
    verifier: str,
    more: Parameters = (),
) -> str:
    """
    Return where to send the browser to sign in.

    Args:
        metadata: of the provider.
        client_id: ours.
        redirect_uri: where the provider sends the browser back to.
        scopes: in the order to ask for them.
        state: of this sign-in, unpredictable.
        nonce: of this sign-in, unpredictable.
        verifier: of this sign-in; only its digest is in the URL.
        more: parameters of the kind and of the settings; a later one goes over an
            earlier one of the same name, none of them is in OURS.

    Raises:
        ProviderError: the endpoint has a parameter of ours in its own URL.
        ValueError: state or nonce is empty: a mistake of the caller.
    """
    if not state or not nonce:
        raise ValueError("state and nonce are needed in every request")
    ours = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return _with_query(metadata.authorization_endpoint, {**dict(more), **ours})


def logout_url(
    metadata: Metadata,
    *,
    client_id: str,
    id_token: str | None,
    redirect_uri: str,
    state: str,
    redirect_parameter: str = "post_logout_redirect_uri",
) -> str | None:
    """Return where the provider ends its own session; None when it advertises nothing."""
    if metadata.end_session_endpoint is None:
        return None
    parameters = {"client_id": client_id, redirect_parameter: redirect_uri, "state": state}
    # Without the hint the provider asks the user whom to sign out: better than a URL
    # that servers on the way refuse.
    if id_token is not None and len(id_token) <= MAX_HINT:
        parameters["id_token_hint"] = id_token
    return _with_query(metadata.end_session_endpoint, parameters)


def check_response_issuer(metadata: Metadata, iss: str | None) -> None:
    """
    Refuse an authorization response of another provider (mix-up, O1).

    Args:
        metadata: of the provider that this sign-in began with.
        iss: the parameter of the response; None when it had none.

    Raises:
        LoginFailed: ``issuer-parameter``. Source: RFC 9207 section 2.4.
    """
    if iss is None:
        if metadata.names_itself:
            raise refusal("issuer-parameter", "iss parameter: missing, the provider promised one")
    elif not metadata.is_issuer(iss):
        raise refusal(
            "issuer-parameter",
            f"iss parameter: is {ascii(iss)[:200]}, want {metadata.issuer!r}",
        )


def code_form(
    metadata: Metadata, who: Credentials, *, code: str, verifier: str, redirect_uri: str
) -> Form:
    """
    Return the request that exchanges a code.

    Raises:
        LoginFailed: ``code`` or ``pkce``: not what a sign-in of ours brings.
        ProviderError: the provider takes no client authentication that we do.
    """
    if len(code) > MAX_CODE or not _VISIBLE.fullmatch(code):
        raise refusal("code", f"code: not 1 to {MAX_CODE} visible ASCII characters")
    challenge(verifier)
    return _form(
        metadata.token_endpoint,
        metadata.token_endpoint_auth_methods,
        who,
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        },
    )


def refresh_form(metadata: Metadata, who: Credentials, refresh_token: str) -> Form:
    """
    Return the request that renews.

    Raises:
        ProviderError: the provider takes no client authentication that we do.
    """
    return _form(
        metadata.token_endpoint,
        metadata.token_endpoint_auth_methods,
        who,
        {"grant_type": "refresh_token", "refresh_token": refresh_token},
    )


def revoke_form(metadata: Metadata, who: Credentials, token: str, hint: str) -> Form | None:
    """
    Return the request that revokes one token; None when the provider has no place for it.

    Args:
        metadata: of the provider.
        who: we are.
        token: to revoke.
        hint: ``refresh_token`` or ``access_token``. Source: RFC 7009 section 2.1.
    """
    if metadata.revocation_endpoint is None:
        return None
    return _form(
        metadata.revocation_endpoint,
        metadata.revocation_endpoint_auth_methods,
        who,
        {"token": token, "token_type_hint": hint},
    )


def read_tokens(answer: Mapping[str, Any]) -> Tokens:
    """
    Read a successful token answer.

    Raises:
        ProviderError: a member is missing, or is not what it must be.
    """
    kind = answer.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ProviderError("token answer: token_type is not Bearer")
    access_token = _token(answer, "access_token")
    if access_token is None:
        raise ProviderError("token answer: access_token is missing")
    return Tokens(
        access_token=access_token,
        id_token=_token(answer, "id_token"),
        refresh_token=_token(answer, "refresh_token"),
    )


def read_refusal(answer: Mapping[str, Any]) -> Refusal:
    """Read an error answer; whatever cannot be shown safely is left out."""
    return Refusal(_words(answer.get("error")), _words(answer.get("error_description")))


def _form(url: str, methods: Sequence[str], who: Credentials, body: dict[str, str]) -> Form:
    if "client_secret_basic" in methods:
        # Source: RFC 6749 section 2.3.1: both are form-encoded before they are joined,
        # or a colon in the id would end it.
        pair = f"{quote_plus(who.client_id)}:{quote_plus(who.secret)}".encode("ascii")
        return Form(url, _encoded(body), b"Basic " + base64.b64encode(pair))
    if "client_secret_post" in methods:
        return Form(
            url, _encoded({**body, "client_id": who.client_id, "client_secret": who.secret})
        )
    raise ProviderError(
        f"metadata: client authentication is none of {', '.join(CLIENT_AUTHENTICATION)}"
    )


def _encoded(body: Mapping[str, str | bytes]) -> bytes:
    return urlencode(body).encode("ascii")


def _with_query(endpoint: str, parameters: Mapping[str, str]) -> str:
    """Add parameters to an endpoint that may have a query. Source: RFC 6749 section 3.1."""
    present = urlsplit(endpoint).query
    twice = {name for name, _ in parse_qsl(present, keep_blank_values=True)} & parameters.keys()
    if twice:
        raise ProviderError(f"metadata: an endpoint has {min(twice)} in its own URL")
    joint = "" if endpoint.endswith(("?", "&")) else "&" if present else "?"
    return f"{endpoint}{joint}{urlencode(parameters)}"


def _token(answer: Mapping[str, Any], name: str) -> str | None:
    value = answer.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _VISIBLE.fullmatch(value):
        raise ProviderError(
            f"token answer: {name} is not 1 to {MAX_TOKEN} visible ASCII characters"
        )
    return value


def _words(value: object) -> str:
    """Return a provider's words for the log: bounded, and only what RFC 6749 allows."""
    if not isinstance(value, str):
        return ""
    match = _WORDS.match(value)
    return match[0] if match else ""
