"""Promises of the fetching of OCSP answers: when, how often, what is kept and what is said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.x509 import ocsp
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from pomeriumd.daemon.staple_fetch import SECONDS
from pomeriumd.daemon.staple_files import StapleFiles
from pomeriumd.daemon.stapling import AT_ONCE, LATEST, SOONEST, Stapling
from pomeriumd.net.ocsp import LARGEST
from pomeriumd.net.staples import named
from tests.support.certificates import NOW, Issued, authority, issue, leaf
from tests.support.logged import Logged
from tests.support.rig import Chance
from tests.support.settings import make_settings
from tests.support.stapled import WEEK, Says, stapled

DAY = 86_400.0


@implementer(IAgent)
class Responder(Resource):
    """A responder in memory, and the agent that reaches it."""

    isLeaf = True

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now = now
        self.says = Says()
        self.known: dict[int, Issued] = {}
        self.asked: list[tuple[str, int]] = []
        """URL and serial number of each question."""
        self.down = False
        self.late = False
        self.sent = b""
        self.status, self.body = 200, b""
        """What is answered in place of what it says, where that is something."""
        self._agent = RequestTraversalAgent(self)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Reach it, unless it is down."""
        if self.down:
            self.asked.append((uri.decode("ascii"), 0))
            return fail(Refused())
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return asked

    def render(self, request: Any) -> Any:
        """Answer."""
        request.notifyFinish().addErrback(lambda _: None)
        question = ocsp.load_der_ocsp_request(request.content.read())
        self.asked.append((request.uri.decode("ascii"), question.serial_number))
        if self.late:
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        certificate = self.known[question.serial_number].certificate
        self.sent = self.body or self.says.answer(certificate, self.now())
        return self.sent

    def flush(self) -> None:
        """Carry what is under way."""
        self._agent.flush()


class StaplingCase(SynchronousTestCase):
    """Tests with a responder and a directory."""

    def setUp(self) -> None:
        """Have both, and somebody who fetches."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.clock = Clock()
        self.responder = Responder(self.now)
        self.files = StapleFiles(str(self.place), Chance())
        self.logged = Logged(self)
        self.one = self.known("a.test")
        self.stapling = self.fetching()

    def now(self) -> float:
        """Return the time of day."""
        return NOW + float(self.clock.seconds())

    def fetching(self) -> Stapling:
        """Return somebody who fetches, and has not begun."""
        stapling = Stapling(agent=self.responder, clock=self.clock, now=self.now, random=Chance())
        self.addCleanup(stapling.stop)
        return stapling

    def known(self, *names: str, **more: Any) -> Issued:
        """Return a certificate that the responder knows."""
        one = stapled(*names, **more)
        self.responder.known[one.certificate.serial_number] = one
        return one

    def begin(self, *certificates: Issued, chain: tuple[Issued, ...] | None = None) -> None:
        """Begin with these certificates."""
        self.stapling.begin(self.settings(*certificates, chain=chain))
        self.turns()

    def settings(self, *certificates: Issued, chain: tuple[Issued, ...] | None = None) -> Any:
        """Return settings with these certificates."""
        links = (authority(),) if chain is None else chain
        pairs = tuple(
            one.pair(f"certificates[{number}]", *links)
            for number, one in enumerate(certificates or (self.one,))
        )
        return make_settings(insecure_server=False, certificates=pairs, state_dir=str(self.place))

    def turns(self, seconds: float = 0.0) -> None:
        """Let time pass, and all happen that is due."""
        self.clock.advance(seconds)
        for _ in range(12):
            self.responder.flush()
            self.clock.advance(0)

    def kept(self, one: Issued | None = None) -> bytes | None:
        """Return what is on disk for a certificate."""
        return self.files.load(named((one or self.one).certificate))

    def lines(self) -> list[str]:
        """Return what was logged, warnings and errors."""
        return self.logged.lines()

    def counts(self) -> tuple[int, int, int]:
        """Return good, missing, and missing though required."""
        said = self.stapling.standing
        return said["staples_good"], said["staples_missing"], said["staples_required"]


class GoodTests(StaplingCase):
    """A responder that is there."""

    def test_it_is_asked_at_once_and_its_answer_kept(self) -> None:
        """The URL of the certificate is asked, and what comes is on disk as it came."""
        self.begin()
        self.assertEqual(self.responder.asked, [("/", self.one.certificate.serial_number)])
        self.assertEqual(self.kept(), self.responder.sent)
        self.assertEqual(self.stapling.fetched, {"good": 1})
        self.assertEqual((self.counts(), self.lines()), ((1, 0, 0), []))

    def test_it_is_renewed_at_half_of_its_life(self) -> None:
        """Not before half of it, and before two thirds."""
        self.begin()
        self.turns(WEEK / 2 - 3_600 - 1)
        self.assertEqual(len(self.responder.asked), 1)
        self.turns(WEEK / 10 + 2)
        self.assertEqual(len(self.responder.asked), 2)

    def test_what_was_kept_is_not_fetched_again(self) -> None:
        """After a restart nobody is asked before it is time."""
        self.begin()
        self.stapling.stop()
        self.stapling = self.fetching()
        self.begin()
        self.assertEqual((len(self.responder.asked), self.counts()), (1, (1, 0, 0)))
        self.turns(WEEK * 0.6)
        self.assertEqual(len(self.responder.asked), 2)

    def test_what_is_kept_and_is_not_right_is_fetched(self) -> None:
        """What somebody laid there is removed, and asked for."""
        stranger = Says(signer=issue(authority=True, title="test authority"))
        self.files.save(named(self.one.certificate), stranger.answer(self.one.certificate, NOW))
        self.responder.down = True
        self.begin()
        self.assertEqual((self.kept(), self.counts()), (None, (0, 1, 0)))

    def test_old_answers_of_a_cache_are_not_asked_for_in_a_loop(self) -> None:
        """An answer past half of its life is asked for again at a quarter of what is left."""
        self.responder.says = Says(age=WEEK * 0.8)
        self.begin()
        self.turns(WEEK * 0.05 - 1)
        self.assertEqual(len(self.responder.asked), 1)
        self.turns(2)
        self.assertEqual(len(self.responder.asked), 2)

    def test_many_are_asked_for_a_few_at_a_time(self) -> None:
        """A responder is never asked more than so many questions at once."""
        self.responder.late = True
        self.begin(*(self.known(f"h{number}.test") for number in range(AT_ONCE * 3)))
        self.assertEqual(len(self.responder.asked), AT_ONCE)
        self.turns(SECONDS)
        self.assertEqual(len(self.responder.asked), 2 * AT_ONCE)

    def test_to_begin_twice_changes_nothing(self) -> None:
        """Being told again to begin asks nobody again."""
        self.begin()
        self.begin()
        self.assertEqual(len(self.responder.asked), 1)

    def test_nobody_is_asked_before_it_begins(self) -> None:
        """A process that is not the one that does this asks nobody."""
        self.stapling.take(self.settings())
        self.turns()
        self.assertEqual((self.responder.asked, self.counts()), ([], (0, 0, 0)))

    def test_without_tls_nobody_is_asked(self) -> None:
        """Where a balancer ends TLS there is nothing to be stapled."""
        self.stapling.begin(make_settings(state_dir=str(self.place)))
        self.turns()
        self.assertEqual(self.responder.asked, [])

    def test_a_certificate_without_responder_counts_nowhere(self) -> None:
        """It needs nothing, and lacks nothing."""
        self.begin(leaf("plain.test"))
        self.assertEqual((self.responder.asked, self.counts(), self.lines()), ([], (0, 0, 0), []))


class ReloadTests(StaplingCase):
    """New settings."""

    def test_the_same_certificates_are_not_asked_about_again(self) -> None:
        """A reload that changes others leaves what is known."""
        self.begin()
        other = self.known("b.test")
        self.stapling.take(self.settings(self.one, other))
        self.turns()
        self.assertEqual(len(self.responder.asked), 2)
        self.assertEqual(self.counts(), (2, 0, 0))

    def test_one_that_is_gone_is_forgotten(self) -> None:
        """Its answer goes, and nobody is asked about it any more."""
        self.begin()
        other = self.known("b.test")
        self.stapling.take(self.settings(other))
        self.turns()
        self.assertIsNone(self.kept())
        self.assertIsNotNone(self.kept(other))
        self.turns(WEEK * 0.6)
        self.assertEqual(
            [serial for _, serial in self.responder.asked[1:]],
            [other.certificate.serial_number] * 2,
        )

    def test_a_question_about_one_that_is_gone_is_dropped(self) -> None:
        """What is under way for it ends, and leaves nothing behind."""
        self.responder.late = True
        self.begin()
        self.stapling.take(self.settings(leaf("plain.test")))
        self.turns(SECONDS * 2)
        self.assertEqual((self.counts(), self.stapling.fetched, self.lines()), ((0, 0, 0), {}, []))


class FaultTests(StaplingCase):
    """A responder that is not as it should be keeps nobody from serving."""

    def why(self) -> str:
        """Return why there is no answer, as the log has it."""
        self.begin()
        (line,) = self.lines()
        self.assertEqual((self.stapling.fetched, self.kept()), ({"failed": 1}, None))
        start = "the certificate of a.test is shown without an OCSP answer: the responder "
        self.assertTrue(line.startswith(start), line)
        return line.removeprefix(start)

    def test_nobody_is_there(self) -> None:
        """A refused connection is named."""
        self.responder.down = True
        self.assertEqual(self.why(), "http://ocsp.example.test/ refuses connections")

    def test_it_hangs(self) -> None:
        """It has ten seconds."""
        self.responder.late = True
        self.begin()
        self.turns(SECONDS)
        (line,) = self.lines()
        self.assertTrue(line.endswith("http://ocsp.example.test/ did not answer in 10 s"), line)

    def test_it_says_another_status(self) -> None:
        """The status is named."""
        self.responder.status = 503
        self.assertEqual(self.why(), "http://ocsp.example.test/ answered with status 503")

    def test_it_sends_us_elsewhere(self) -> None:
        """No redirect is followed."""
        self.responder.status = 302
        self.assertEqual(
            self.why(), "http://ocsp.example.test/ answered with status 302, and is not followed"
        )
        self.assertEqual(len(self.responder.asked), 1)

    def test_it_sends_too_much(self) -> None:
        """There is a bound, and it is not gone past."""
        self.responder.body = bytes(LARGEST + 1)
        self.assertEqual(
            self.why(), f"http://ocsp.example.test/ answered with over {LARGEST} bytes"
        )

    def test_it_sends_a_page(self) -> None:
        """What is no answer is called that."""
        self.responder.body = b"<html>"
        self.assertEqual(self.why(), "http://ocsp.example.test/: the answer is no OCSP response")

    def test_somebody_else_signed(self) -> None:
        """An answer that is not to be believed is not kept."""
        self.responder.says = Says(signer=issue(authority=True, title="test authority"))
        self.assertEqual(
            self.why(),
            "http://ocsp.example.test/: neither the certificate's issuer signed the answer nor "
            "one it delegated",
        )

    def test_its_answer_is_too_old(self) -> None:
        """An answer that has expired is not kept."""
        self.responder.says = Says(age=DAY * 8)
        self.assertEqual(
            self.why(), "http://ocsp.example.test/: the answer expired at 2026-10-31 00:00 UTC"
        )

    def test_the_disk_is_full(self) -> None:
        """Where nothing can be kept, that is said."""
        (self.place / "ocsp").write_bytes(b"")
        self.begin()
        (line, *_) = self.lines()
        self.assertIn(f"it cannot be kept in '{self.place}/ocsp'", line)
        self.assertEqual(self.stapling.fetched, {"failed": 1})

    def test_it_is_asked_later_and_later_and_never_later_than_an_hour(self) -> None:
        """The pauses double, give or take a quarter, up to their bound."""
        self.responder.down = True
        self.begin()
        pauses: list[float] = []
        last = self.clock.seconds()
        while len(pauses) < 10:
            before = len(self.responder.asked)
            self.turns(SOONEST / 4)
            if len(self.responder.asked) > before:
                pauses.append(self.clock.seconds() - last)
                last = self.clock.seconds()
        for number, pause in enumerate(pauses):
            usual = min(LATEST, SOONEST * 2**number)
            self.assertTrue(usual * 0.75 <= pause <= usual * 1.25 + SOONEST / 4, pauses)
        self.assertEqual(len(self.lines()), 1)

    def test_it_comes_back(self) -> None:
        """The log says so, and the pauses begin anew."""
        self.responder.down = True
        self.begin()
        self.responder.down = False
        self.turns(SOONEST * 1.25)
        self.assertEqual(
            self.logged.lines(LogLevel.info)[-1],
            "the certificate of a.test has a good OCSP answer again",
        )
        self.assertEqual(self.counts(), (1, 0, 0))

    def test_an_answer_from_before_is_shown_until_its_end(self) -> None:
        """A responder that is down takes nothing away that still holds."""
        self.begin()
        self.responder.down = True
        self.turns(WEEK * 0.7)
        self.assertEqual((self.counts(), self.lines()), ((1, 0, 0), []))
        self.assertIsNotNone(self.kept())
        self.turns(WEEK * 0.3)
        self.assertEqual(self.counts(), (0, 1, 0))
        self.turns(LATEST * 1.25)
        self.assertEqual(len(self.lines()), 1)

    def test_a_chain_without_issuer_is_told_once(self) -> None:
        """Nobody can be asked, and the log says what to do."""
        self.begin(chain=())
        (line,) = self.lines()
        self.assertEqual(
            line,
            "the certificate of a.test is shown without an OCSP answer: certificates[0] names "
            "an OCSP responder, but its issuer's certificate does not follow it; put the whole "
            "chain into the file",
        )
        self.assertEqual((self.responder.asked, self.counts()), ([], (0, 1, 0)))


class RevokedTests(StaplingCase):
    """A certificate that its issuer revokes."""

    def test_what_was_good_is_not_shown_any_more(self) -> None:
        """The good answer goes, the log is loud, and it is looked at again within an hour."""
        self.begin()
        self.responder.says = Says(status=ocsp.OCSPCertStatus.REVOKED)
        self.turns(WEEK * 0.6)
        self.assertIsNone(self.kept())
        (line,) = self.logged.lines(LogLevel.error)
        self.assertRegex(
            line, r"^the certificate of a.test is revoked at .*; get a new one at once$"
        )
        self.assertEqual(self.stapling.fetched, {"good": 1, "revoked": 1})
        self.assertEqual(self.counts(), (0, 1, 0))
        self.turns(LATEST * 1.25)
        self.assertEqual(self.stapling.fetched["revoked"], 2)


class MustStapleTests(StaplingCase):
    """A certificate that browsers refuse without an answer."""

    def test_without_an_answer_the_log_is_loud(self) -> None:
        """An error, and a number to alert on."""
        self.responder.down = True
        self.begin(self.known("must.test", must=True))
        (line,) = self.logged.lines(LogLevel.error)
        self.assertEqual(
            line,
            "the certificate of must.test must be stapled, and there is no good OCSP answer: "
            "browsers refuse it: the responder http://ocsp.example.test/ refuses connections",
        )
        self.assertEqual(self.counts(), (0, 1, 1))

    def test_with_one_all_is_well(self) -> None:
        """Nothing is said."""
        self.begin(self.known("must.test", must=True))
        self.assertEqual((self.lines(), self.counts()), ([], (1, 0, 0)))

    def test_without_a_responder_nobody_can_help(self) -> None:
        """A certificate that must be stapled and names nobody to ask is said to be so."""
        self.begin(self.known("must.test", must=True, url=None))
        (line,) = self.logged.lines(LogLevel.error)
        self.assertEqual(
            line,
            "the certificate of must.test must be stapled, and there is no good OCSP answer: "
            "browsers refuse it: certificates[0] names no OCSP responder to be asked",
        )
        self.assertEqual(self.counts(), (0, 1, 1))
