"""The daemon's clock is set while it runs: by an hour, forward and back."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPResponse

import attrs
import pytest

from tests.support.certificates import authority
from tests.support.daemon import DOMAIN
from tests.support.processes import PATIENCE_SECONDS
from tests.support.site import Site, make_site

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "faketime")]

HOUR = 3600


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it; an hour of idling is allowed, so that sessions outlive the step."""
    site = make_site(
        tmp_path_factory.mktemp("steps"),
        stepping=True,
        timeout_read_header="5s",
        session_idle="4h",
        session_recheck_max="3h",
    )
    yield site
    site.stop()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The same with its clock right, before and after."""
    ahead = running.time._ahead
    yield running
    running.time.add(ahead - running.time._ahead)


@attrs.define(eq=False)
class Wire:
    """A connection that stays open."""

    port: int
    _socket: ssl.SSLSocket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect."""
        trust = ssl.create_default_context(cadata=authority().pem.decode("ascii"))
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        self._socket = trust.wrap_socket(plain, server_hostname=f"app.{DOMAIN}")

    def ask(self) -> int:
        """Return the status of an answer."""
        self.begin(b"\r\n")
        answer = HTTPResponse(self._socket)
        answer.begin()
        answer.read()
        return answer.status

    def begin(self, rest: bytes = b"") -> None:
        """Send a request, without its end if there is no rest."""
        self._socket.sendall(b"GET /ping HTTP/1.1\r\nHost: app.%s\r\n" % DOMAIN.encode() + rest)

    def ended(self) -> bytes:
        """Return what comes until the other side closes."""
        with self._socket:
            return b"".join(iter(lambda: self._socket.recv(65536), b""))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_timers_do_not_notice(site: Site, step: int) -> None:
    """A connection that idles is not cut, and one that is slow is, in its time."""
    idle = Wire(site.daemon.port)
    assert idle.ask() == 200
    slow = Wire(site.daemon.port)
    slow.begin()
    site.time.add(step)
    slower = Wire(site.daemon.port)
    slower.begin()
    for one in (slow, slower):
        assert one.ended().startswith(b"HTTP/1.1 408 ")
    # The wheel that ended those two has looked at this one as well.
    assert idle.ask() == 200
    idle.close()


def test_the_log_tells(site: Site) -> None:
    """Whoever looks for the reason of new sign-ins finds it, with what to do."""
    since = len(site.daemon.process.lines)
    site.time.add(HOUR)
    # By how much depends on what the test before left: the watch looks every ten seconds.
    line = site.daemon.process.until("the clock was set forward by ", after=since)
    assert '"level":"warn"' in line
    assert "timedatectl" in line


def test_a_session_an_hour_ahead(site: Site) -> None:
    """It is an hour older: within the limits it is confirmed, and nobody notices."""
    visitor, _ = site.signed_in()
    site.time.add(HOUR)
    page = visitor.get(site.daemon.url("app"))
    assert (page.url, page.status) == (site.daemon.url("app"), 200)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (2 * HOUR, "The provider&#39;s clock is 120 minutes behind this service&#39;s."),
        (-HOUR, "The provider&#39;s clock is 60 minutes ahead of this service&#39;s."),
    ],
)
def test_a_sign_in_in_the_wrong_time(site: Site, step: int, said: str) -> None:
    """Nobody gets in; page and log name the check, and by how much; then it works by itself."""
    since = len(site.daemon.process.lines)
    site.time.add(step)
    visitor, page = site.signed_in()
    assert (page.status, page.check) == (400, "clock")
    assert said in page.text
    assert visitor.sessions == set()
    site.daemon.process.until("sign-in failed at clock: id token: ", after=since)
    site.time.add(-step)
    asked = visitor.get(site.daemon.url("app"))
    # The provider knows the person still, and asks for consent alone.
    assert visitor.submit(asked).status == 200


def test_sessions_from_the_future_are_none(site: Site) -> None:
    """After the clock was set back they let nobody in; when it is right again they do."""
    visitor, _ = site.signed_in()
    site.time.add(-HOUR)
    assert visitor.script(site.daemon.url("app")).status == 401
    site.time.add(HOUR)
    assert visitor.script(site.daemon.url("app")).status == 200


def test_a_clock_put_right(site: Site) -> None:
    """Sessions of a wrong hour end with it, and the next sign-in holds: no circle."""
    site.time.add(HOUR)
    visitor, page = site.signed_in()
    assert page.status == 200
    site.time.add(-HOUR)
    asked = visitor.get(site.daemon.url("app"))
    assert "/interaction/" in asked.url
    assert visitor.submit(asked).status == 200
    assert visitor.script(site.daemon.url("app")).status == 200
