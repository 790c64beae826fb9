"""
Authorize on three hosts, a proxy that asks them for each request, and what may happen to them.

Every test puts 500 requests a second on the proxy, with its decision cache off unless the test
is about that, and looks at each of them. The times that are asserted here are promises.
"""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.lan.cluster import PEOPLE, RESOLVED_SECONDS, Cluster, route, shares, text
from tests.support.lan.hosts import possible
from tests.support.lan.load import Course, Steady
from tests.support.lan.roles import Role
from tests.support.load.figures import note
from tests.support.load.programs import until

pytestmark = [pytest.mark.system, pytest.mark.needs("ip", "nft", "nginx", "dnsmasq")]

CLIENT_TIMEOUT = 10.0
"""Seconds; ``grpc_client_timeout``, its default."""

LATE = 0.125
"""Seconds; half of ``grpc_attempt_timeout``. Who waits so long has waited for a lost replica."""

NOTICED_SECONDS = 2.0
"""In which a replica that does not answer may cost requests."""

BEFORE, AFTER = 1.5, 5.0
"""Seconds of load before a fault and after it."""


def passes(seconds: float) -> None:
    """Let the load go on."""
    threading.Event().wait(seconds)


@attrs.define(eq=False)
class Stand:
    """A cluster that serves: the proxy, and three replicas of authorize of which it knows."""

    cluster: Cluster
    proxy: Role

    @property
    def replicas(self) -> list[Role]:
        """Return them."""
        return self.cluster.replicas

    def through(
        self, fault: Callable[[], object], then: Callable[[Steady], object] | None = None
    ) -> tuple[Course, float]:
        """Return what became of a load during which this happened, and when it did."""
        load = self.cluster.load()
        passes(BEFORE)
        moment = time.monotonic()
        fault()
        passes(AFTER)
        if then is not None:
            then(load)
        return load.end(), moment


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """All but authorize and proxy, running."""
    if not possible():
        pytest.skip("no network namespaces: needs root")
    with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def stand(cluster: Cluster) -> Stand:
    """All of it, running."""
    return standing(cluster)


def standing(cluster: Cluster, replicas: int = 3, **proxy: Any) -> Stand:
    """Start so many replicas, and a proxy that knows them."""
    started = [cluster.replica() for _ in range(replicas)]
    cluster.point(*started)
    return Stand(cluster, cluster.proxy(**proxy))


def nothing_failed(subject: str, course: Course, moment: float) -> None:
    """Assert that everybody got the page."""
    note(subject, **course.told(moment, LATE))
    assert course.failed == []


def little_failed(subject: str, course: Course, moment: float) -> None:
    """Assert that only the first two seconds cost anything, and then an answer of ours."""
    note(subject, **course.told(moment, LATE))
    assert {each.status for each in course.failed} <= {503}
    assert [each for each in course.failed if each.sent > moment + NOTICED_SECONDS] == []
    assert course.after(moment).slowest() < CLIENT_TIMEOUT


def test_one_is_killed(stand: Stand) -> None:
    """Nobody's request fails when one of three is killed."""
    course, moment = stand.through(stand.replicas[0].kill)
    nothing_failed("kill -9 of one of three", course, moment)


def test_one_is_killed_and_comes_back(stand: Stand) -> None:
    """A replica that was killed and started again gets its share again, and nobody notices."""
    replica = stand.replicas[0]
    hosts = stand.cluster.authorize_hosts
    found: list[float] = []

    def back(_: Steady) -> None:
        began = time.monotonic()
        replica.start()
        until(lambda: stand.cluster.listens(replica))
        until(lambda: share_in(0.5) > 0.2)
        found.append(time.monotonic() - began)

    def share_in(seconds: float) -> float:
        before = [host.packets() for host in hosts]
        passes(seconds)
        return shares(hosts, before)[0]

    course, moment = stand.through(replica.kill, back)
    nothing_failed("killed, and back", course, moment)
    note("killed, and back", share_after_ms=found[0] * 1e3)


def test_one_is_frozen(stand: Stand) -> None:
    """A replica that accepts and answers nothing costs at most the requests of two seconds."""
    course, moment = stand.through(stand.replicas[0].freeze)
    little_failed("SIGSTOP of one of three", course, moment)


def test_one_is_cut_off(stand: Stand) -> None:
    """So does one that no packet reaches or leaves any more."""
    course, moment = stand.through(stand.replicas[0].host.cut)
    little_failed("cut off one of three", course, moment)


@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_one_is_mended(stand: Stand, fault: str) -> None:
    """A replica that answers again is asked again, and nobody's request fails by that."""
    replica = stand.replicas[0]
    mended: list[float] = []

    def mend(_: Steady) -> None:
        mended.append(time.monotonic())
        (replica.thaw if fault == "freeze" else replica.host.mend)()
        before = replica.host.packets()
        until(lambda: replica.host.packets() - before > 200)
        mended.append(time.monotonic())
        passes(1)

    break_ = replica.freeze if fault == "freeze" else replica.host.cut
    course, _ = stand.through(break_, mend)
    nothing_failed(f"{fault}, and mended", course.after(mended[0]), mended[0])
    note(f"{fault}, and mended", asked_after_ms=(mended[1] - mended[0]) * 1e3)


def test_one_is_drained(stand: Stand) -> None:
    """A replica that is asked to end ends in peace, and nobody's request fails."""
    statuses: list[int] = []
    course, moment = stand.through(lambda: statuses.append(stand.replicas[0].drain()))
    # twistd ends by the signal that it was sent, once all has come to its end.
    assert statuses == [-signal.SIGTERM]
    nothing_failed("SIGTERM of one of three", course, moment)


def test_addresses_come_and_go(cluster: Cluster) -> None:
    """
    What the name server says is followed: two addresses, then three, then one.

    The new replica has its share soon after the name has been asked for again, those that
    went are asked no more, and nobody's request fails.
    """
    stand = standing(cluster, replicas=2)
    third = cluster.replica()
    hosts = cluster.authorize_hosts
    load = cluster.load()
    passes(BEFORE)
    heard = third.host.packets()
    moment = time.monotonic()
    cluster.point(*stand.replicas)
    # More than a connection and its first words: it is asked.
    until(lambda: third.host.packets() - heard > 100)
    taken = time.monotonic() - moment
    before = [host.packets() for host in hosts]
    passes(2)
    of_three = shares(hosts, before)
    cluster.point(third)
    passes(RESOLVED_SECONDS + 2)
    before = [host.packets() for host in hosts]
    passes(2)
    of_one = shares(hosts, before)
    course = load.end()
    said = {f"share_{n}": f"{share:.2f}" for n, share in enumerate(of_three, 1)}
    note("a third address", taken_after_ms=taken * 1e3, **said)
    nothing_failed("two, three, one address", course, moment)
    assert taken < RESOLVED_SECONDS + 1
    assert min(of_three) > 0.25
    assert of_one[2] > 0.95


def test_the_secret_is_rotated(stand: Stand) -> None:
    """Nobody's request fails at any step of docs/secrets.md, whoever has come further."""
    old, new = stand.cluster.secret, secrets.token_bytes(32)
    steps: tuple[dict[str, str | None], ...] = (
        {"shared_secret": text(old), "shared_secret_previous": text(new)},
        {"shared_secret": text(new), "shared_secret_previous": text(old)},
        {"shared_secret": text(new), "shared_secret_previous": None},
    )
    roles = [*stand.replicas, stand.proxy]
    load = stand.cluster.load()
    passes(BEFORE)
    moment = time.monotonic()
    for number, step in enumerate(steps):
        # Another one goes first each time: the proxy comes last, then third, then second.
        for role in roles[number:] + roles[:number]:
            role.reload(**step)
            passes(0.3)
        if number == 1:
            # As after `cookie_expire`: whoever is signed in now is so by the new one.
            load.take(stand.cluster.requests(new))
            passes(0.5)
    passes(1)
    nothing_failed("the secret is rotated", load.end(), moment)
    refused = stand.cluster.send(stand.cluster.request(PEOPLE[0], secret=old))
    assert refused.status in {302, 401}


FAULTS: dict[str, tuple[Callable[[Role], object], Callable[[Role], object]]] = {
    "kill": (Role.kill, Role.start),
    "freeze": (Role.freeze, Role.thaw),
    "cut": (lambda role: role.host.cut(), lambda role: role.host.mend()),
}
"""How to break a replica, and how to undo that."""


@pytest.mark.parametrize("fault", list(FAULTS))
def test_all_are_down(stand: Stand, fault: str) -> None:
    """
    Without authorize nobody is let through, everybody is told why in a second, and it passes.

    Each such answer is counted and logged.
    """
    break_, undo = FAULTS[fault]
    cluster, proxy = stand.cluster, stand.proxy
    load = cluster.load()
    passes(BEFORE)
    said = len(proxy.process.lines)
    for replica in stand.replicas:
        break_(replica)
    down = time.monotonic()
    passes(4)
    pages = [cluster.get(PEOPLE[0])]
    passes(1)
    up = time.monotonic()
    for replica in stand.replicas:
        undo(replica)

    def let_in() -> bool:
        pages.append(cluster.get(PEOPLE[0]))
        return pages[-1].status == 200

    until(let_in)
    back = time.monotonic() - up
    passes(1)
    course = load.end()
    note(f"all three: {fault}", back_after_ms=back * 1e3, **course.told(down, LATE))

    assert pages[0].status == 503
    assert "It cannot be decided at the moment" in pages[0].text
    meanwhile = [each for each in course.asked if down < each.sent and each.done < up]
    assert {each.status for each in meanwhile if each.sent > down + NOTICED_SECONDS} == {503}
    assert {each.status for each in course.asked} == {200, 503}
    assert max(each.waited for each in meanwhile) < 1
    assert [each for each in course.failed if each.sent > up + back] == []
    lines = [line for line in proxy.log(said) if line["message"] == "http-request"]
    refused = len(course.failed) + len(pages) - 1
    assert sum(line["status"] == 503 for line in lines) == refused
    assert {line["error"] for line in lines if line["status"] == 503} == {"Undecided"}
    until(lambda: cluster.samples(proxy, "pomerium_undecided_total") == {"": refused})


def test_more_than_can_be_answered(stand: Stand) -> None:
    """Under many times as much as there is time for, most of what can be answered still is."""
    rates = []
    for connections in (8, 500):
        load = stand.cluster.load(rate=5_000, connections=connections)
        passes(2)
        began = time.monotonic()
        passes(4)
        ended = time.monotonic()
        course = load.end()
        answered = [each for each in course.asked if began < each.done < ended]
        rates.append(sum(each.good for each in answered) / (ended - began))
        assert {each.status for each in answered} <= {200, 503}
    note("more than can be answered", from_8=rates[0], from_500=rates[1])
    assert rates[1] > rates[0] / 3


def test_a_change_of_policy_arrives(cluster: Cluster) -> None:
    """Somebody who was taken out of a policy is refused within a second, though it is cached."""
    stand = standing(cluster, decision_max_age="60s")
    load = cluster.load()
    passes(BEFORE)
    asked = cluster.request(PEOPLE[0])
    # Twice: the second answer is from what is remembered of the first.
    for _ in range(2):
        assert cluster.send(asked).status == 200
    for replica in stand.replicas:
        replica.reload(routes=[route(*PEOPLE[1:])])
    moment = time.monotonic()
    until(lambda: cluster.send(asked).status == 403)
    took = time.monotonic() - moment
    passes(1)
    course = load.end()
    note("a policy changes", denied_after_ms=took * 1e3, **course.told(moment, LATE))
    assert took < 1
    assert {each.status for each in course.asked} == {200, 403}
    # One in thirty of the load is that person, and nobody else is refused.
    late = [each for each in course.asked if each.sent > moment + took]
    assert abs(sum(not each.good for each in late) - len(late) / len(PEOPLE)) <= 2
