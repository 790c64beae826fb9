"""
Fetches what OCSP responders say of our certificates, in the background of one process.

It never keeps anybody waiting and is never fatal: what cannot be had is tried again, later and
later, and clients are served without it meanwhile. What is good is written to disk, where every
process that serves finds it (``staple_files``), and renewed at half of its life.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent

from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.daemon.staple_fetch import NoAnswer, ask
from pomeriumd.daemon.staple_files import StapleFiles
from pomeriumd.net.ocsp import Revoked, Staple, Subject, must_staple, read, subject_of, whose
from pomeriumd.net.pem import read_certificates
from pomeriumd.net.staples import named
from pomeriumd.pieces import Pieces
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import CertificatePair

AT_ONCE = 4
"""Questions under way; a responder is asked for 5,000 certificates one after the other."""

SOONEST = 60.0
"""Seconds from one question about a certificate to the next, at least."""

LATEST = 3_600.0
"""Seconds from a failure to the next question, at most (before jitter)."""


@attrs.define(eq=False)
class _Watched:
    """A certificate that names a responder, or that must be shown with an answer."""

    name: str
    whose: str
    must: bool
    subject: Subject | None
    """None where nobody can be asked."""
    staple: Staple | None = None
    failures: int = 0
    said: str = ""
    """What was last logged of it, so that each is said once."""
    due: float = 0.0
    """When it is to be asked about, by the clock."""
    asking: Deferred[Any] | None = None


@attrs.define(eq=False, kw_only=True)
class Stapling:
    """
    Has an answer fetched for each certificate in force.

    Args:
        agent: reaches responders.
        clock: gives the next question its time.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
    """

    _agent: IAgent
    _clock: Any
    _now: Callable[[], float]
    _random: Callable[[int], bytes] = attrs.field(repr=False)
    fetched: Counter[str] = attrs.field(factory=Counter, init=False)
    """How many questions had each of the outcomes ``series.OCSP``."""
    _watched: dict[str, _Watched] = attrs.field(factory=dict, init=False)
    _due: list[tuple[float, str]] = attrs.field(factory=list, init=False)
    """A heap: when the clock stands there, the certificate is to be asked about."""
    _pairs: tuple[CertificatePair, ...] = attrs.field(default=(), init=False)
    _files: StapleFiles = attrs.field(init=False)
    _learning: Deferred[None] | None = attrs.field(default=None, init=False)
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _under_way: int = attrs.field(default=0, init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def begin(self, settings: Settings) -> None:
        """Go to work; to be told so again changes nothing."""
        if not self._begun:
            self._begun = True
            self.take(settings)

    def take(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        if not self._begun:
            return
        pairs = settings.certificates if settings.https else ()
        if pairs == self._pairs:
            return
        if self._learning is not None:
            self._learning.cancel()
        self._pairs = pairs
        # The same each time: another place needs a restart.
        files = self._files = StapleFiles(settings.state_dir, self._random)
        work = in_pieces(self._learn(pairs, files), self._clock)
        self._learning = Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("fetching OCSP answers failed: a bug of ours", failure)

    # Which certificates

    def _learn(self, pairs: tuple[CertificatePair, ...], files: StapleFiles) -> Pieces[None]:
        """Find out what is to be asked, and what is known from before."""
        watched: dict[str, _Watched] = {}
        for pair in pairs:
            yield
            found = self._found(pair)
            if found is not None:
                watched.setdefault(found.name, found)
        self._forget(one for name, one in self._watched.items() if name not in watched)
        self._watched, self._due = watched, []
        for one in watched.values():
            yield
            self._remember(one, files)
        try:
            yield from files.keep(watched)
        except OSError as error:
            self._log.warn(
                "what is old in {path} cannot be removed: {why}; make it writable for the daemon",
                path=str(files.directory),
                why=error.strerror,
            )
        self._turn()

    def _forget(self, gone: Iterable[_Watched]) -> None:
        """Ask nobody about these any more."""
        for one in tuple(gone):
            if one.asking is not None:
                one.asking.cancel()

    def _found(self, pair: CertificatePair) -> _Watched | None:
        """Return what is to be asked about a pair; None if nothing is."""
        chain = read_certificates(pair.chain)
        certificate = chain[0]
        name, must, why = named(certificate), must_staple(certificate), ""
        if name in self._watched:
            return self._watched[name]
        try:
            subject = subject_of(chain)
        except ValueError as error:
            subject, why = None, str(error)
        if subject is None and not must and not why:
            return None
        found = _Watched(name, whose(certificate), must, subject)
        if subject is None:
            self._tell(found, f"{pair.place} {why or 'names no OCSP responder to be asked'}")
        return found

    def _remember(self, one: _Watched, files: StapleFiles) -> None:
        """Take over what is on disk, and say when to ask for something newer."""
        if one.subject is None:
            return
        if one.staple is None:
            der = files.load(one.name)
            if der is not None:
                try:
                    one.staple = read(der, one.subject, self._now())
                except ValueError:
                    files.remove(one.name)
        if one.asking is None:
            self._plan(one, 0.0 if one.staple is None else self._half(one.staple))

    # When

    def _chance(self) -> float:
        """Return a number from 0 to 1."""
        return int.from_bytes(self._random(2), "big") / 65_536

    def _half(self, staple: Staple) -> float:
        """
        Return in how many seconds an answer is to be renewed: at half of its life or some later.

        One that was old when it came is asked for again at a quarter of what is left.
        """
        life = staple.until - staple.begin
        wait = staple.begin + life * (0.5 + 0.1 * self._chance()) - self._now()
        return wait if wait > 0 else (staple.until - self._now()) / 4

    def _plan(self, one: _Watched, seconds: float) -> None:
        one.due = self._clock.seconds() + max(0.0, seconds)
        heapq.heappush(self._due, (one.due, one.name))

    def _turn(self) -> None:
        """Ask about what is due, as far as there may be questions, and wait for the rest."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        while self._begun and self._due and self._under_way < AT_ONCE:
            due, name = self._due[0]
            wait = due - self._clock.seconds()
            if wait > 0:
                self._next = self._clock.callLater(wait, self._turn)
                return
            heapq.heappop(self._due)
            one = self._watched.get(name)
            if one is not None and one.due == due and one.asking is None and one.subject:
                self._ask(one, one.subject)

    # The question

    def _ask(self, one: _Watched, subject: Subject) -> None:
        self._under_way += 1
        asking = ask(self._agent, self._clock, subject.url, subject.request)
        one.asking = asking
        asking.addCallback(self._answered, one, subject)
        asking.addErrback(self._unanswered, one, subject)
        asking.addErrback(self._failed)
        asking.addBoth(self._asked, one)

    def _asked(self, _: object, one: _Watched) -> None:
        self._under_way -= 1
        one.asking = None
        self._clock.callLater(0, self._turn)

    def _answered(self, der: bytes, one: _Watched, subject: Subject) -> None:
        try:
            staple = read(der, subject, self._now())
        except Revoked as error:
            one.staple, one.failures = None, 0
            self._files.remove(one.name)
            self.fetched["revoked"] += 1
            self._say(one, LogLevel.error, f"{one.whose} is {error}; get a new one at once")
            self._plan(one, LATEST * (0.75 + 0.5 * self._chance()))
            return
        self._files.save(one.name, der)
        one.staple, one.failures = staple, 0
        self.fetched["good"] += 1
        if one.said:
            self._say(one, LogLevel.info, f"{one.whose} has a good OCSP answer again")
            one.said = ""
        self._plan(one, max(SOONEST, self._half(staple)))

    def _unanswered(self, failure: Failure, one: _Watched, subject: Subject) -> None:
        failure.trap(NoAnswer, ValueError, OSError)
        self.fetched["failed"] += 1
        pause = min(LATEST, SOONEST * 2.0 ** min(one.failures, 10))
        one.failures += 1
        self._plan(one, pause * (0.75 + 0.5 * self._chance()))
        error = failure.value
        if isinstance(error, OSError):
            where = str(self._files.directory)
            why = f"it cannot be kept in {where!r}: {error.strerror}; make it writable"
        elif isinstance(error, NoAnswer):
            why = f"the responder {subject.url} {error}"
        else:
            why = f"the responder {subject.url}: {error}"
        self._tell(one, why)

    # What is told

    def _good(self, one: _Watched) -> bool:
        return one.staple is not None and self._now() < one.staple.until

    def _tell(self, one: _Watched, why: str) -> None:
        """Say what is wrong; loudly where browsers will refuse the certificate for it."""
        if self._good(one):
            text = f"the OCSP answer for {one.whose} cannot be renewed, and is good for now: {why}"
            self._say(one, LogLevel.info, text)
        elif one.must:
            text = (
                f"{one.whose} must be stapled, and there is no good OCSP answer: browsers refuse "
                f"it: {why}"
            )
            self._say(one, LogLevel.error, text)
        else:
            self._say(one, LogLevel.warn, f"{one.whose} is shown without an OCSP answer: {why}")

    def _say(self, one: _Watched, level: Any, text: str) -> None:
        if text != one.said:
            one.said = text
            self._log.emit(level, "{text}", text=text)

    @property
    def standing(self) -> Mapping[str, int]:
        """Return how many certificates have a good answer, have none, and lack a required one."""
        now, good, required = self._now(), 0, 0
        for one in self._watched.values():
            if one.staple is not None and now < one.staple.until:
                good += 1
            elif one.must:
                required += 1
        return {
            "staples_good": good,
            "staples_missing": len(self._watched) - good,
            "staples_required": required,
        }

    def stop(self) -> None:
        """Ask no more."""
        self._begun = False
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        if self._learning is not None:
            self._learning.cancel()
        self._forget(self._watched.values())
