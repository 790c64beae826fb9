"""
A browser in memory at a whole daemon in memory, and a provider for both.

It keeps cookies as browsers do (RFC 6265bis section 5), follows redirects, and remembers
all that it was ever sent: what an attack may not bring about is looked for there. It drops
cookies at their end only when told to: an attacker's browser would not.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.model import Origin, RouteSettings
from tests.support.provider import IdentityProvider
from tests.support.rig import NAVIGATION, Got, Rig, parse, request
from tests.support.settings import AUTHENTICATE, ISSUER, route

AUTH = AUTHENTICATE.text
APP = "https://app.example.com"
WIKI = "https://wiki.example.com:8443"
SIX = "https://[2001:db8::1]"

LISTED = (APP, WIKI, SIX, AUTH, ISSUER)
"""Every origin that a browser may be led to: routes, authenticate, the provider."""

SIGNED_IN = route(allow_any_authenticated_user=True)
ROUTES = (
    SIGNED_IN,
    route(
        from_=Origin("https", "wiki.example.com", 8443),
        place="policy[1]",
        allow_any_authenticated_user=True,
    ),
    route(
        from_=Origin("https", "[2001:db8::1]", 443),
        place="policy[2]",
        allow_any_authenticated_user=True,
    ),
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

NOWHERE = "/dev/null/state"
"""Where nothing can be kept, not even by root: no daemon finds what another one learnt."""

HOPS = 12
"""Redirects that a browser follows; a sign-in takes five."""


def host_of(authority: str) -> str:
    """Return the host by which a browser keeps cookies: without its port."""
    end = authority.find("]") + 1
    return (authority[:end] if end else authority.partition(":")[0]).lower()


@attrs.define(eq=False)
class Browser:
    """One person's browser."""

    rig: Rig
    provider: IdentityProvider
    cookies: dict[tuple[str, bytes], bytes] = attrs.Factory(dict)
    """By host and name; a leading dot at the host is a cookie of the whole domain."""
    shown: list[tuple[str, Got]] = attrs.Factory(list)
    """Every URL that was opened at the daemon, and what came."""
    at_applications: list[bytes] = attrs.Factory(list)
    """Every request that an application got from this browser."""
    ends: dict[tuple[str, bytes], float] | None = attrs.field(default=None, kw_only=True)
    """When cookies end, by the rig's clock; None for a browser that keeps them for ever."""
    patience: float = attrs.field(default=0, kw_only=True)
    """Seconds that it waits for an answer that does not come at once."""

    def open(
        self,
        url: str,
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        body: bytes = b"",
        navigates: bool = True,
    ) -> Got:
        """Ask for a URL once."""
        parts = urlsplit(url)
        target = parts.path + ("?" + parts.query if "?" in url else "")
        return self.ask(
            parts.netloc,
            target.encode("latin-1") or b"/",
            *(NAVIGATION if navigates else ()),
            *fields,
            method=method,
            body=body,
        )

    def ask(
        self,
        authority: str,
        target: bytes,
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        body: bytes = b"",
    ) -> Got:
        """Send a request to the daemon with this browser's cookies, and keep the new ones."""
        host = host_of(authority)
        sent = self.field(host)
        client = self.rig.connect()
        client.sends(
            request(
                target,
                *fields,
                *((b"cookie", sent),) if sent else (),
                method=method,
                host=authority.encode("ascii"),
                body=body,
            )
        )
        octets = client.got()
        if not octets:
            octets = self._from_application(client)
        client.leaves()
        got = parse(octets)
        self.keep(host, got)
        self.shown.append((f"https://{authority}{target.decode('latin-1')}", got))
        return got

    def script(self, url: str = f"{APP}/data") -> Got:
        """Ask as a page's script does."""
        return self.open(url, (b"accept", b"application/json"), navigates=False)

    def follow(self, url: str = f"{APP}/", *fields: tuple[bytes, bytes]) -> Got:
        """Open a URL and go wherever it leads, to the provider and back."""
        for _ in range(HOPS):
            if url.startswith(f"{ISSUER}/"):
                url = self.provider.visit(url)
                continue
            got = self.open(url, *fields)
            if got.status != 302:
                return got
            url = urljoin(url, got.field(b"location").decode("ascii"))
        raise AssertionError(f"goes round in circles: {url[:200]}")

    def until(self, url: str, stop: str) -> str:
        """Go on from a URL until something that begins so is next, and return that."""
        for _ in range(HOPS):
            if url.startswith(stop):
                return url
            if url.startswith(f"{ISSUER}/"):
                url = self.provider.visit(url)
                continue
            got = self.open(url)
            assert got.status == 302, (url, got)
            url = urljoin(url, got.field(b"location").decode("ascii"))
        raise AssertionError(f"never came to {stop}")

    def field(self, host: str) -> bytes:
        """Return what the Cookie field says at a host."""
        return b"; ".join(
            name + b"=" + value
            for (where, name), value in self.cookies.items()
            if (where == host or (where.startswith(".") and f".{host}".endswith(where)))
            and (not self.ends or self.rig.clock.seconds() < self.ends[where, name])
        )

    def at(self, host: str) -> dict[bytes, bytes]:
        """Return the cookies of one host."""
        return {name: value for (where, name), value in self.cookies.items() if where == host}

    def has_session(self, host: str = "app.example.com") -> bool:
        """Say whether there is a cookie that may be a session at a host."""
        return b"__Host-_pomerium" in self.at(host)

    def copy(self) -> Browser:
        """Return another browser with the same cookies: a thief's."""
        return Browser(self.rig, self.provider, dict(self.cookies))

    def received(self) -> bytes:
        """Return every byte of every answer, for a search."""
        return b"\n".join(b"%d %r " % (got.status, got.fields) + got.body for _, got in self.shown)

    def _from_application(self, client: Any) -> bytes:
        for server in self.rig.upstreams.opened:
            asked = server.got()
            if asked:
                self.at_applications.append(asked)
                server.sends(OK)
        octets: bytes = client.got()
        if not octets:
            self.rig.pass_time(self.patience)
            octets = client.got()
        assert octets, "nobody answered"
        return octets

    def keep(self, host: str, got: Got) -> None:
        """Keep and drop cookies as an answer of a host says."""
        for text in got.all(b"set-cookie"):
            pair, *attributes = (part.strip() for part in text.split(b";"))
            name, _, value = pair.partition(b"=")
            given = dict(part.partition(b"=")[::2] for part in attributes)
            domain = given.get(b"Domain", b"").decode("ascii").lstrip(".")
            if name.startswith(b"__Host-"):
                assert not domain, text
                assert given[b"Path"] == b"/", text
                assert b"Secure" in given, text
            where = f".{domain}" if domain else host
            if given.get(b"Max-Age") == b"0":
                self.cookies.pop((where, name), None)
            else:
                self.cookies[where, name] = value
                if self.ends is not None:
                    self.ends[where, name] = self.rig.clock.seconds() + int(given[b"Max-Age"])


class SignInCase(SynchronousTestCase):
    """A daemon with three routes, a provider, and one person's browser."""

    routes: tuple[RouteSettings, ...] = ROUTES
    more: dict[str, Any] = {}  # noqa: RUF012  # read only: settings that a class changes

    def setUp(self) -> None:
        """Start all of it."""
        self.start(*self.routes, **self.more)

    def start(self, *routes: RouteSettings, **more: Any) -> None:
        """Start it with these routes and settings."""
        self.provider = IdentityProvider()
        self.start_daemon(*routes, **more)
        self.browser = self.new_browser()

    def start_daemon(self, *routes: RouteSettings, **more: Any) -> None:
        """Start a daemon that knows nothing of one before it."""
        self.rig = Rig(*routes, agent=self.provider, **{"state_dir": NOWHERE, **more})
        self.clock: Clock = self.rig.clock
        self.provider.now = self.clock.seconds

    def new_browser(self) -> Browser:
        """Return another person's browser."""
        return Browser(self.rig, self.provider)

    def sign_in(self, url: str = f"{APP}/", browser: Browser | None = None) -> Got:
        """Open a page and sign in on the way; the page is the application's."""
        got = (browser or self.browser).follow(url)
        self.assertEqual((got.status, got.body), (200, b"ok"), got)
        return got
