"""
Secrets are rotated across two real daemons while people use both, and nobody signs in again.

Each replica takes the three steps of docs/secrets.md after the other, so that every mixture
of neighbouring steps is seen. A browser's every request goes to one of the two, with the same
cookies and the same Host: as behind a load balancer.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult

import attrs
import jwt
import pytest

from tests.support.application import Application
from tests.support.certificates import authority
from tests.support.certified import Certified
from tests.support.daemon import DOMAIN, Daemon
from tests.support.faked_time import FakedTime
from tests.support.processes import PATIENCE_SECONDS, free_port
from tests.support.settings import COOKIE, SHARED
from tests.support.site import told
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "faketime")]

PRESENT = {"shared_secret": SHARED, "cookie_secret": COOKIE}
NEW = bytes(range(200, 232))

COURSE = ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
"""The steps of the replica that goes first and of the other."""

ORDERS = ((0, 1, 0, 1, 0), (1, 0, 1, 0, 1), (0, 0, 1, 1, 1), (1, 1, 0, 0, 0))
"""The replicas that the five requests of a sign-in go to: begun at one, ended at the other."""


def at_step(secret: str, step: int) -> dict[str, str]:
    """Return the settings of a step."""
    old = PRESENT[secret]
    roots = ((old,), (old, NEW), (NEW, old), (NEW,))[step]
    names = (secret, f"{secret}_previous")
    return {n: base64.b64encode(r).decode("ascii") for n, r in zip(names, roots, strict=False)}


@attrs.define(eq=False)
class Replica:
    """One of the daemons."""

    daemon: Daemon
    port: int
    busy: threading.Lock = attrs.Factory(threading.Lock)
    """Held for a request, and while time is put forward: what is under way would be late."""

    def take(self, step: dict[str, str]) -> None:
        """Renew it with the secrets of a step, while it answers."""
        self.daemon.reload({"address": f"127.0.0.1:{self.port}", **step})


@attrs.define(eq=False, kw_only=True)
class Wanderer(Visitor):
    """A browser of which each request goes to the replica whose turn it is."""

    replicas: tuple[Replica, ...]
    order: Iterator[int] = attrs.Factory(lambda: itertools.cycle((0, 1)))
    _to: Replica | None = None

    def _ask(
        self, method: str, parts: SplitResult, body: str | None, fields: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        if not (parts.hostname or "").endswith(DOMAIN):
            return super()._ask(method, parts, body, fields)
        self._to = self.replicas[next(self.order)]
        try:
            with self._to.busy:
                return super()._ask(method, parts, body, fields)
        finally:
            self._to = None

    def _connect(self, port: int) -> socket.socket:
        return super()._connect(port if self._to is None else self._to.port)

    def by_way_of(self, *order: int) -> Wanderer:
        """Return this browser; its next requests go to these replicas, then to both in turn."""
        self.order = itertools.chain(order, itertools.cycle((0, 1)))
        return self


@attrs.define(eq=False)
class Asking:
    """Somebody who is signed in and asks without a pause, both replicas in turn."""

    visitor: Wanderer
    url: str
    odd: list[Page] = attrs.Factory(list)
    """What came and was not the page that was asked for."""
    count: int = 0
    failed: BaseException | None = None
    _end: threading.Event = attrs.Factory(threading.Event)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Come to an end."""
        self._end.set()
        self._thread.join(PATIENCE_SECONDS)

    def _work(self) -> None:
        try:
            # A pause that leaves the processor to the daemons; nothing depends on it.
            while not self._end.wait(0.02):
                page = self.visitor.get(self.url)
                self.count += 1
                if (page.url, page.status) != (self.url, 200):
                    self.odd.append(page)
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.failed = error


@attrs.define(eq=False)
class Pair:
    """Two replicas, a provider, an application, and their time."""

    replicas: tuple[Replica, ...]
    provider: Certified
    application: Application
    time: FakedTime

    def url(self, host: str, path: str = "/") -> str:
        """Return an address of the replicas."""
        return self.replicas[0].daemon.url(host, path)

    def signed_in(self, *order: int) -> Wanderer:
        """Return somebody new who signed in at ``app`` by way of these replicas."""
        visitor = Wanderer(authority().pem, replicas=self.replicas).by_way_of(*order)
        page = self.provider.sign_in(visitor, visitor.get(self.url("app")), "alice")
        assert (page.url, page.status) == (self.url("app"), 200), (order, page)
        return visitor

    def pass_time(self, seconds: int) -> None:
        """Let time pass while nobody waits for an answer: it would be late."""
        first, second = self.replicas
        with first.busy, second.busy:
            self.time.add(seconds)

    def looked_at(self, visitor: Wanderer) -> None:
        """Assert that a page comes from each replica, without a visit to the provider."""
        for first in (0, 1):
            page = visitor.by_way_of(first).get(self.url("app"))
            assert (page.url, page.status) == (self.url("app"), 200), page
            assert not [url for url in page.way if url.startswith(self.provider.name)], page
            assert visitor.script(self.url("app")).status == 200
            self.known(visitor, "authenticate", first)

    def known(self, visitor: Wanderer, host: str, replica: int) -> None:
        """Assert that a replica knows who this is, by the session at that host."""
        page = visitor.by_way_of(replica).get(self.url(host, "/.pomerium/"))
        assert "<code>alice</code>" in page.text, page

    def assertions_verify(self, visitor: Wanderer) -> None:
        """Assert that what one replica signs verifies with the keys that the other publishes."""
        keys_at = self.url("app", "/.well-known/pomerium/jwks.json")
        for signs, publishes in itertools.product((0, 1), repeat=2):
            page = visitor.by_way_of(signs, publishes).get(self.url("app"))
            token = told(page)["x-pomerium-jwt-assertion"]
            document = json.loads(visitor.get(keys_at).text)
            keys = {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}
            jwt.decode(
                token,
                keys[jwt.get_unverified_header(token)["kid"]],
                algorithms=["ES256"],
                audience=f"app.{DOMAIN}",
                options={"verify_exp": False, "verify_iat": False},
            )

    def stop(self) -> None:
        """End all of it."""
        for replica in self.replicas:
            replica.daemon.stop()
        self.provider.stop()
        self.application.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """All of it, running."""
    port, time, ports = free_port(), FakedTime(tmp_path / "time"), (free_port(), free_port())
    provider = Certified(
        place=tmp_path,
        back=[f"https://authenticate.{DOMAIN}:{port}/oauth2/callback"],
        more=time.stepping,
    )
    application = Application()
    daemons: list[Daemon] = []
    try:
        for at, own in enumerate(ports):
            daemon = Daemon(
                place=tmp_path / f"daemon{at}",
                issuer=provider.name,
                application=application.url,
                port=port,
                settings={"address": f"127.0.0.1:{own}"},
                more=time.passing,
            )
            daemons.append(daemon)
    except BaseException:
        for daemon in daemons:
            daemon.stop()
        provider.stop()
        application.stop()
        raise
    replicas = tuple(Replica(*both) for both in zip(daemons, ports, strict=True))
    yield (running := Pair(replicas, provider, application, time))
    running.stop()


def frozen(visitor: Wanderer, jar: Mapping[tuple[str, str, str], str]) -> Wanderer:
    """Return a browser that has these cookies again, whatever it has been sent since."""
    visitor.cookies.clear()
    visitor.cookies.update(jar)
    return visitor


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("secret", "gap"), [("shared_secret", 61), ("cookie_secret", 601)])
def test_nobody_notices(pair: Pair, secret: str, gap: int, first: int) -> None:
    """
    At every step, at every mixture of steps and in every order nobody has to sign in again.

    Time passes between the steps, so that sessions are written anew: those at applications
    after a minute, those at authenticate after ten.
    """
    host = {"shared_secret": "app", "cookie_secret": "authenticate"}[secret]
    used, still, busy = (pair.signed_in() for _ in range(3))
    jar = dict(still.cookies)
    asking = Asking(busy, pair.url("app"))
    steps = [0, 0]
    try:
        for stage in COURSE:
            for at, step in zip((first, 1 - first), stage, strict=True):
                if steps[at] != step:
                    pair.replicas[at].take(at_step(secret, step))
                    steps[at] = step
            pair.looked_at(used)
            pair.assertions_verify(used)
            if 3 not in stage:
                # One that lay still all the time has what the old secret made, and no more.
                for at in (0, 1):
                    pair.known(frozen(still, jar), host, at)
            for order in ORDERS:
                pair.looked_at(pair.signed_in(*order))
            pair.pass_time(gap)
    finally:
        asking.stop()
    assert asking.failed is None
    assert asking.odd == []
    assert asking.count > len(COURSE)
    # The old secret is forgotten: what it made is nothing any more.
    for at in (0, 1):
        page = frozen(still, jar).by_way_of(at).get(pair.url(host, "/.pomerium/"), follow=False)
        assert "<code>alice</code>" not in page.text, page
