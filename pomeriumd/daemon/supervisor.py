"""
The workers: started with the one listening socket, watched, replaced.

Nothing of a request passes through here. A worker that dies takes its own connections with it
and nobody else's: the others accept from the same socket, and what waits in its queue waits on.

One more is in reserve. It has come as far as the others and accepts nothing; when a worker is
gone, it is given the sockets and that seat. To start a process takes a core a third of a second,
and those who serve need it most when they have just become fewer: so the next reserve is started
later, and leisurely.

A worker is believed to live as long as it answers; how long it may be silent is counted in
rounds of questions and not in seconds. A supervisor that stood still itself (a closed lid, a
debugger) reads the answers that have come before it asks again, and kills nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from pomeriumd.daemon.follower import (
    PREPARE_SECONDS,
    SERVE_SECONDS,
    SILENT_ROUNDS,
    Ended,
    Follower,
    InForce,
    Process,
    SignedOutAt,
)
from pomeriumd.daemon.listeners import Listener
from pomeriumd.daemon.messages import (
    Answer,
    CannotServe,
    Discard,
    Drain,
    Ping,
    Prepare,
    Serve,
    SignedOut,
)
from pomeriumd.daemon.servants import (
    DRAIN_SECONDS,
    RESERVE,
    RESTING,
    SERVING,
    STARTING,
    STOPPING,
    Seat,
)
from pomeriumd.daemon.worker_process import ENDED_WELL, GONE

PING_SECONDS = 1.0
"""Between two questions."""

SHORTEST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds before a worker is started whose predecessor died young; doubled each time."""

LONG_LIFE = 60.0
"""Seconds of service after which a death is no sign that the next one dies, too."""

LEISURE_SECONDS = 2.0
"""Before a reserve is started, at the least: whoever lost a connection is back by then."""

LEISURELY_SECONDS = 3600.0
"""For the start of one: where all processors are busy it gets a three-hundredth of one."""

ANSWERS = 0
"""The seat whose worker proxies elsewhere ask, if they may: grpc binds a port by itself, and one
port has room for one process."""

ANSWER_SECONDS = 5.0
"""Before that port is tried again."""

SILENT, NOT_STARTED = "silent", "not started"
USUAL = (SILENT, NOT_STARTED, ENDED_WELL, "killed by SIGKILL", "killed by SIGSEGV")
"""What workers are replaced for."""

STOP_SECONDS = 5.0
"""That workers have, beyond the time for draining, before they are killed."""


def rest(young_deaths: int) -> float:
    """Return the seconds before the next start, after so many young deaths in a row."""
    if young_deaths <= 0:
        return 0.0
    return float(min(LONGEST_REST, SHORTEST_REST * 2 ** min(young_deaths - 1, 16)))


@attrs.define(eq=False)
class Place:
    """A place for a worker, and the one that has it now."""

    number: int
    name: str
    """What the log calls whoever has it."""
    ready: str
    """Its state when all is well: SERVING at a seat, or RESERVE."""
    state: str = RESTING
    """As in a ``Seat``, as what follows."""
    since: float = 0.0
    restarts: int = 0
    worker: Follower | None = None
    young_deaths: int = 0
    ready_from: float = 0.0
    """Seconds of the clock."""
    next_start: IDelayedCall | None = None

    @property
    def is_seat(self) -> bool:
        """Return whether who has it serves."""
        return self.ready == SERVING

    def give(self, worker: Follower) -> None:
        """Let a worker have it."""
        self.worker = worker
        worker.process.name, worker.accepts = self.name, self.is_seat

    @property
    def seat(self) -> Seat:
        """Return it for who looks at it from outside."""
        worker = self.worker
        return Seat(
            number=self.number,
            process=-1 if worker is None else worker.process.number,
            pid=0 if worker is None else worker.process.pid,
            state=self.state,
            since=self.since,
            restarts=self.restarts,
            generation=0 if worker is None else worker.generation,
        )


class Start(Protocol):
    """Starts a process; ``spawning.Spawning.start`` does."""

    def __call__(self, ended: Ended, signed_out: SignedOutAt, *, leisurely: bool) -> Process:
        """
        Start one.

        Raises:
            OSError: the system has none.
        """


@attrs.define(eq=False, kw_only=True)
class Supervisor(Service):
    """
    All workers of this daemon.

    Args:
        count: how many serve.
        start: see ``Start``.
        clock: for waiting.
        now: seconds since the epoch.
    """

    _count: int
    _start: Start
    _clock: Any
    _now: Callable[[], float]
    _seats: list[Place] = attrs.field(init=False)
    _reserve: Place = attrs.field(init=False)
    restarts: Counter[str] = attrs.field(init=False)
    """How many were replaced, by the reason; the usual ones are there from the start, or an alert
    would miss the first of each."""
    _force: InForce = attrs.field(factory=InForce, init=False)
    _pings: LoopingCall = attrs.field(init=False)
    _answer_again: IDelayedCall | None = attrs.field(default=None, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _all_serve: Deferred[None] = attrs.field(factory=Deferred, init=False)
    _all_ended: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._seats = [Place(n, f"worker {n}", SERVING) for n in range(self._count)]
        self._reserve = Place(self._count, "the reserve", RESERVE)
        self._pings = LoopingCall(self._ask_all)
        self._pings.clock = self._clock
        self.restarts = Counter(dict.fromkeys(USUAL, 0))

    # The life of workers

    def begin(self, number: int, content: int, listeners: Mapping[str, Listener]) -> Deferred[None]:
        """
        Start them under the first generation.

        Returns:
            A Deferred that fires when all of them serve.
        """
        self._force = InForce(number, content, dict(listeners))
        for place in self._seats:
            self._fill(place)
        self._pings.start(PING_SECONDS, now=False)
        return self._all_serve

    def _fill(self, place: Place) -> None:
        """Give a place the worker in reserve, or else a new one."""
        place.next_start = None
        worker = self._stood_by() if place.is_seat else None
        if worker is None:
            try:
                worker = Follower(
                    self._start(self._ended, self._signed_out, leisurely=not place.is_seat),
                    self._clock,
                )
            except OSError as error:
                self._log.error(
                    "{name} cannot be started: {why}; is there memory and room for another"
                    " process (ulimit -u)?",
                    name=place.name,
                    why=str(error),
                )
                self._died(place, NOT_STARTED)
                return
        place.give(worker)
        self._enters(place, STARTING)
        Deferred.fromCoroutine(self._bring_up(place, worker))

    def _stood_by(self) -> Follower | None:
        """Take the worker out of the reserve, if there is one that can serve at once."""
        reserve, worker = self._reserve, self._reserve.worker
        if (
            worker is None
            or reserve.state != RESERVE
            or not (worker.alert and worker.up_to_date(self._force))
        ):
            return None
        reserve.worker = None
        self._rests(reserve)
        return worker

    async def _bring_up(self, place: Place, worker: Follower) -> None:
        """Bring a worker to where the others are."""
        if not await self._follows(worker, leisurely=not place.is_seat):
            return
        if place.worker is worker and place.state == STARTING:
            self._enters(place, place.ready)
            place.ready_from = self._clock.seconds()
            self._log.info(
                "{name} {now}",
                name=place.name,
                now="serves" if place.is_seat else "is ready",
                pid=worker.process.pid,
            )
            if place.number == ANSWERS:
                self._have_answered(worker)
            if not self._all_serve.called and all(p.state == SERVING for p in self._seats):
                self._rests(self._reserve)
                self._all_serve.callback(None)

    def _have_answered(self, worker: Follower) -> None:
        """Have proxies elsewhere answered; one that cannot have the port serves its users on."""
        self._answer_again = None

        def cannot(failure: Failure) -> None:
            if failure.check(*GONE) is not None or self._stopping:
                return
            self._log.error(
                "proxies elsewhere are not answered: {why}; tries again in {seconds:g} s",
                why=failure.getErrorMessage(),
                seconds=ANSWER_SECONDS,
            )
            self._answer_again = self._clock.callLater(ANSWER_SECONDS, self._have_answered, worker)

        if self._seats[ANSWERS].worker is worker:
            worker.ask(SERVE_SECONDS, Answer).addErrback(cannot)

    async def _follows(self, worker: Follower, *, leisurely: bool = False) -> bool:
        """Have a worker catch up; one that cannot is replaced."""
        try:
            if leisurely:
                await worker.ask(LEISURELY_SECONDS, Ping)
            await worker.follow(self._force)
        except GONE:
            return False  # whoever is told of its end sees to the rest
        except Exception as error:  # noqa: BLE001  # whatever it is: this one will not serve
            self._log.error(
                "{name} cannot serve: {why}; it is started anew",
                name=worker.process.name,
                pid=worker.process.pid,
                why=str(error) or type(error).__name__,
            )
            worker.process.kill()
            return False
        return True

    def _ended(self, process: Process, how: str) -> None:
        for place in self._places:
            worker = place.worker
            if worker is not None and worker.process is process:
                break
        else:
            return
        if self._stopping:
            place.worker = None
            self._enters(place, RESTING)
            if self._all_ended is not None and not self._alive():
                self._all_ended.callback(None)
            return
        self._died(place, SILENT if worker.silent else how)

    def _died(self, place: Place, how: str) -> None:
        """See to it that a place is filled again."""
        was_ready = place.state == place.ready
        lived = self._clock.seconds() - place.ready_from if was_ready else 0.0
        place.young_deaths = 0 if lived >= LONG_LIFE else place.young_deaths + 1
        # One death is no pattern, if it had served: nobody waits for the next one.
        seconds = rest(place.young_deaths - 1 if was_ready else place.young_deaths)
        pid = 0 if place.worker is None else place.worker.process.pid
        place.worker = None
        place.restarts += 1
        self.restarts[how] += 1
        if how == ENDED_WELL:
            self._log.info("{name} was told to end and is replaced", name=place.name)
        else:
            self._log.error(
                "{name} is gone: {how}; {lost}",
                name=place.name,
                pid=pid,
                how=how,
                lost="its connections are lost, the others go on"
                if place.is_seat
                else "it served nobody",
            )
        self._rests(place, seconds)

    def _rests(self, place: Place, seconds: float = 0.0) -> None:
        """Leave a place empty for a while."""
        if not place.is_seat:
            seconds = max(LEISURE_SECONDS, seconds)
        self._enters(place, RESTING)
        place.next_start = self._clock.callLater(seconds, self._fill, place)

    def _ask_all(self) -> None:
        for worker in self._ready():
            if not worker.silent:
                worker.ping()
                continue
            self._log.error(
                "{name} has not answered for {count} rounds and is replaced",
                name=worker.process.name,
                pid=worker.process.pid,
                count=SILENT_ROUNDS,
            )
            worker.process.kill()

    def _enters(self, place: Place, state: str) -> None:
        place.state, place.since = state, self._now()

    @property
    def seats(self) -> Sequence[Seat]:
        """Return the places of those who serve."""
        return [place.seat for place in self._seats]

    @property
    def reserve(self) -> Seat:
        """Return the place of the one in reserve."""
        return self._reserve.seat

    @property
    def _places(self) -> list[Place]:
        return [*self._seats, self._reserve]

    def _alive(self) -> list[Follower]:
        return [place.worker for place in self._places if place.worker is not None]

    def _ready(self) -> list[Follower]:
        """Return those that serve, and the one in reserve when it is there."""
        return [p.worker for p in self._places if p.worker is not None and p.state == p.ready]

    def _signed_out(self, process: Process, session: str) -> None:
        """Tell all but the one who told us."""
        for other in self._alive():
            if other.process is not process:
                other.process.call(SignedOut, session=session).addErrback(lambda _: None)

    # What a reload asks for: ``reload.Servants``

    async def prepare(self, number: int, content: int) -> None:
        """
        Have a generation built by all that are ready.

        Where none serves there is nobody to ask: the next ones begin with it. What the one in
        reserve says decides nothing; it catches up when the others serve, or is replaced.

        Raises:
            CannotServe: one of them cannot, or all of them died of it.
        """
        ready = self._ready()
        serve = [worker.accepts for worker in ready]
        outcomes = await _all(ready, PREPARE_SECONDS, Prepare, number=number, content=content)
        told = [outcome for outcome, counts in zip(outcomes, serve, strict=True) if counts]
        failed = [outcome for outcome in told if isinstance(outcome, Failure)]
        for failure in failed:
            if not failure.check(*GONE):
                raise failure.value or CannotServe("no reason given")
        if failed and len(failed) == len(told):
            raise CannotServe("every worker died while it built them; see the log before this")

    async def serve(self, number: int, content: int) -> None:
        """Take a generation into use that was prepared; who cannot is replaced."""
        self._force.generation, self._force.content = number, content
        ready = self._ready()
        outcomes = await _all(ready, SERVE_SECONDS, Serve, number=number)
        for worker, outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, Failure):
                # It began to serve after the others had prepared.
                Deferred.fromCoroutine(self._follows(worker))
            else:
                worker.generation = number

    async def discard(self, number: int) -> None:
        """Forget a generation that was prepared."""
        await _all(self._ready(), SERVE_SECONDS, Discard, number=number)

    async def listen(self, listener: Listener) -> None:
        """Accept from a socket, in place of the one of the same name; who cannot is replaced."""
        self._force.listeners[listener.name] = listener
        await DeferredList(
            [Deferred.fromCoroutine(self._follows(worker)) for worker in self._ready()]
        )

    def unlisten(self, name: str) -> None:
        """Let no worker begin with that socket; those that serve left it with its settings."""
        self._force.listeners.pop(name, None)

    # The end

    def stopService(self) -> Deferred[None]:
        """Let all of them drain and end; kill what does not."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._pings.running:
            self._pings.stop()
        if self._answer_again is not None:
            self._answer_again.cancel()
        for place in self._places:
            if place.next_start is not None:
                place.next_start.cancel()
                place.next_start = None
            if place.worker is not None:
                self._enters(place, STOPPING)
        for worker in self._alive():
            if worker.accepts:
                worker.process.call(Drain, seconds=DRAIN_SECONDS).addErrback(lambda _: None)
            else:
                worker.process.kill()  # it has nothing to drain, and may be far from listening
        if not self._alive():
            return
        self._all_ended = Deferred()
        patience = DRAIN_SECONDS + STOP_SECONDS
        self._all_ended.addTimeout(patience, self._clock, lambda *_: None)
        await self._all_ended
        left = self._alive()
        if left:
            self._log.warn(
                "{count} workers did not end within {seconds:g} s and are killed",
                count=len(left),
                seconds=patience,
            )
        for worker in left:
            worker.process.kill()


async def _all(
    workers: Sequence[Follower], seconds: float, command: type[Command], **arguments: Any
) -> list[Any]:
    """Ask all of them; return their answers, or failures, in their order."""
    asked = [worker.ask(seconds, command, **arguments) for worker in workers]
    return [outcome for _, outcome in await DeferredList(asked, consumeErrors=True)]
