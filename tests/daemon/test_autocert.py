"""Tests of pomeriumd.daemon.autocert and the certificate that stands in for those to come."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pomeriumd.acme.problems import HOOK, LIMITED, REFUSED, UNREACHABLE, AcmeError
from pomeriumd.acme.store import Store
from pomeriumd.daemon.autocert import AGAIN_SECONDS, LOOK_SECONDS, Autocert, hook_environment
from pomeriumd.daemon.placeholder import placeholder
from pomeriumd.settings.model import Settings
from tests.support.certificates import BEGIN, NOW, days, issue
from tests.support.settings import make_settings, route

A, B, AUTH = "a.example.com", "b.example.com", "auth.example.com"
ALL = (A, AUTH, B)


def aside(work: Any, *arguments: Any) -> Deferred[Any]:
    """Do it now."""
    return execute(work, *arguments)


class Ordered:
    """Orders into the store, or fails as it is told."""

    def __init__(self, store: Store, case: AutocertCase) -> None:
        self._store = store
        self._case = case

    async def issue(self, names: tuple[str, ...]) -> None:
        """Keep a certificate for these names."""
        self._case.orders.append(names)
        if self._case.failures:
            raise self._case.failures.pop(0)
        issued = issue(*names, end=BEGIN + days(self._case.life))
        self._store.keep(names, issued.key_pem + issued.pem, self._case.clock.seconds())


class AutocertCase(SynchronousTestCase):
    """Autocert with a clock, a real store, and orders that end at once."""

    life = 3650
    """Days, of what is issued."""

    def setUp(self) -> None:
        """Have one that has not begun."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.orders: list[tuple[str, ...]] = []
        self.failures: list[AcmeError] = []
        self.place = str(Path(self.enterContext(TemporaryDirectory()), "place"))
        numbers = count()
        self.autocert = Autocert(
            clock=self.clock,
            now=self.clock.seconds,
            random=lambda size: next(numbers).to_bytes(size),
            aside=aside,
            start=lambda _, store: Ordered(store, self),
        )
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def hear(event: Any) -> None:
            self.lines.append(str(event.get("log_format", "")).format(**event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def built(self, *hosts: str, **more: Any) -> Any:
        """Return a generation, as much of it as is looked at."""
        given = {"autocert": True, "autocert_dir": self.place, "insecure_server": False, **more}
        settings: Settings = make_settings(*map(route, hosts or (A, B)), **given)
        return SimpleNamespace(settings=settings)

    @property
    def store(self) -> Store:
        """Return what is kept, as another host sees it."""
        return Store(self.place, lambda size: b"z" * size)

    def outcomes(self) -> dict[str, int]:
        """Return the outcomes that there were."""
        return {labels[0]: number for labels, number in self.autocert.orders.items() if number}


class RoundTests(AutocertCase):
    """Autocert orders what is due, and only when it is."""

    def test_first_issue(self) -> None:
        """All names are ordered at once, together; then nothing for as long as they are good."""
        self.autocert.begin(self.built())
        self.assertEqual(self.orders, [ALL])
        self.assertEqual(self.outcomes(), {"issued": 1})
        self.assertEqual(self.autocert.missing, 3)
        third = (BEGIN + days(3650 * 2 / 3)).timestamp() - NOW
        self.assertAlmostEqual(self.autocert.seconds_left, third, delta=1)
        for _ in range(48):
            self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.orders, [ALL])

    def test_not_before_it_begins(self) -> None:
        """A process that has not the first seat orders nothing."""
        self.autocert.take(self.built())
        self.assertEqual((self.orders, self.clock.getDelayedCalls()), ([], []))

    def test_off(self) -> None:
        """Without autocert nothing is ordered, looked at or told."""
        self.autocert.begin(self.built(autocert=False))
        self.assertEqual((self.orders, self.clock.getDelayedCalls()), ([], []))
        self.assertEqual((self.outcomes(), self.autocert.missing), ({}, 0))
        self.assertFalse(Path(self.place).exists())

    def test_a_new_generation(self) -> None:
        """A host that a reload brings is ordered at once, alone; one that was lost is forgotten."""
        self.autocert.begin(self.built())
        self.autocert.take(self.built(A, "c.example.com"))
        self.assertEqual(self.orders, [ALL, ("c.example.com",)])

    def test_another_host_has_it(self) -> None:
        """What another host has ordered is not ordered again."""
        issued = issue(*ALL, end=BEGIN + days(3650))
        self.store.keep(ALL, issued.key_pem + issued.pem, NOW)
        self.autocert.begin(self.built())
        self.assertEqual(self.orders, [])

    def test_another_host_is_at_it(self) -> None:
        """While another host orders we wait, and then see what it has."""
        lock = self.store.lock()
        assert lock is not None
        self.autocert.begin(self.built())
        self.assertEqual(self.orders, [])
        issued = issue(*ALL, end=BEGIN + days(3650))
        self.store.keep(ALL, issued.key_pem + issued.pem, NOW)
        self.clock.advance(AGAIN_SECONDS * 1.25)
        self.assertEqual(self.orders, [])

    def test_told_to_stop(self) -> None:
        """Nothing is left to be done, and nothing is held."""
        self.autocert.begin(self.built())
        self.autocert.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNotNone(self.store.lock())

    def test_a_directory_of_somebody_elses(self) -> None:
        """Where nothing can be kept it is said, and tried again."""
        Path(self.place).write_text("no directory")
        self.autocert.begin(self.built())
        self.assertIn(f"autocert_dir {self.place} cannot be used: ", self.lines[-1])
        Path(self.place).unlink()
        self.clock.advance(AGAIN_SECONDS * 1.25)
        self.assertEqual(self.orders, [ALL])


class FailureTests(AutocertCase):
    """Whatever goes wrong is said, counted, remembered and tried again."""

    def test_one_name(self) -> None:
        """The name that failed waits; the others are ordered without it a second later."""
        self.failures = [AcmeError("no", REFUSED, names=frozenset({B}))]
        self.autocert.begin(self.built())
        self.assertEqual(
            self.lines[-1],
            f"no certificate was issued for {B}: no; tries again in 300 s",
        )
        self.clock.advance(1)
        self.assertEqual(self.orders, [ALL, (A, AUTH)])
        self.clock.advance(400)
        self.assertEqual(self.orders, [ALL, (A, AUTH), (B,)])
        self.assertEqual(self.outcomes(), {"issued": 2, "refused": 1})
        self.assertEqual(self.store.troubles(), {})

    def test_nobody_says_which(self) -> None:
        """Where one of several is not wanted, and nobody says which, each is ordered by itself."""
        self.failures = [AcmeError("no", REFUSED, kind="rejectedIdentifier")]
        self.autocert.begin(self.built())
        self.clock.advance(1)
        self.assertEqual(self.orders, [ALL, (A,), (AUTH,), (B,)])

    def test_a_limit(self) -> None:
        """A limit is waited for; another process, on this host or another, waits too."""
        self.failures = [AcmeError("slow down", LIMITED, retry_after=7200)]
        self.autocert.begin(self.built())
        self.clock.advance(7199)
        self.assertEqual(self.orders, [ALL])
        [least] = {trouble.next for trouble in self.store.troubles().values()}
        self.assertGreaterEqual(least, NOW + 7200)
        self.clock.advance(7200)
        self.assertEqual({name for order in self.orders for name in order}, set(ALL))
        self.assertEqual(self.outcomes(), {"issued": 3, "rate_limited": 1})

    def test_nothing_else_would_fare_better(self) -> None:
        """An authority that is away is asked once for all that is due."""
        self.failures = [AcmeError("away", UNREACHABLE, whole=True)]
        self.autocert.begin(self.built(A, "a.example.org"))
        self.assertEqual(len(self.orders), 1)
        self.assertEqual(len(self.store.troubles()), 3)

    def test_others_go_on(self) -> None:
        """A hook that fails for one domain holds up no other."""
        self.failures = [AcmeError("hook", HOOK)]
        self.autocert.begin(self.built(A, "a.example.org"))
        self.assertEqual(self.orders, [(A, AUTH), ("a.example.org",)])

    def test_a_clock_that_is_wrong(self) -> None:
        """A certificate that is due as soon as it is there is not ordered over and over."""
        self.life = 1
        self.autocert.begin(self.built())
        for _ in range(100):
            self.clock.advance(1)
        self.assertEqual(self.orders, [ALL])
        self.assertIn("is the clock of this host right", self.lines[-1])

    def test_a_bug(self) -> None:
        """Anything else is logged with its trace, and the next look comes all the same."""
        self.failures = [RuntimeError("a bug")]  # type: ignore[list-item]
        self.autocert.begin(self.built())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.orders, [ALL, ALL])
        self.assertIsNotNone(self.store.lock())


class SaidTests(AutocertCase):
    """That browsers are shown what they do not trust is said loudly."""

    def test_once(self) -> None:
        """It is said when names lack a certificate, once for the same names."""
        self.autocert.begin(self.built())
        self.autocert.take(self.built())
        said = [line for line in self.lines if line.startswith("no certificate yet")]
        self.assertEqual(
            said,
            [
                (
                    f"no certificate yet for {A}, {AUTH}, {B}: browsers are shown one that they "
                    "do not trust"
                ),
            ],
        )


class EnvironmentTests(SynchronousTestCase):
    """hook_environment() keeps our secrets from the hook."""

    def test_no_settings(self) -> None:
        """What may be a setting is left out; what the hook needs is there."""
        ours = {"SHARED_SECRET": "x", "IDP_CLIENT_SECRET_FILE": "y", "PATH": "/bin", "ZONE": "z"}
        self.assertEqual(hook_environment(ours), {"PATH": "/bin", "ZONE": "z"})


class PlaceholderTests(SynchronousTestCase):
    """placeholder() is what is shown before there is anything else."""

    def test_it_says_what_it_is(self) -> None:
        """It is signed by itself, for the names, and says that there is no other."""
        pair = placeholder([A, B], NOW)
        found = x509.load_pem_x509_certificate(pair.chain)
        self.assertEqual(found.subject.rfc4514_string(), "CN=pomeriumd: no certificate yet")
        self.assertEqual(found.issuer, found.subject)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), [A, B])
        self.assertTrue(pair.automatic)
