"""
What is answered over plain http, at ``http_redirect_addr``: go to https.

Only a host of ours is led anywhere, and to its own origin alone, as the settings say it: no part
of the address that is answered comes from the Host field. Path and query are those that the main
port would go by. Whoever orders certificates has its challenges answered here (RFC 8555, 8.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import attrs

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.errors import ClientError, Misdirected, NoRoute
from pomeriumd.http.events import Field, Request
from pomeriumd.net.exchange import Exchange
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.logins import INTERCEPTED
from pomeriumd.proxy.own import READ, OwnPages
from pomeriumd.proxy.replies import Replies
from pomeriumd.settings.model import Settings

CHALLENGE = b"/.well-known/acme-challenge/"

TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,128}")
"""A challenge's token: base64url without padding. 22 characters carry the 128 bits that RFC 8555
asks for, 43 are usual."""

HEALTH = (b"/ping", b"/healthz")
"""Pages of our own that are the same here; balancers ask for them."""

HSTS = b"strict-transport-security"


class Challenges(Protocol):
    """Knows what an authority that issues certificates wants to read here."""

    def key_authorization(self, token: str) -> bytes | None:
        """
        Return the answer to a challenge; None if it is none of ours.

        Args:
            token: 1 to 128 characters of base64url, whoever sent them.
        """


class NoChallenges:
    """Nobody orders certificates."""

    def key_authorization(self, token: str) -> None:
        """Return nothing."""


def origins_of(settings: Settings) -> Mapping[bytes, str]:
    """
    Return the https origin of every host that a browser may come to, by the host.

    Of two routes of one host the first says the port. Where a ``from`` is http:// there is no
    https to lead to.
    """
    found = [route.from_ for route in settings.all_routes]
    if settings.authenticate_service_url is not None:
        found.append(settings.authenticate_service_url)
    found += [cluster.authenticate_service_url for cluster in settings.clusters]
    origins: dict[bytes, str] = {}
    for origin in found:
        if origin.scheme == "https":
            origins.setdefault(origin.host.encode("ascii"), origin.text)
    return origins


@attrs.frozen(kw_only=True, eq=False)
class PlainHTTP:
    """
    Answers over plain http, under one generation.

    Args:
        origins: canonical host to the origin that it is led to.
        own: our pages.
        trusted: proxies in front, who say where a request came from.
        replies: gives the answers.
        challenges: of whoever orders certificates.
    """

    _origins: Mapping[bytes, str]
    _own: OwnPages
    _trusted: TrustedProxies
    _replies: Replies
    _challenges: Challenges = attrs.Factory(NoChallenges)

    @classmethod
    def of(
        cls,
        settings: Settings,
        own: OwnPages,
        trusted: TrustedProxies,
        replies: Replies,
        challenges: Challenges | None = None,
    ) -> PlainHTTP:
        """Return it for these settings."""
        # RFC 6797, 7.2: a host must not send HSTS over a transport that is not secure.
        headers = replies.headers.without_hsts()
        return cls(
            origins=origins_of(settings),
            own=own,
            trusted=trusted,
            replies=attrs.evolve(replies, headers=headers),
            challenges=challenges or NoChallenges(),
        )

    def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        came = self._trusted.came(exchange.client, request.fields, secure=False)
        exchange.client = came.client
        try:
            answer = self._answer(exchange, https=came.https)
        except ClientError as error:
            self.refuse(exchange, error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is logged and answered
            self._replies.fail(exchange, error)
        else:
            self._replies.give(exchange, answer)

    def refuse(self, exchange: Exchange, error: ClientError) -> None:
        """Answer with an error, in plain words: a page would show the host that was asked for."""
        answer = self._own.pages.plain(error.status, f"{error.public}\n")
        self._replies.give(exchange, attrs.evolve(answer, error=type(error).__name__))

    def _answer(self, exchange: Exchange, *, https: bool) -> Answer:
        """
        Return the answer to a request.

        Raises:
            ClientError: there is none for it.
        """
        request = exchange.request
        exchange.decision = "own"
        if request.path in HEALTH:
            call = Call(request=request, request_id=exchange.id, client=exchange.client)
            return self._own.answer(call)
        known = self._challenge(request)
        if known is not None:
            return known
        if https:
            # To https it would be led again, and so for ever.
            raise Misdirected("a balancer brings here what came over TLS")
        origin = self._origins.get(request.host)
        if origin is None or not request.path.startswith(b"/"):
            raise NoRoute("no host of ours, or no path")
        exchange.decision = "redirect"
        return _onward(request, origin)

    def _challenge(self, request: Request) -> Answer | None:
        """Return the answer to a challenge of ours, if it is one."""
        path = request.path
        if not path.startswith(CHALLENGE) or request.method not in READ:
            return None
        token = path.removeprefix(CHALLENGE)
        if not TOKEN.fullmatch(token):
            return None
        answer = self._challenges.key_authorization(token.decode("ascii"))
        if answer is None:
            return None
        fields: tuple[Field, ...] = (
            (b"content-type", b"application/octet-stream"),
            (b"cache-control", b"no-store"),
        )
        return Answer(200, fields, answer)


def _onward(request: Request, origin: str) -> Answer:
    """Return the redirect; 308 has a method with a body keep both (RFC 9110, 15.4.9)."""
    rest = request.path if request.query is None else request.path + b"?" + request.query
    location = (b"location", origin.encode("ascii") + rest)
    return Answer(301 if request.method in READ else 308, (location, INTERCEPTED))
