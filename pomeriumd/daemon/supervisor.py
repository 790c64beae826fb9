"""
The workers: started with the one listening socket, watched, replaced.

Nothing of a request passes through here. A worker that dies takes its own connections with it
and nobody else's: the others accept from the same socket, and what waits in its queue waits on.

A worker is believed to live as long as it answers; how long it may be silent is counted in
rounds of questions and not in seconds. A supervisor that stood still itself (a closed lid, a
debugger) reads the answers that have come before it asks again, and kills nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from pomeriumd.daemon.listeners import Listener
from pomeriumd.daemon.messages import (
    CannotServe,
    Discard,
    Drain,
    Listen,
    Ping,
    Prepare,
    Serve,
    SignedOut,
)
from pomeriumd.daemon.servants import (
    DRAIN_SECONDS,
    RESTING,
    SERVING,
    STARTING,
    STOPPING,
    Seat,
)
from pomeriumd.daemon.worker_process import ENDED_WELL, GONE

PING_SECONDS = 1.0
"""Between two questions."""

SILENT_ROUNDS = 5
"""Questions without an answer after which a worker is replaced. One that is merely busy answers
between two turns of its loop, which take milliseconds."""

SHORTEST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds before a worker is started whose predecessor died young; doubled each time."""

LONG_LIFE = 60.0
"""Seconds of service after which a death is no sign that the next one dies, too."""

PREPARE_SECONDS = 60.0
"""For building a generation; ten thousand routes take a few."""

SERVE_SECONDS = 10.0
"""For taking one that is built into use."""

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


class Process(Protocol):
    """A worker as a process; ``worker_process.Process`` is one."""

    number: int
    """Of its place."""
    pid: int

    def call(self, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """Ask it to do something; fails with one of ``GONE`` when it has died."""

    def kill(self) -> None:
        """End it at once."""


@attrs.define(eq=False)
class Place:
    """A place for a worker, and the one that has it now."""

    number: int
    state: str = RESTING
    """As in a ``Seat``, as what follows."""
    since: float = 0.0
    restarts: int = 0
    generation: int = 0
    process: Process | None = None
    silent: int = 0
    """Questions that it has not answered."""
    young_deaths: int = 0
    served_from: float = 0.0
    """Seconds of the clock."""
    next_start: IDelayedCall | None = None


Step = Callable[["Place", Process], Awaitable[None]]

Ended = Callable[[Process, str], None]
"""Is told that a process has ended, and how."""

SignedOutAt = Callable[[Process, str], None]
"""Is told that a process has signed out a session."""

Start = Callable[[int, Ended, SignedOutAt], Process]
"""Starts a process for a place. Raises OSError if the system has none."""


@attrs.define(eq=False, kw_only=True)
class Supervisor(Service):
    """
    All workers of this daemon.

    Args:
        count: how many.
        start: see ``Start``.
        clock: for waiting.
        now: seconds since the epoch.
    """

    _count: int
    _start: Start
    _clock: Any
    _now: Callable[[], float]
    _places: list[Place] = attrs.field(init=False)
    restarts: Counter[str] = attrs.field(init=False)
    """How many were replaced, by the reason; the usual ones are there from the start, or an alert
    would miss the first of each."""
    _listeners: dict[str, Listener] = attrs.field(factory=dict, init=False)
    _present: tuple[int, int] = attrs.field(default=(0, -1), init=False)
    """The generation in force: its number, and the descriptor of its content."""
    _pings: LoopingCall = attrs.field(init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _all_serve: Deferred[None] = attrs.field(factory=Deferred, init=False)
    _all_ended: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._places = [Place(number) for number in range(self._count)]
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
        self._present = number, content
        self._listeners.update(listeners)
        for place in self._places:
            self._fill(place)
        self._pings.start(PING_SECONDS, now=False)
        return self._all_serve

    def _fill(self, place: Place) -> None:
        place.next_start = None
        place.silent = place.generation = 0
        self._enters(place, STARTING)
        try:
            place.process = self._start(place.number, self._ended, self._signed_out)
        except OSError as error:
            self._log.error(
                "worker {number} cannot be started: {why}; is there memory and room for another"
                " process (ulimit -u)?",
                number=place.number,
                why=str(error),
            )
            self._died(place, NOT_STARTED)
            return
        Deferred.fromCoroutine(self._bring_up(place, place.process))

    async def _bring_up(self, place: Place, process: Process) -> None:
        """Bring a new worker to where the others are."""
        if not await self._try(place, process, self._enter):
            return
        if place.process is process and place.state == STARTING:
            self._enters(place, SERVING)
            place.served_from = self._clock.seconds()
            self._log.info("worker {number} serves", number=place.number, pid=process.pid)
            if not self._all_serve.called and all(p.state == SERVING for p in self._places):
                self._all_serve.callback(None)

    async def _try(self, place: Place, process: Process, step: Step) -> bool:
        """Take a step with a worker; one that cannot is replaced."""
        try:
            await step(place, process)
        except GONE:
            return False  # whoever is told of its end sees to the rest
        except Exception as error:  # noqa: BLE001  # whatever it is: this one will not serve
            self._log.error(
                "worker {number} cannot serve: {why}; it is started anew",
                number=place.number,
                pid=process.pid,
                why=str(error) or type(error).__name__,
            )
            process.kill()
            return False
        return True

    async def _enter(self, place: Place, process: Process) -> None:
        await self._catch_up(place, process)
        given: dict[str, Listener] = {}
        while given != self._listeners:  # one may be replaced meanwhile
            for name, listener in tuple(self._listeners.items()):
                if given.get(name) is not listener:
                    await self._within(SERVE_SECONDS, process.call(Listen, **_named(listener)))
                    given[name] = listener

    async def _catch_up(self, place: Place, process: Process) -> None:
        # The generation may be another one when this one is built.
        while place.generation != self._present[0]:
            number, content = self._present
            await self._within(
                PREPARE_SECONDS, process.call(Prepare, number=number, content=content)
            )
            await self._within(SERVE_SECONDS, process.call(Serve, number=number))
            place.generation = number

    def _within(self, seconds: float, waiting: Deferred[Any]) -> Deferred[Any]:
        def late(_: object, __: float) -> Failure:
            return Failure(CannotServe(f"no answer within {seconds:g} s"))

        return waiting.addTimeout(seconds, self._clock, late)

    def _ended(self, process: Process, how: str) -> None:
        place = self._places[process.number]
        if place.process is not process:
            return
        place.process = None
        if self._stopping:
            self._enters(place, RESTING)
            if self._all_ended is not None and not self._alive():
                self._all_ended.callback(None)
            return
        self._died(place, SILENT if place.silent > SILENT_ROUNDS else how, process.pid)

    def _died(self, place: Place, how: str, pid: int = 0) -> None:
        served = place.state == SERVING
        lived = self._clock.seconds() - place.served_from if served else 0.0
        place.young_deaths = 0 if lived >= LONG_LIFE else place.young_deaths + 1
        # One death is no pattern, if it had served: nobody waits for the next one.
        seconds = rest(place.young_deaths - 1 if served else place.young_deaths)
        self._enters(place, RESTING)
        place.restarts += 1
        self.restarts[how] += 1
        if how == ENDED_WELL:
            self._log.info("worker {number} was told to end and is replaced", number=place.number)
        else:
            self._log.error(
                "worker {number} is gone: {how}; its connections are lost, the other workers go"
                " on and the next one starts in {seconds:g} s",
                number=place.number,
                pid=pid,
                how=how,
                seconds=seconds,
            )
        place.next_start = self._clock.callLater(seconds, self._fill, place)

    def _ask_all(self) -> None:
        for place in self._places:
            process = place.process
            if process is None or place.state != SERVING:
                continue
            place.silent += 1
            if place.silent > SILENT_ROUNDS:
                self._log.error(
                    "worker {number} has not answered for {count} rounds and is replaced",
                    number=place.number,
                    pid=process.pid,
                    count=SILENT_ROUNDS,
                )
                process.kill()
                continue
            process.call(Ping).addCallbacks(
                lambda _, place=place, process=process: self._answered(place, process),
                lambda _: None,
            )

    def _answered(self, place: Place, process: Process) -> None:
        if place.process is process:
            place.silent = 0

    def _enters(self, place: Place, state: str) -> None:
        place.state, place.since = state, self._now()

    @property
    def seats(self) -> Sequence[Seat]:
        """Return all places, for who looks at them from outside."""
        return [
            Seat(
                number=place.number,
                pid=0 if place.process is None else place.process.pid,
                state=place.state,
                since=place.since,
                restarts=place.restarts,
                generation=place.generation,
            )
            for place in self._places
        ]

    def _alive(self) -> list[Process]:
        return [place.process for place in self._places if place.process is not None]

    def _signed_out(self, process: Process, session: str) -> None:
        """Tell all but the one who told us."""
        for other in self._alive():
            if other is not process:
                other.call(SignedOut, session=session).addErrback(lambda _: None)

    # What a reload asks for: ``reload.Servants``

    async def prepare(self, number: int, content: int) -> None:
        """
        Have a generation built by all that serve.

        Where none does there is nobody to ask: the next ones begin with it.

        Raises:
            CannotServe: one of them cannot, or all of them died of it.
        """
        outcomes = await self._tell(Prepare, PREPARE_SECONDS, number=number, content=content)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        for failure in failed:
            if not failure.check(*GONE):
                raise failure.value or CannotServe("no reason given")
        if failed and len(failed) == len(outcomes):
            raise CannotServe("every worker died while it built them; see the log before this")

    async def serve(self, number: int, content: int) -> None:
        """Take a generation into use that was prepared; who cannot is replaced."""
        self._present = number, content
        serving = self._serving()
        outcomes = await self._tell(Serve, SERVE_SECONDS, number=number)
        for place, outcome in zip(serving, outcomes, strict=True):
            if not isinstance(outcome, Failure):
                place.generation = number
            elif place.process is not None:
                # It began to serve after the others had prepared.
                Deferred.fromCoroutine(self._try(place, place.process, self._catch_up))

    async def discard(self, number: int) -> None:
        """Forget a generation that was prepared."""
        await self._tell(Discard, SERVE_SECONDS, number=number)

    async def listen(self, listener: Listener) -> None:
        """Accept from a socket, in place of the one of the same name."""
        self._listeners[listener.name] = listener
        await self._tell(Listen, SERVE_SECONDS, **_named(listener))

    def _serving(self) -> list[Place]:
        return [p for p in self._places if p.state == SERVING and p.process is not None]

    async def _tell(self, command: type[Command], seconds: float, **arguments: Any) -> list[Any]:
        """Ask all that serve; return their answers, or failures, in the order of the places."""
        asked = [
            self._within(seconds, place.process.call(command, **arguments))
            if place.process is not None
            else Deferred()
            for place in self._serving()
        ]
        return [outcome for _, outcome in await DeferredList(asked, consumeErrors=True)]

    # The end

    def stopService(self) -> Deferred[None]:
        """Let all of them drain and end; kill what does not."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._pings.running:
            self._pings.stop()
        for place in self._places:
            if place.next_start is not None:
                place.next_start.cancel()
                place.next_start = None
        for place in self._places:
            if place.process is not None:
                self._enters(place, STOPPING)
                place.process.call(Drain, seconds=DRAIN_SECONDS).addErrback(lambda _: None)
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
        for process in left:
            process.kill()


def _named(listener: Listener) -> dict[str, Any]:
    return {"name": listener.name, "socket": listener.socket.fileno()}
