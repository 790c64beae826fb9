"""
Every error of ours, by what the catcher does with it.

::

    PomeriumError
    ├── ClientError             the client's doing: answered, logged at info
    │   ├── BadMessage          400  cannot be read, or could be read in two ways
    │   ├── BodyTooLarge        413
    │   ├── HeadTooLarge        431
    │   ├── RequestTimeout      408
    │   ├── MethodNotAllowed    405
    │   ├── Misdirected         421
    │   ├── NotSupported        501
    │   ├── VersionNotSupported 505
    │   ├── NoRoute             404
    │   ├── Unauthenticated     401  a session is needed and this is no navigation
    │   ├── Denied              403  the policy said no; carries its reasons
    │   ├── NoClientCertificate 495  the client showed no certificate that counts here
    │   ├── StreamEnded         403  an exchange that lasts was decided again, and denied
    │   └── LoginFailed         400  one named check of the sign-in failed
    ├── UpstreamError           the upstream's doing
    │   ├── UpstreamUnreachable 502  no connection, or TLS refused: nothing was sent
    │   ├── UpstreamBroken      502  the answer broke off or cannot be read
    │   ├── UpstreamBusy        503  every connection allowed is in use
    │   └── UpstreamTimeout     504
    ├── Exhausted               503  this host has nothing left for another connection
    ├── ProviderError           503  the identity provider's doing
    ├── Undecided               503  no authorize service could say whether it may go on
    ├── ClientGone              499  nobody is left to answer
    ├── BadToken                a token, cookie or seal that does not verify
    └── SettingsError           problems in the settings, each with its place

The class says whose fault it is (``side``) and which answer it gives (``status``);
``public`` is what a user may read; the text is for the log, and so is ``remedy``, which
ends its line: what the operator can do. A text is a fragment: lower case, no full stop,
the thing first.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import ClassVar

import attrs


class Side(enum.Enum):
    """Whose doing an error is: decides the log level and who has to act."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    PROVIDER = "provider"
    OURS = "ours"


class PomeriumError(Exception):
    """Root of all errors of ours; on its own it means a bug or a broken host."""

    status: ClassVar[int] = 500
    side: ClassVar[Side] = Side.OURS
    public: ClassVar[str] = "Something went wrong on our side."
    told_apart: ClassVar[bool] = False
    """Whoever finds it writes it to the log, seldom enough: a request that fails with it has its
    line in the access log alone."""
    ends_connection: ClassVar[bool] = False
    """Another connection may do better: this one closes after the answer."""
    remedy: str = ""


class ClientError(PomeriumError):
    """The request cannot be served as it came."""

    status: ClassVar[int] = 400
    side: ClassVar[Side] = Side.CLIENT
    public: ClassVar[str] = "This request cannot be served as it was sent."


class BadMessage(ClientError):
    """A message that cannot be read, or that two readers could read in two ways."""

    public: ClassVar[str] = "This request could not be understood."


class BodyTooLarge(ClientError):
    """The body is larger than this place takes."""

    status: ClassVar[int] = 413
    public: ClassVar[str] = "What was sent is too large for this address."


class HeadTooLarge(ClientError):
    """Request line and header fields together are over the bound."""

    status: ClassVar[int] = 431
    public: ClassVar[str] = (
        "The request's header fields are too large. Too many cookies are the usual reason."
    )


class RequestTimeout(ClientError):
    """The request did not arrive in time."""

    status: ClassVar[int] = 408
    public: ClassVar[str] = "The request did not arrive in time."


class MethodNotAllowed(ClientError):
    """
    This address does not take this method.

    Args:
        text: for the log.
        allow: the methods that it takes, as the Allow field lists them (RFC 9110, 15.5.6).
    """

    status: ClassVar[int] = 405
    public: ClassVar[str] = "This address does not take this kind of request."

    def __init__(self, text: str, allow: str = "") -> None:
        super().__init__(text)
        self.allow = allow


class Misdirected(ClientError):
    """This connection may not carry requests for this host."""

    status: ClassVar[int] = 421
    public: ClassVar[str] = "This connection cannot be used for this address. Try again."
    ends_connection: ClassVar[bool] = True


class NotSupported(ClientError):
    """A method or coding that we do not speak."""

    status: ClassVar[int] = 501
    public: ClassVar[str] = "This kind of request is not supported."


class VersionNotSupported(ClientError):
    """An HTTP version that we do not speak."""

    status: ClassVar[int] = 505
    public: ClassVar[str] = "This version of HTTP is not supported."


class NoRoute(ClientError):
    """No route is configured for this host and path."""

    status: ClassVar[int] = 404
    public: ClassVar[str] = "There is nothing at this address."


class Unauthenticated(ClientError):
    """A session is needed; only for requests that cannot be sent to a sign-in page."""

    status: ClassVar[int] = 401
    public: ClassVar[str] = "Please sign in."


class Denied(ClientError):
    """
    The policy said no.

    Args:
        text: for the log.
        reasons: what the policy found, in words a user can read.
    """

    status: ClassVar[int] = 403
    public: ClassVar[str] = "You are signed in, but you may not open this page."

    def __init__(self, text: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.reasons = tuple(reasons)


class NoClientCertificate(ClientError):
    """
    The client showed no certificate, or none that counts here.

    Args:
        text: for the log.
        reasons: what is wrong with it, in words a user can read.
        title: whose certificate it was, as it says itself; "" if there was none.
    """

    status: ClassVar[int] = 495
    public: ClassVar[str] = "This page is for devices with a certificate."
    ends_connection: ClassVar[bool] = True

    def __init__(self, text: str, reasons: Sequence[str] = (), title: str = "") -> None:
        super().__init__(text)
        self.reasons = tuple(reasons)
        self.title = title


class StreamEnded(ClientError):
    """
    An exchange that lasts was decided again, and may not go on.

    Args:
        text: for the log.
        reasons: the words of the decision.
    """

    status: ClassVar[int] = 403
    public: ClassVar[str] = "This connection has ended: you may not use it any more."

    def __init__(self, text: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.reasons = tuple(reasons)


class LoginFailed(ClientError):
    """
    One named check of the sign-in failed.

    Args:
        text: for the log.
        check: which check, as a stable word, e.g. ``state-cookie``: the page, the log
            and the manual's troubleshooting table share it.
        explain: what the user should know and can do, in plain sentences.
    """

    public: ClassVar[str] = "The sign-in did not complete."

    def __init__(self, text: str, check: str, explain: str) -> None:
        super().__init__(text)
        self.check = check
        self.explain = explain


class UpstreamError(PomeriumError):
    """
    The application behind us did not do its part.

    Args:
        text: for the log.
        remedy: what the operator can do, where the class does not know it well enough.
        tls: what went wrong with TLS, one of the words of ``crypto.tls_faults``; empty if it was
            something else.
    """

    status: ClassVar[int] = 502
    side: ClassVar[Side] = Side.UPSTREAM
    public: ClassVar[str] = "The application behind this address has a problem."
    remedy: str = "see the application's own log"

    def __init__(self, text: str, remedy: str | None = None, *, tls: str = "") -> None:
        super().__init__(text)
        self.tls = tls
        if remedy is not None:
            self.remedy = remedy


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or TLS was refused; no request byte was sent."""

    public: ClassVar[str] = "The application behind this address cannot be reached."
    remedy = "does the application run, and does `to` name its address?"


class UpstreamBroken(UpstreamError):
    """The upstream's answer broke off, or cannot be read."""

    public: ClassVar[str] = "The application behind this address gave a broken answer."


class UpstreamBusy(UpstreamError):
    """Every connection that this upstream may have is in use."""

    status: ClassVar[int] = 503
    public: ClassVar[str] = "The application behind this address is busy. Try again shortly."
    remedy = "see what keeps the application, or raise upstream_max_connections"


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    status: ClassVar[int] = 504
    public: ClassVar[str] = "The application behind this address did not answer in time."
    remedy = "see what keeps the application, or raise the route's timeout"


class Exhausted(PomeriumError):
    """This host has no descriptor or memory left for another connection."""

    status: ClassVar[int] = 503
    public: ClassVar[str] = "This server is busy. Try again shortly."
    remedy = "raise the limit of open files (LimitNOFILE= in the unit), or lower max_connections"


class ProviderError(PomeriumError):
    """The identity provider cannot be reached, or answered what it must not."""

    status: ClassVar[int] = 503
    side: ClassVar[Side] = Side.PROVIDER
    public: ClassVar[str] = "The identity provider did not do its part. Try again shortly."


class Undecided(PomeriumError):
    """No replica of the authorize service answered in time; nothing is let through then."""

    status: ClassVar[int] = 503
    public: ClassVar[str] = (
        "It cannot be decided at the moment whether you may open this page. Try again shortly."
    )
    told_apart: ClassVar[bool] = True
    remedy = "do the hosts of authorize_service_url run, and can this host reach them?"


class ClientGone(PomeriumError):
    """The client left; nobody is there to answer. 499 is what the log shows."""

    status: ClassVar[int] = 499
    side: ClassVar[Side] = Side.CLIENT
    public: ClassVar[str] = ""


class BadToken(PomeriumError):
    """A token, cookie or seal that does not verify; its text never holds the token."""

    status: ClassVar[int] = 400
    side: ClassVar[Side] = Side.CLIENT
    public: ClassVar[str] = "A link or cookie of ours is not valid any more."


@attrs.frozen
class Problem:
    """One fault in the settings: where it stands, and what to do about it."""

    place: str
    text: str

    def __str__(self) -> str:
        """Return place and text as the operator reads them."""
        return f"{self.place}: {self.text}" if self.place else self.text


class SettingsError(PomeriumError):
    """All problems of one set of settings, in the order of their places."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'' if count == 1 else 's'} in the settings:"
        super().__init__("\n".join([head, *(f"  {p}" for p in self.problems)]))
