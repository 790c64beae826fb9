"""
Authorize behind balancers that operators have.

On layer 7 each call goes to whichever replica is next, on layer 4 a connection stays with one.

The proxy sees one address, and asks for each request: its decision cache is off.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lan.balancers import (
    Behind,
    envoy,
    envoy_binary,
    haproxy_http,
    haproxy_tcp,
    nginx,
)
from tests.support.lan.cluster import Cluster, shares
from tests.support.lan.hosts import possible
from tests.support.lan.load import Course
from tests.support.load.figures import note
from tests.support.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.needs("ip", "nft", "nginx", "dnsmasq", "haproxy")]

LATE = 0.125
"""Seconds; half of ``grpc_attempt_timeout``."""

BEFORE, AFTER = 2.0, 5.0
"""Seconds of load before a replica is killed, and after it."""

PINNED_SECONDS = 3.0
"""In which a connection on layer 4 has to be with another replica."""

Balancer = Callable[[Behind], Running]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three replicas of authorize, and nobody who asks them."""
    if not possible():
        pytest.skip("no network namespaces: needs root")
    with Cluster(tmp_path) as cluster:
        for _ in range(3):
            cluster.replica()
        yield cluster


def with_one_killed(cluster: Cluster, balancer: Balancer) -> tuple[Course, float, list[float]]:
    """
    Return what became of a load during which the replica that was asked most was killed.

    Also when that was, and the shares of the three until then.
    """
    cluster.balanced(balancer)
    cluster.proxy()
    hosts = cluster.authorize_hosts
    load = cluster.load()
    before = [host.packets() for host in hosts]
    threading.Event().wait(BEFORE)
    parts = shares(hosts, before)
    moment = time.monotonic()
    cluster.replicas[parts.index(max(parts))].kill()
    threading.Event().wait(AFTER)
    return load.end(), moment, parts


def _envoy(behind: Behind) -> Running:
    try:
        envoy_binary()
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return envoy(behind)


@pytest.mark.parametrize("balancer", [_envoy, nginx, haproxy_http])
def test_layer_7(cluster: Cluster, balancer: Balancer) -> None:
    """All three are asked, and one that is killed costs nobody anything."""
    course, moment, parts = with_one_killed(cluster, balancer)
    name = balancer.__name__.strip("_")
    said = {f"share_{n}": f"{share:.2f}" for n, share in enumerate(parts, 1)}
    note(f"behind {name}", **said, **course.told(moment, LATE))
    assert min(parts) > 0.15
    assert course.failed == []


def test_layer_4(cluster: Cluster) -> None:
    """One of them is asked, and when it is killed another one is, soon."""
    course, moment, parts = with_one_killed(cluster, haproxy_tcp)
    note("behind haproxy_tcp", pinned=f"{max(parts):.2f}", **course.told(moment, LATE))
    assert {each.status for each in course.failed} <= {503}
    assert [each for each in course.failed if each.sent > moment + PINNED_SECONDS] == []
