"""
What is set up wrongly between a proxy and authorize, one thing after another.

Each is one line of the log, however many workers see it, and stands on the proxy's health
page; when it is put right there is one line more, and nothing needs to be restarted but what
was wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support.application import Application
from tests.support.certificates import authority, issue, leaf
from tests.support.daemon import DOMAIN
from tests.support.faked_time import FakedTime
from tests.support.load.programs import until
from tests.support.planes import HERE, Cluster, Keys, Service, base64_of
from tests.support.visitor import Visitor

pytestmark = pytest.mark.system

ABOUT = "authorize "
AGAIN = "decides again"


@attrs.define(eq=False)
class Pair:
    """A proxy of two workers and its authorize, neither of which runs yet."""

    cluster: Cluster
    route: Keys
    started: list[Service] = attrs.Factory(list)

    def authorize(self, **more: object) -> Service:
        """Start authorize."""
        keys = self.cluster.authorize(self.route)
        return self._start("authorize", keys, **more)

    def proxy(self, keys: Keys | None = None, **more: object) -> Service:
        """Start the proxy, with keys over the usual ones."""
        usual = self.cluster.proxy(self.route, workers=2)
        return self._start("proxy", {**usual, **(keys or {})}, **more)

    def _start(self, name: str, keys: Keys, **more: object) -> Service:
        place = self.cluster.place / name
        started = Service(place=place, keys=keys, **more)  # type: ignore[arg-type]
        self.started.append(started)
        return started

    def status(self) -> int:
        """Return what somebody gets who has no session: 302 when authorize decides."""
        return Visitor(authority().pem).get(self.cluster.url("app"), follow=False).status

    def is_wrong(self, proxy: Service, words: str, about: str = ABOUT) -> str:
        """Wait until it is told on the page; return the one line of the log about it."""
        until(lambda: any(words in line for line in proxy.wrong))
        assert self.status() == 503
        until(lambda: self.said(proxy, words))
        assert len(self.said(proxy, words)) == 1, self.said(proxy, words)
        (line,) = self.said(proxy, words)
        assert about in line, line
        return line

    def said(self, proxy: Service, words: str) -> list[str]:
        """Return the lines with these words that are not about the requests that it cost."""
        return [line for line in proxy.said(words) if "nobody at authorize_service_url" not in line]

    def is_right(self, proxy: Service, words: str, line: str = AGAIN) -> None:
        """Wait until nothing is wrong any more; that is one line as well, and the other is old."""
        until(lambda: proxy.wrong == [] and self.status() == 302)
        until(lambda: proxy.said(line))
        assert len(proxy.said(line)) == len(self.said(proxy, words)) == 1, proxy.process.lines


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """The two, with an application."""
    cluster, application = Cluster(place=tmp_path, issuer="https://id.example.com"), Application()
    pair = Pair(cluster, cluster.route("app", application.url, allowed_domains=["example.com"]))
    yield pair
    for service in reversed(pair.started):
        service.stop()
    application.stop()


def test_nobody_there(pair: Pair) -> None:
    """The proxy is first; it says that nobody listens, and finds authorize when it comes."""
    proxy = pair.proxy()
    line = pair.is_wrong(proxy, "refuses connections")
    assert "does authorize run there, and is its port that of authorize_service_url?" in line
    pair.authorize()
    pair.is_right(proxy, "refuses connections")


def test_the_name_does_not_resolve(pair: Pair) -> None:
    """It is named, and a reload with another one is enough."""
    pair.authorize()
    right = f"https://{HERE}:{pair.cluster.grpc}"
    proxy = pair.proxy({"authorize_service_url": f"https://a.invalid:{pair.cluster.grpc}"})
    line = pair.is_wrong(proxy, "a.invalid does not resolve", "")
    assert "put it into the DNS or /etc/hosts, or correct authorize_service_url" in line
    proxy.reload(authorize_service_url=right)
    pair.is_right(proxy, "does not resolve", "new settings serve")


def test_the_certificate_is_for_another_name(pair: Pair) -> None:
    """The name that is wanted is said, and to say another is enough."""
    authorize = pair.authorize(shows=leaf(f"authorize.{DOMAIN}"))
    proxy = pair.proxy()
    line = pair.is_wrong(proxy, "its certificate does not cover 127.0.0.1")
    assert "override_certificate_name" in line
    proxy.reload(override_certificate_name=f"authorize.{DOMAIN}")
    pair.is_right(proxy, "does not cover")
    assert authorize.wrong == []


def test_the_certificate_is_of_another_authority(pair: Pair) -> None:
    """The setting to change is named, and changing it is enough."""
    pair.authorize()
    other = base64_of(issue(authority=True, title="another").pem)
    proxy = pair.proxy({"certificate_authority": other})
    line = pair.is_wrong(proxy, "its certificate is of no authority that is trusted here")
    assert "certificate_authority" in line
    proxy.reload(certificate_authority=base64_of(authority().pem))
    pair.is_right(proxy, "no authority")


def test_another_secret(pair: Pair) -> None:
    """Both sides say so, and giving authorize the right one is enough."""
    authorize = pair.authorize()
    authorize.reload(shared_secret=base64_of(b"z" * 32))
    proxy = pair.proxy()
    line = pair.is_wrong(proxy, "has another shared_secret")
    assert "give both the same shared_secret" in line
    until(lambda: authorize.said("shared_secret"))
    assert len(authorize.said("shared_secret")) == 1, authorize.said("shared_secret")
    authorize.reload(shared_secret=base64_of(pair.cluster.shared))
    pair.is_right(proxy, "has another shared_secret")


def test_another_time(pair: Pair) -> None:
    """It is said by how much the clocks differ, and setting the wrong one right is enough."""
    clock = FakedTime(pair.cluster.place / "time")
    clock.add(300)
    pair.authorize(more=clock.stepping)
    proxy = pair.proxy()
    line = pair.is_wrong(proxy, " s ahead of ours")
    assert "set the wrong one right (timedatectl, chronyc tracking)" in line
    clock.add(-300)
    pair.is_right(proxy, "ahead of ours")
