"""Looking up where the authorize service is."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.names import MOST, Names, by_system
from pomeriumd.settings.values import Origin
from tests.support.logged import Logged


def url(host: str, port: int = 443) -> Origin:
    """Return a URL of the authorize service."""
    return Origin("https", host, port)


class NamesCase(SynchronousTestCase):
    """A name server that answers when it is told to."""

    def setUp(self) -> None:
        """Begin with nothing known."""
        self.clock = Clock()
        self.asked: list[tuple[str, Deferred[Sequence[str]]]] = []
        self.told: list[tuple[Endpoint, ...]] = []
        self.names = Names(self.look_up, self.clock, self.told.append)
        self.logged = Logged(self)
        self.addCleanup(self.names.stop)

    @property
    def lines(self) -> list[str]:
        """Return what was logged so far."""
        return self.logged.lines(LogLevel.info)

    def look_up(self, name: str) -> Deferred[Sequence[str]]:
        """Take down what is asked."""
        answer: Deferred[Sequence[str]] = Deferred()
        self.asked.append((name, answer))
        return answer

    def answer(self, *addresses: str) -> None:
        """Answer what was asked last."""
        self.asked[-1][1].callback(addresses)

    def refuse(self) -> None:
        """Let what was asked last fail."""
        self.asked[-1][1].errback(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))


class NamesTests(NamesCase):
    """What Names tells, and when it asks."""

    def test_tells_every_address(self) -> None:
        """IPv4 and IPv6 addresses of a name, with the name that certificates have to be for."""
        self.names.take([url("authorize.internal", 5443)], 30)
        self.answer("10.0.0.1", "fd00::1")
        (told,) = self.told
        self.assertEqual([e.text for e in told], ["10.0.0.1:5443", "[fd00::1]:5443"])
        self.assertEqual({e.authority for e in told}, {"authorize.internal:5443"})

    def test_an_address_needs_no_name_server(self) -> None:
        """Addresses in URLs are taken as they stand, IPv6 in brackets too."""
        self.names.take([url("10.0.0.1"), url("[fd00::1]")], 30)
        (told,) = self.told
        self.assertEqual([e.text for e in told], ["10.0.0.1:443", "[fd00::1]:443"])
        self.assertEqual(self.asked, [])

    def test_several_names(self) -> None:
        """The addresses of all URLs, in their order; an address that two lead to counts once."""
        self.names.take([url("a.internal"), url("b.internal")], 30)
        self.asked[1][1].callback(["10.0.0.2", "10.0.0.1"])
        self.asked[0][1].callback(["10.0.0.1"])
        self.assertEqual(
            [(e.name, e.address) for e in self.told[-1]],
            [("a.internal", "10.0.0.1"), ("b.internal", "10.0.0.2")],
        )

    def test_asks_again_at_each_interval(self) -> None:
        """What came into the DNS is found without anything breaking."""
        self.names.take([url("a.internal")], 30)
        self.answer("10.0.0.1")
        self.clock.advance(30)
        self.answer("10.0.0.1", "10.0.0.2")
        self.assertEqual([len(told) for told in self.told], [1, 2])

    def test_tells_nothing_that_is_not_new(self) -> None:
        """A name server that turns its answers round changes nothing."""
        self.names.take([url("a.internal")], 30)
        self.answer("10.0.0.1", "10.0.0.2")
        self.clock.advance(30)
        self.answer("10.0.0.2", "10.0.0.1")
        self.assertEqual(len(self.told), 1)

    def test_an_empty_answer_takes_nothing_away(self) -> None:
        """A name without addresses keeps those that it had."""
        self.names.take([url("a.internal")], 30)
        self.answer("10.0.0.1")
        self.clock.advance(30)
        self.answer()
        self.assertEqual(len(self.told), 1)

    def test_a_failure_says_what_to_do(self) -> None:
        """A name that does not resolve is a line that names it and what stays in use."""
        self.names.take([url("a.internal")], 30)
        self.refuse()
        problem = (
            "a.internal does not resolve (Name or service not known); put it into the DNS or "
            "/etc/hosts, or correct authorize_service_url"
        )
        self.assertEqual(self.lines, [f"{problem}; none is known"])
        self.assertEqual(self.names.problems, {"a.internal": problem})

    def test_a_failure_is_logged_once_a_minute(self) -> None:
        """Looked up every ten seconds, a name that is gone is logged every sixty."""
        self.names.take([url("a.internal")], 10)
        for _ in range(13):
            self.refuse()
            self.clock.advance(10)
        self.assertEqual(len(self.lines), 3)

    def test_recovery_is_logged(self) -> None:
        """A name that resolves again is a line, and no problem any more."""
        self.names.take([url("a.internal")], 30)
        self.refuse()
        self.clock.advance(30)
        self.answer("10.0.0.1")
        self.assertEqual(self.lines[1:], ["a.internal resolves again"])
        self.assertEqual(self.names.problems, {})

    def test_a_replica_that_fails_is_looked_up_at_once(self) -> None:
        """The DNS may know already that it has moved."""
        self.names.take([url("a.internal")], 30)
        self.answer("10.0.0.1")
        self.clock.advance(5)
        self.names.failed("a.internal")
        self.assertEqual(len(self.asked), 2)

    def test_many_failures_ask_once_a_second(self) -> None:
        """A storm of failures is no storm of look-ups, and the last one is not lost."""
        self.names.take([url("a.internal")], 30)
        self.answer("10.0.0.1")
        for _ in range(10):
            self.names.failed("a.internal")
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 2)

    def test_a_name_server_that_hangs_is_asked_once(self) -> None:
        """Each look-up has a thread: there is never a second one for the same name."""
        self.names.take([url("a.internal")], 30)
        self.clock.pump([30] * 4)
        self.names.failed("a.internal")
        self.assertEqual(len(self.asked), 1)

    def test_other_urls(self) -> None:
        """What a reload leaves as it was is not looked up again; what is new is, at once."""
        self.names.take([url("a.internal"), url("b.internal")], 30)
        self.asked[0][1].callback(["10.0.0.1"])
        self.asked[1][1].callback(["10.0.0.2"])
        self.names.take([url("a.internal"), url("c.internal")], 30)
        self.assertEqual(
            [name for name, _ in self.asked], ["a.internal", "b.internal", "c.internal"]
        )
        self.assertEqual([e.text for e in self.told[-1]], ["10.0.0.1:443"])

    def test_what_comes_after_the_end_is_not_told(self) -> None:
        """A look-up that ends after stop() tells nobody, and no timer is left."""
        self.names.take([url("a.internal")], 30)
        self.names.stop()
        self.assertEqual((self.told, self.lines, self.clock.getDelayedCalls()), ([], [], []))

    def test_has_a_bound(self) -> None:
        """A name server that answers a thousand addresses gets us sixty-four connections."""
        self.names.take([url("a.internal")], 30)
        self.answer(*(f"10.0.{i // 250}.{i % 250}" for i in range(1000)))
        self.assertEqual(len(self.told[-1]), MOST)


class BySystemTests(SynchronousTestCase):
    """by_system() asks the system's resolver."""

    def test_reads_the_hosts_file(self) -> None:
        """The name localhost is in /etc/hosts, whatever the DNS says."""
        look_up = by_system(lambda f, *a: succeed(f(*a)))
        self.assertIn("127.0.0.1", self.successResultOf(look_up("localhost")))
