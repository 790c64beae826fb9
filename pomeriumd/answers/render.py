"""
The one place that says what an error becomes for the person who meets it.

Status and first sentence come from the class; title and advice from the table here.
Nothing comes from the error's own text, which is for the log: it may name an upstream.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from pomeriumd.answers.safe import short
from pomeriumd.errors import (
    BadMessage,
    BadToken,
    BodyTooLarge,
    ClientError,
    ClientGone,
    Denied,
    Exhausted,
    HeadTooLarge,
    LoginFailed,
    MethodNotAllowed,
    Misdirected,
    NoClientCertificate,
    NoRoute,
    NotSupported,
    PomeriumError,
    ProviderError,
    RequestTimeout,
    StreamEnded,
    Unauthenticated,
    Undecided,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
    VersionNotSupported,
)

BUSY_SECONDS = 5
"""When to come back where connections are all in use, or no more to be had: they turn over fast."""

PROVIDER_SECONDS = 30
"""When to come back after a failure of the identity provider: its back-off is of that order."""

REASONS = 20
"""Reasons shown at most; a policy has fewer kinds of rules."""

EXPLANATION_LIMIT = 1000
"""Characters of a failed sign-in's explanation: a few sentences."""


class Wording(NamedTuple):
    """What a page says beside an error's ``public`` sentence."""

    title: str
    advice: tuple[str, ...]
    again: bool = False
    """Whether the same request may well succeed, or is safe and worth a try."""
    retry_after: int | None = None
    """Seconds; only where a 503 is ours to time."""


_REPORT = "If it stays like this, tell whoever runs this site, with the request ID below."
_ASK = (
    "If this account should have access, ask whoever runs this site, and give them the"
    " request ID below."
)

WORDING: dict[type[PomeriumError], Wording] = {
    PomeriumError: Wording(
        "Something went wrong",
        ("It is not your doing. Trying again may help.", _REPORT),
        again=True,
    ),
    ClientError: Wording("Request not accepted", ("Check the address and try again.",)),
    BadMessage: Wording(
        "Request not understood",
        (
            "It was malformed, or could have been read in two ways, and was refused to be safe.",
            "In a browser: open the site from its start page instead of this address.",
        ),
    ),
    BodyTooLarge: Wording("Too large", ("Send something smaller, or send it in parts.",)),
    HeadTooLarge: Wording(
        "Request header too large",
        ("Delete the cookies of this site in your browser, then open it again.",),
    ),
    RequestTimeout: Wording(
        "The request took too long",
        ("Check your connection to the network, then try again.",),
        again=True,
    ),
    MethodNotAllowed: Wording(
        "Not possible this way",
        ("Open the site from its start page, and use its own links and buttons.",),
    ),
    Misdirected: Wording(
        "Wrong connection", ("Try again: your browser will open a new connection.",), again=True
    ),
    NotSupported: Wording(
        "Not supported", ("If a program sent this, its settings may need a change.",)
    ),
    VersionNotSupported: Wording("HTTP version not supported", ("Use a current browser.",)),
    NoRoute: Wording(
        "Nothing here", ("Check the address for a slip, or go back to where you came from.",)
    ),
    Unauthenticated: Wording("You are not signed in", ("Sign in, then open this page again.",)),
    Denied: Wording(
        "No access",
        (
            "If you have another account, sign out and use that one.",
            _ASK,
        ),
    ),
    NoClientCertificate: Wording(
        "No valid client certificate",
        (
            "Close all windows of your browser, then open the page again: only then it asks anew.",
            "Choose another certificate, or have one installed that was issued for this site.",
            _REPORT,
        ),
        again=True,
    ),
    StreamEnded: Wording("Connection ended", ("Open the page again.", _ASK)),
    LoginFailed: Wording("Sign-in failed", (_REPORT,)),
    UpstreamError: Wording("Application problem", (_REPORT,), again=True),
    UpstreamUnreachable: Wording(
        "Application not reachable",
        (
            "Your request did not reach it, so it is safe to try again.",
            "It may be restarting, or switched off. Your own connection works.",
            _REPORT,
        ),
        again=True,
    ),
    UpstreamBroken: Wording(
        "Broken answer",
        (
            "If you were sending a form, look whether it was taken before you send it again.",
            _REPORT,
        ),
        again=True,
    ),
    UpstreamBusy: Wording(
        "Application busy",
        ("Your request did not reach it, so it is safe to try again in a few seconds.", _REPORT),
        again=True,
        retry_after=BUSY_SECONDS,
    ),
    UpstreamTimeout: Wording(
        "No answer in time",
        (
            "The application may still be working on your request.",
            "If you were sending a form, look whether it was taken before you send it again.",
            _REPORT,
        ),
        again=True,
    ),
    Exhausted: Wording(
        "Too much to do",
        ("Your request was not passed on, so it is safe to try again in a few seconds.", _REPORT),
        again=True,
        retry_after=BUSY_SECONDS,
    ),
    Undecided: Wording(
        "Access not decided",
        (
            "Nothing is wrong with your account: the service that decides does not answer.",
            "Your request did not reach the application, so it is safe to try again.",
            _REPORT,
        ),
        again=True,
        retry_after=BUSY_SECONDS,
    ),
    ProviderError: Wording(
        "Sign-in is not available right now",
        ("Applications that you have open go on working for a while.", _REPORT),
        again=True,
        retry_after=PROVIDER_SECONDS,
    ),
    ClientGone: Wording("Connection closed", ("Try again.",), again=True),
    BadToken: Wording(
        "Link no longer valid",
        ("Open the site from its start page. If you are asked to, sign in again.",),
    ),
}
"""By class; a class that has no row of its own speaks as its nearest parent."""


@attrs.frozen(kw_only=True)
class Shown:
    """All that a reader gets to know about one error."""

    status: int
    title: str
    public: str
    advice: tuple[str, ...]
    again: bool
    retry_after: int | None
    denied: bool = False
    """Whether it is a matter of who is signed in."""
    reasons: tuple[str, ...] = ()
    """Why access was denied, in plain words."""
    check: str | None = None
    """Which check of the sign-in failed: the same word as in log and manual."""
    explain: str | None = None


def render(error: BaseException) -> Shown:
    """Return what to show for any error; one that is not ours is a 500 and says no more."""
    ours = error if isinstance(error, PomeriumError) else PomeriumError()
    wording = next(WORDING[kind] for kind in type(ours).__mro__ if kind in WORDING)
    shown = Shown(
        status=ours.status,
        title=wording.title,
        public=ours.public or PomeriumError.public,
        advice=wording.advice,
        again=wording.again,
        retry_after=wording.retry_after,
    )
    match ours:
        case Denied():
            reasons = tuple(short(reason) for reason in ours.reasons[:REASONS])
            return attrs.evolve(shown, denied=True, reasons=reasons)
        case NoClientCertificate():
            reasons = tuple(short(reason) for reason in ours.reasons[:REASONS])
            title = f"The certificate that was shown: {short(ours.title)}" if ours.title else None
            return attrs.evolve(shown, reasons=reasons, explain=title)
        case LoginFailed():
            explain = short(ours.explain, EXPLANATION_LIMIT)
            return attrs.evolve(shown, check=short(ours.check), explain=explain)
    return shown
