"""The certified provider is stopped for an hour, with real processes and real sockets."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.site import Site, make_site

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "faketime")]

MINUTE = 60


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it, running."""
    site = make_site(tmp_path_factory.mktemp("stops"))
    yield site
    site.stop()


def test_an_hour_without_it(site: Site) -> None:
    """Nobody notices before the hour is over, then a page says so, and then all is well again."""
    visitor, _ = site.signed_in()
    site.provider.stop()
    for _ in range(5):
        site.time.add(11 * MINUTE)
        page = visitor.get(site.daemon.url("app"))
        assert (page.url, page.status) == (site.daemon.url("app"), 200)
        assert visitor.script(site.daemon.url("app")).status == 200
    line = site.daemon.process.until("renewal put off by 60 s: token endpoint: connection refused")
    assert '"level":"warn"' in line
    site.time.add(6 * MINUTE)
    page = visitor.get(site.daemon.url("app"))
    assert page.status == 503
    assert int(page.fields["retry-after"]) > 0
    assert "Sign-in is not available right now" in page.text
    line = site.daemon.process.until("provider: token endpoint: connection refused")
    assert page.request_id in line
    assert visitor.script(site.daemon.url("app")).status == 401
    site.provider.start()
    page = visitor.get(site.daemon.url("app"))
    assert (page.url, page.status) == (site.daemon.url("app"), 200)
    assert site.provider.events() == [
        "listening",
        "refresh_token.consumed",
        "refresh_token.saved",
        "grant.success",
    ]


def test_it_hangs(site: Site) -> None:
    """The process is stopped by a signal: a page view finds out, and all go on."""
    visitors = [site.signed_in()[0] for _ in range(3)]
    site.time.add(11 * MINUTE)
    site.provider.process.send(signal.SIGSTOP)
    try:
        for visitor in visitors:
            page = visitor.get(site.daemon.url("app"))
            assert (page.url, page.status) == (site.daemon.url("app"), 200)
    finally:
        site.provider.process.send(signal.SIGCONT)
    site.daemon.process.until("renewal put off by 60 s: token endpoint: no answer in 10 s")
