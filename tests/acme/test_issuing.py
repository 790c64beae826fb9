"""Tests of pomeriumd.acme: whole orders, at an authority in memory."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.acme.account import Registration
from pomeriumd.acme.issuing import Issuing
from pomeriumd.acme.problems import LIMITED, NOT_KEPT, REFUSED, UNREACHABLE, AcmeError
from pomeriumd.acme.responders import FileResponder
from pomeriumd.acme.store import AccountFile, Store
from tests.support.authority import BASE, URL, Authority
from tests.support.certificates import NOW

NAMES = ("a.example.com", "b.example.com")
NOBODY = Registration(email=None, eab_key_id=None, eab_mac_key=None)


def aside(work: Any, *arguments: Any) -> Deferred[Any]:
    """Do it now."""
    return execute(work, *arguments)


class IssuingCase(SynchronousTestCase):
    """Orders at an authority."""

    def setUp(self) -> None:
        """Have one that is honest, and a store."""
        self.authority = Authority()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.place = str(Path(self.enterContext(TemporaryDirectory()), "place"))
        numbers = count()
        self.random = lambda size: next(numbers).to_bytes(size)
        self.store = Store(self.place, self.random)

    def issuing(self, **more: Any) -> Issuing:
        """Return what orders there."""
        given: dict[str, Any] = {
            "store": self.store,
            "aside": aside,
            "agent": self.authority.agent,
            "clock": self.clock,
            "now": self.clock.seconds,
            "url": URL,
            "registration": NOBODY,
            "responder": FileResponder(
                "http-01", self.place, aside, self.clock.seconds, self.random
            ),
            "must_staple": False,
        }
        given.update(more)
        return Issuing(**given)

    def order(self, issuing: Issuing, *names: str, seconds: int = 60) -> Deferred[None]:
        """Order, and let so many seconds pass."""
        agent: Any = issuing._agent
        done = Deferred.fromCoroutine(issuing.issue(names or NAMES))
        for _ in range(seconds * 2):
            for _ in range(8):
                agent.flush()
            if done.called:
                break
            self.clock.advance(0.5)
        return done

    def good(self, issuing: Issuing, *names: str) -> None:
        """Order with success."""
        self.successResultOf(self.order(issuing, *names))

    def faulty(self, issuing: Issuing, text: str, *names: str) -> AcmeError:
        """Order in vain, and return why."""
        error = self.failureResultOf(self.order(issuing, *names), AcmeError).value
        assert isinstance(error, AcmeError)
        self.assertEqual(str(error), text)
        return error


class OrderTests(IssuingCase):
    """issue() gets one certificate for all names, and keeps it."""

    def test_two_names(self) -> None:
        """Both are on one certificate with its chain; all answers are taken away again."""
        self.good(self.issuing())
        [kept] = self.store.kept()
        self.assertEqual(kept.names, set(NAMES))
        [path] = Path(self.place, "certificates").glob("*.pem")
        self.assertEqual(path.read_bytes().count(b"BEGIN CERTIFICATE"), 2)
        self.assertEqual(path.read_bytes().count(b"PRIVATE KEY"), 2)
        self.assertEqual(list(Path(self.place, "challenges").iterdir()), [])

    def test_the_account_is_made_once(self) -> None:
        """The next order, and the next process, go by the account that is there."""
        issuing = self.issuing()
        self.good(issuing)
        self.good(issuing, "c.example.com")
        self.good(self.issuing(), "d.example.com")
        self.assertEqual(self.authority.paths.count("/account"), 1)

    def test_a_nonce_that_is_refused(self) -> None:
        """A request is signed anew with the nonce that came with the refusal."""
        refusal = self.authority.problem(400, "badNonce")
        self.authority.refuse["/new"] = [refusal] * 3
        self.good(self.issuing())
        nonces = [head["nonce"] for path, _, head in self.authority.calls if path == "/new"]
        self.assertEqual(len(set(nonces)), 4)

    def test_nonces_without_end(self) -> None:
        """An authority that refuses all its nonces is given up."""
        self.authority.refuse["/new"] = [self.authority.problem(400, "badNonce")] * 100
        error = self.faulty(self.issuing(), "the authority took none of 8 nonces of its own")
        self.assertEqual((error.outcome, error.whole), (UNREACHABLE, True))

    def test_a_limit(self) -> None:
        """A limit is told as such, with the time that the authority wants."""
        for said, seconds in (("3600", 3600), ("Sun, 01 Nov 2026 00:10:00 GMT", 600), ("x", 0)):
            refusal = self.authority.problem(429, "rateLimited", "too many", retry_after=said)
            self.authority.refuse["/new"] = [refusal]
            error = self.faulty(self.issuing(), "the authority says 429: too many (rateLimited)")
            self.assertEqual((error.outcome, error.whole), (LIMITED, False))
            self.assertAlmostEqual(error.retry_after, seconds, delta=200)

    def test_names_that_fail(self) -> None:
        """The names that were not proved are told, each with what the authority saw."""
        self.authority.invalid["b.example.com"] = "no A record\nfor \x1b[31mit"
        error = self.faulty(
            self.issuing(),
            "the authority does not see http-01: b.example.com: no A record\\nfor \\x1b[31mit "
            "(dns)",
        )
        self.assertEqual((error.names, error.outcome), ({"b.example.com"}, REFUSED))
        self.assertEqual(self.store.kept(), [])
        self.assertEqual(list(Path(self.place, "challenges").iterdir()), [])

    def test_names_that_are_not_wanted(self) -> None:
        """The names that an authority wants nothing of are taken from its problem."""
        part = {"type": "urn:x", "identifier": {"type": "dns", "value": "a.example.com"}}
        refusal = self.authority.problem(403, "rejectedIdentifier", subproblems=[part, 5])
        self.authority.refuse["/new"] = [refusal]
        error = self.faulty(self.issuing(), "the authority says 403: no (rejectedIdentifier)")
        self.assertEqual((error.names, error.kind), ({"a.example.com"}, "rejectedIdentifier"))

    def test_a_challenge_that_is_not_offered(self) -> None:
        """What the authority has instead is said, and which setting chooses."""
        self.authority.types = ["dns-01"]
        self.faulty(
            self.issuing(),
            "the authority offers no http-01 for a.example.com, but dns-01; see autocert_challenge",
        )

    def test_no_directory(self) -> None:
        """A URL that leads to something else is said."""
        for found, text in (
            (
                b"<html>",
                (
                    "the authority's answer is no JSON object (status 200); does autocert_ca "
                    "name the directory of an ACME server?"
                ),
            ),
            ({}, f"{URL} is no directory of ACME version 2: want newOrder in it; see autocert_ca"),
        ):
            self.authority.refuse["/directory"] = [(200, found, {})]
            error = self.faulty(self.issuing(), text)
            self.assertEqual((error.outcome, error.whole), (UNREACHABLE, True))

    def test_broken(self) -> None:
        """An authority that is broken is no refusal, and nothing else is ordered there now."""
        for status in (500, 503):
            self.authority.refuse["/new"] = [(status, b"oops", {"Retry-After": "90"})]
            error = self.faulty(self.issuing(), f"the authority says {status}: no reason given")
            self.assertEqual(
                (error.outcome, error.whole, error.retry_after), (UNREACHABLE, True, 90)
            )

    def test_too_much(self) -> None:
        """An answer without end is not kept in memory."""
        self.authority.refuse["/directory"] = [(200, b" " * 300_000, {})]
        self.faulty(self.issuing(), "the authority's answer is over 262144 bytes")

    def test_silent(self) -> None:
        """An authority that does not answer is given up in time."""

        @attrs.frozen
        class Silent:
            def request(self, *_: object, **__: object) -> Deferred[None]:
                return Deferred()

            def flush(self) -> None:
                pass

        self.faulty(self.issuing(agent=Silent()), f"{URL} cannot be asked: no answer in 20 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_never_looked_at(self) -> None:
        """An authority that never decides is given up, and its answers are taken away."""
        self.authority._looked = dict.fromkeys(
            (f"{n}/{m}" for n in range(99) for m in NAMES), -99999
        )
        done = self.order(self.issuing(), seconds=400)
        error = self.failureResultOf(done, AcmeError).value
        self.assertEqual(str(error), "the authority did not look in time")
        self.assertEqual(list(Path(self.place, "challenges").iterdir()), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told_to_end(self) -> None:
        """An order that is given up leaves no answer and no call behind, and is no failure."""
        self.authority._looked = dict.fromkeys(
            (f"{n}/{m}" for n in range(99) for m in NAMES), -99999
        )
        done = self.order(self.issuing(), seconds=5)
        self.assertNotEqual(list(Path(self.place, "challenges").iterdir()), [])
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(list(Path(self.place, "challenges").iterdir()), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_certificate(self) -> None:
        """What is not for our key is not kept."""
        self.good(self.issuing())
        [first] = Path(self.place, "certificates").glob("*.pem")
        pem = first.read_bytes()
        chain = pem[pem.index(b"-----BEGIN CERT") :]
        for path in [f"/certificate/{number}" for number in range(400)]:
            self.authority.refuse[path] = [(200, chain, {})]
        self.faulty(self.issuing(), "the authority's certificate is for another key")

    def test_a_full_disk(self) -> None:
        """Where nothing can be written that is said, with the place."""
        Path(self.place).mkdir()
        Path(self.place, "challenges").write_text("a file")
        done = self.order(self.issuing())
        error = self.failureResultOf(done, AcmeError).value
        assert isinstance(error, AcmeError)
        self.assertEqual((error.outcome, error.whole), (NOT_KEPT, True))
        self.assertIn("see to autocert_dir", str(error))


class AccountTests(IssuingCase):
    """The account is found again, or made again."""

    def test_forgotten(self) -> None:
        """An authority that forgot us is told of us once more, and the same order goes on."""
        self.good(self.issuing())
        self.authority.accounts.clear()
        self.good(self.issuing(), "c.example.com")
        self.assertEqual(self.authority.paths.count("/account"), 2)

    def test_another_key(self) -> None:
        """What is known of another key's account is not believed."""
        self.good(self.issuing())
        self.store.keep_account(AccountFile(directory=URL, kid=f"{BASE}/account/other", key="x"))
        self.good(self.issuing(), "c.example.com")
        self.assertEqual(self.authority.paths.count("/account/other"), 0)

    def test_refused(self) -> None:
        """An account that is refused is nothing for other orders either."""
        self.authority.refuse["/account"] = [self.authority.problem(401, "unauthorized", "gone")]
        error = self.faulty(self.issuing(), "the authority says 401: gone (unauthorized)")
        self.assertEqual((error.outcome, error.whole), (REFUSED, True))

    def test_customers_only(self) -> None:
        """Which settings an authority of customers wants is said; with them it is satisfied."""
        self.authority.meta = {"externalAccountRequired": True}
        self.faulty(
            self.issuing(),
            "the authority takes accounts of its customers only: set autocert_eab_key_id and "
            "autocert_eab_mac_key to what it has given you",
        )
        given = Registration(email="a@example.com", eab_key_id="k1", eab_mac_key=b"x" * 32)
        self.good(self.issuing(registration=given))
        [payload] = [payload for path, payload, _ in self.authority.calls if path == "/account"]
        self.assertEqual(payload["contact"], ["mailto:a@example.com"])
        self.assertEqual(
            payload["externalAccountBinding"].keys(), {"protected", "payload", "signature"}
        )

    def test_another_address(self) -> None:
        """Another autocert_email is told once."""
        self.good(self.issuing())
        given = Registration(email="b@example.com", eab_key_id=None, eab_mac_key=None)
        for name in ("c.example.com", "d.example.com"):
            self.good(self.issuing(registration=given), name)
        told = [p for path, p, _ in self.authority.calls if path.startswith("/account/")]
        self.assertEqual(told, [{"contact": ["mailto:b@example.com"]}])
