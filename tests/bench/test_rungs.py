"""Rungs are named on the command line, and stand in one order."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import apache, chain
from bench.rungs import chosen, every, missing


class RungTests(SynchronousTestCase):
    """every() and chosen() name them."""

    def test_all(self) -> None:
        """Sixteen ways, plain and over TLS."""
        ways = ("nginx", "haproxy", "envoy", "caddy", "apache")
        here = ("public", "auth", "heads", "cold", "many", "two-workers", "two-apart")
        elsewhere = ("rpc-kept", "rpc-each", "rpc-kept-of-three", "rpc-each-of-three")
        ours = tuple(f"ours-{way}" for way in here + elsewhere)
        wanted = {f"{way}-{side}" for way in ways + ours for side in ("plain", "tls")}
        self.assertEqual({rung.name for rung in every(versus=False)}, wanted)

    def test_names_differ(self) -> None:
        """With another checkout each of ours stands there twice, under two names."""
        names = [rung.name for rung in every(versus=True)]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(names), len(every(versus=False)) + 22)

    def test_chosen(self) -> None:
        """A choice keeps the order of a round, whatever order it is given in."""
        found = chosen("ours-auth-tls, envoy-tls", versus=False)
        self.assertEqual([rung.name for rung in found], ["envoy-tls", "ours-auth-tls"])

    def test_the_other_checkout_comes_along(self) -> None:
        """A rung of ours brings its twin, and the twin stands beside it."""
        found = chosen("ours-auth-tls,envoy-tls", versus=True)
        names = [rung.name for rung in found]
        self.assertEqual(names, ["envoy-tls", "ours-auth-tls", "vs-auth-tls"])

    def test_unknown(self) -> None:
        """A name that is not known is refused, with those that are."""
        with self.assertRaises(ValueError) as caught:
            chosen("envoy-tsl", versus=False)
        self.assertIn("no rung 'envoy-tsl'; there are nginx-plain, ", str(caught.exception))

    def test_as_many_processes_with_a_daemon_each(self) -> None:
        """What the workers of one daemon are compared with is as many daemons."""
        apart, two = chosen("ours-two-workers-tls,ours-two-apart-tls", versus=False)
        self.assertEqual({(r.workers, r.daemons) for r in (apart, two)}, {(2, 1), (1, 2)})

    def test_each_of_ours_has_a_process_of_its_own(self) -> None:
        """Cold sessions do not push out those that another rung knows."""
        chains = [rung.chain for rung in every(versus=True) if rung.way]
        self.assertEqual(len(chains), len(set(chains)))


class MissingTests(SynchronousTestCase):
    """missing() names what to install."""

    def test_nothing_is_there(self) -> None:
        """Of a bare machine's packages only those are named that the rungs need."""
        self.patch(chain, "SYSTEM_PATH", "/nonexistent")
        self.patch(apache, "MODULES", Path("/nonexistent"))
        for names, more in (
            ("ours-auth-tls,envoy-tls", []),
            ("caddy-tls,haproxy-plain", ["haproxy", "caddy"]),
            ("apache-tls", ["apache2-bin", "libapache2-mod-auth-openidc"]),
        ):
            with self.subTest(names):
                found = missing(chosen(names, versus=False))
                self.assertEqual(found, ["wrk", "nginx-light", "util-linux", *more])
