"""
What a policy can answer, and the words it gives for it.

A decision is one of three frozen values; callers take it apart with ``match`` and
``assert_never``, so that a forgotten case is a type error. The words are Pomerium's
own where it has one, so that logs, alerts and habits carry over; those marked *ours*
say what it leaves unsaid.

Source: shared vocabulary of the Pomerium Policy Language, "reasons".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs


@attrs.frozen
class Allow:
    """Let the request through."""

    reasons: tuple[str, ...]
    """The first criterion that was met."""


@attrs.frozen
class Deny:
    """Refuse: we know who this is, and signing in again would not change it."""

    reasons: tuple[str, ...]
    """Every criterion that was tried, none of which was met."""


@attrs.frozen
class SignIn:
    """Ask who this is: nobody has signed in, or not in a way that counts here."""

    reasons: tuple[str, ...]


Decision = Allow | Deny | SignIn
"""What a policy says about one request."""

ACCEPT = "accept"
USER_OK = "user-ok"
EMAIL_OK = "email-ok"
DOMAIN_OK = "domain-ok"
GROUPS_OK = "groups-ok"
USER_UNAUTHENTICATED = "user-unauthenticated"
USER_UNAUTHORIZED = "user-unauthorized"
EMAIL_UNAUTHORIZED = "email-unauthorized"
DOMAIN_UNAUTHORIZED = "domain-unauthorized"
GROUPS_UNAUTHORIZED = "groups-unauthorized"
EMAIL_UNVERIFIED = "email-unverified"
"""Ours: a rule asks for an e-mail address and this identity has none that counts."""
ISSUER_UNAUTHORIZED = "issuer-unauthorized"
"""Ours: the identity comes from a provider that is not the configured one."""
NO_RULE = "no-rule"
"""Ours: the route has no rule that admits anybody."""
WEBSOCKETS_OFF = "websockets-off"
"""Ours, from the proxy: a WebSocket on a route without ``allow_websockets``."""
ROUTE_GONE = "route-gone"
"""Ours, for a stream that was cut, as those that follow: no route takes it any more, or
another one does."""
SESSION_ENDED = "session-ended"
"""Ours: the session is at its absolute end, or does not verify any more."""
SESSION_UNCONFIRMED = "session-unconfirmed"
"""Ours: the provider has not confirmed the session for as long as may be."""
SIGNED_OUT = "signed-out"
"""Ours: the session was signed out, in this process."""
ROUTE_UNKNOWN = "route-unknown"
"""Ours, from authorize: the proxy asked about a route that is not configured there."""
UNDECIDED = "undecided"
"""Ours: nobody could say whether it may go on."""

CERTIFICATE_REQUIRED = "client-certificate-required"
CERTIFICATE_UNAUTHORIZED = "client-certificate-unauthorized"
CERTIFICATE_INVALID = "invalid-client-certificate"
"""From the proxy; one of those that follow says why."""
CERTIFICATE_UNTRUSTED = "client-certificate-untrusted"
"""Ours, as those that follow: nobody who is trusted issued it, or what leads there is missing."""
CERTIFICATE_EXPIRED = "client-certificate-expired"
CERTIFICATE_NOT_YET = "client-certificate-not-yet-valid"
CERTIFICATE_REVOKED = "client-certificate-revoked"
CERTIFICATE_LIST = "client-certificate-list-stale"
"""The issuer's list of revoked certificates is out of date, or is not its own."""
CERTIFICATE_NOT_FOR_CLIENTS = "client-certificate-not-for-clients"
CERTIFICATE_TOO_DEEP = "client-certificate-too-deep"
CERTIFICATE_NAME = "client-certificate-name-mismatch"
CERTIFICATE_WEAK = "client-certificate-weak"
CERTIFICATE_MALFORMED = "client-certificate-malformed"

PLAIN: Mapping[str, str] = MappingProxyType(
    {
        ACCEPT: "This page is open to everyone.",
        USER_OK: "You are signed in as somebody who may open this page.",
        EMAIL_OK: "Your e-mail address is on the list for this page.",
        DOMAIN_OK: "The domain of your e-mail address is on the list for this page.",
        GROUPS_OK: "You are in a group that may open this page.",
        USER_UNAUTHENTICATED: "You are not signed in.",
        USER_UNAUTHORIZED: "Your account is not on the list for this page.",
        EMAIL_UNAUTHORIZED: "Your e-mail address is not on the list for this page.",
        DOMAIN_UNAUTHORIZED: "The domain of your e-mail address is not on the list for this page.",
        GROUPS_UNAUTHORIZED: "You are in none of the groups that may open this page.",
        EMAIL_UNVERIFIED: (
            "Your identity provider did not confirm an e-mail address of yours, "
            "and this page asks for one."
        ),
        ISSUER_UNAUTHORIZED: "You signed in with an identity provider that is not used here.",
        NO_RULE: "No one is admitted to this page: its route has no rule that admits anybody.",
        WEBSOCKETS_OFF: "WebSocket connections are not let through to this page.",
        ROUTE_GONE: "This page is not served here any more, or under other rules.",
        SESSION_ENDED: "Your session has ended.",
        SESSION_UNCONFIRMED: (
            "Your identity provider has not confirmed your session for too long."
        ),
        SIGNED_OUT: "You have signed out.",
        ROUTE_UNKNOWN: (
            "This page is being set up or taken away at the moment: the service that decides who"
            " may open it does not know it."
        ),
        UNDECIDED: "It could not be decided whether you may open this page.",
        CERTIFICATE_REQUIRED: "No certificate was shown. This page asks for one.",
        CERTIFICATE_UNAUTHORIZED: "Your certificate is not on the list for this page.",
        CERTIFICATE_INVALID: "The certificate that was shown does not count here.",
        CERTIFICATE_UNTRUSTED: (
            "It was not issued by anybody who is trusted here, or certificates that lead there "
            "were not sent with it."
        ),
        CERTIFICATE_EXPIRED: "It has expired. Have a new one issued.",
        CERTIFICATE_NOT_YET: "It is not valid yet. Check the clock of your device.",
        CERTIFICATE_REVOKED: "It has been revoked. Have a new one issued.",
        CERTIFICATE_LIST: (
            "It cannot be known whether it has been revoked: the list is out of date. That is for "
            "whoever runs this site to repair."
        ),
        CERTIFICATE_NOT_FOR_CLIENTS: "It is not meant for signing in: it is for servers, say.",
        CERTIFICATE_TOO_DEEP: "Too many issuers stand between it and those who are trusted here.",
        CERTIFICATE_NAME: "It is not for a person or device that this page is for.",
        CERTIFICATE_WEAK: "Its key or its signature is too weak. Have a new one issued.",
        CERTIFICATE_MALFORMED: "It cannot be read.",
    }
)
"""A sentence that a user can read, for each word."""


def explain(reasons: Iterable[str]) -> list[str]:
    """
    Say in plain sentences what the reasons mean.

    Args:
        reasons: words of a decision; one that is not ours (a remote authorizer may be
            newer than we are) is shown as it is.

    Returns:
        One sentence for each word, in the order given.
    """
    return [PLAIN.get(word) or f"The policy answered {word!r}." for word in reasons]
