"""
The whole code flow with a real provider over real HTTP.

The provider is a child process on loopback; our side runs on an epoll reactor of its own,
which is not the global one, and starts no thread.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import BrowserLikePolicyForHTTPS, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from pomeriumd.errors import LoginFailed
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.oidc.grant import Grant, GrantRefused
from pomeriumd.oidc.provider import OIDCProvider
from pomeriumd.small_body import SmallBody

PROGRAM = Path(sys.executable).with_name("oidc-provider-mock")
BACK = "https://auth.example.com/oauth2/callback"
PATIENCE = 30
"""Seconds after which the provider counts as stuck; a run takes one."""

USER = {
    "sub": "ann",
    "email": "ann@example.com",
    "email_verified": True,
    "name": "Ann",
    "groups": ["staff"],
}


@attrs.frozen
class Secret:
    """A secret as the settings have it."""

    def reveal(self) -> bytes:
        """Return it."""
        return b"anything"


class MockProviderTests(SynchronousTestCase):
    """Sign-in, renewal and its end work with a provider that others wrote."""

    def setUp(self) -> None:
        """Start the provider, and learn its port from what it prints."""
        self.child = subprocess.Popen(
            [str(PROGRAM), "-p", "0", "-n", "true", "--user-claims", json.dumps(USER)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.addCleanup(self.stop)
        assert self.child.stderr is not None
        for line in self.child.stderr:
            found = re.search(r"running on (http://127\.0\.0\.1:\d+)", line)
            if found:
                self.issuer = found[1]
                break
        else:
            self.fail("the provider did not start")
        self.state = tempfile.TemporaryDirectory()
        self.addCleanup(self.state.cleanup)

    def stop(self) -> None:
        """End the child, whatever became of the test."""
        self.child.kill()
        self.child.wait()
        assert self.child.stderr is not None
        self.child.stderr.close()

    def provider(self, reactor: Any, agent: IAgent) -> OIDCProvider:
        """Return our side."""
        return OIDCProvider(
            kind="oidc",
            issuer=self.issuer,
            client_id="client",
            client_secret=Secret(),
            scopes=("openid", "profile", "email"),
            agent=agent,
            clock=reactor,
            now=reactor.seconds,
            random=lambda size: b"\x80" * size,
            state_dir=self.state.name,
        )

    async def browser(self, agent: IAgent, url: str, form: dict[str, str]) -> dict[str, list[str]]:
        """Fill in the provider's form, and return the parameters that come back."""
        response = await agent.request(
            b"POST",
            url.encode("ascii"),
            Headers({b"content-type": [b"application/x-www-form-urlencoded"]}),
            SmallBody(urlencode(form).encode("ascii")),
        )
        await readBody(response)
        self.assertEqual(response.code, 302)
        (location,) = response.headers.getRawHeaders("location", [])
        self.assertTrue(location.startswith(f"{BACK}?"), location)
        return parse_qs(urlsplit(location).query)

    async def sign_in(self, provider: OIDCProvider, agent: IAgent) -> Grant:
        """Go through the flow as ann."""
        url = await provider.authorization_url(
            state="st", nonce="the-nonce", verifier="v" * 43, redirect_uri=BACK
        )
        sent = await self.browser(agent, url, {"sub": "ann"})
        self.assertEqual(sent["state"], ["st"])
        return await provider.exchange(
            code=sent["code"][0],
            verifier="v" * 43,
            nonce="the-nonce",
            redirect_uri=BACK,
            iss=sent.get("iss", [None])[0],
        )

    async def story(self, reactor: Any) -> None:
        """Sign in, renew, lose the grant, fail, sign out."""
        agent = provider_agent(reactor, BrowserLikePolicyForHTTPS())
        provider = self.provider(reactor, agent)
        grant = await self.sign_in(provider, agent)
        identity = grant.identity
        self.assertEqual((identity.issuer, identity.subject), (self.issuer, "ann"))
        self.assertEqual((identity.email, identity.name), ("ann@example.com", "Ann"))
        self.assertEqual(identity.groups, ("staff",))

        assert grant.refresh_token is not None
        renewed = await provider.refresh(refresh_token=grant.refresh_token, identity=identity)
        self.assertEqual(renewed.identity, identity)
        self.assertIsNone(renewed.id_token)

        # It advertises no revocation; the tokens die by its own means.
        assert renewed.refresh_token is not None
        self.assertIs(
            await provider.revoke(refresh_token=renewed.refresh_token, access_token=None), False
        )
        await readBody(
            await agent.request(b"POST", f"{self.issuer}/users/ann/revoke-tokens".encode())
        )
        await self.refused(
            GrantRefused,
            provider.refresh(refresh_token=renewed.refresh_token, identity=identity),
        )
        again = provider.exchange(
            code="used", verifier="v" * 43, nonce="the-nonce", redirect_uri=BACK, iss=None
        )
        await self.refused(LoginFailed, again)

        logout = await provider.logout_url(
            id_token=grant.id_token, redirect_uri="https://app.example.com/", state="s"
        )
        assert logout is not None
        self.assertTrue(logout.startswith(f"{self.issuer}/oauth2/end_session?"))
        page = await agent.request(b"GET", logout.encode("ascii"))
        # An answer that nobody reads keeps its connection for ever.
        await readBody(page)
        self.assertEqual(page.code, 200)
        self.assertLess(abs(provider.skew or 0), 60)

    async def refused(self, kind: type[Exception], work: Any) -> None:
        """Wait for ``work`` to be refused."""
        try:
            await work
        except kind:
            return
        self.fail(f"want {kind.__name__}")

    def test_signs_in_renews_and_ends(self) -> None:
        """The whole story, without the global reactor and without a thread."""
        threads = threading.active_count()
        reactor: Any = EPollReactor()
        outcome: list[object] = []

        def ended(told: object) -> None:
            outcome.append(told)
            reactor.stop()

        def begin() -> None:
            Deferred.fromCoroutine(self.story(reactor)).addBoth(ended)

        reactor.callWhenRunning(begin)
        stuck = reactor.callLater(PATIENCE, ended, "stuck")
        reactor.run(installSignalHandlers=False)
        if stuck.active():
            stuck.cancel()
        for selectable in reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionAbortedError()))
        if outcome and isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        self.assertEqual(outcome, [None])
        self.assertEqual(threading.active_count(), threads)
        self.assertIsNone(reactor.threadpool)
        self.assertEqual(len(list(Path(self.state.name).iterdir())), 1)
