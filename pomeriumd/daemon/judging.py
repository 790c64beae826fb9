"""
One look at every stream: those that may not go on are cut.

Answers that have to be waited for are waited for together, a bounded number at once and until
a moment before the next look. What has not been answered by then is undecided this time. What
could not even be asked comes first the next time, so that questions that nobody answers keep
nobody else from theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pomeriumd.access.decision import UNDECIDED, Decision, explain
from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.errors import StreamEnded, Undecided
from pomeriumd.net.exchange import Exchange
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.elsewhere import DECIDED
from pomeriumd.proxy.generation import Generation
from pomeriumd.proxy.streams import Claim, claim, judge, undecided
from pomeriumd.session.session import Session

FEW = 32
"""Streams decided in one piece of the work, some 10 µs each."""

AT_ONCE = 32
"""Answers that are waited for at once."""

ANSWER_SECONDS = 1.0
"""For all answers of one look together: a look has to be over when the next one begins."""


@attrs.define(eq=False, kw_only=True)
class Judging:
    """
    One look.

    ``left`` is how many streams it let go on; ``unreached`` are those of them that there was no
    time to ask about.

    Args:
        here: the generation in force.
        now: seconds since the epoch.
        clock: for pieces and patience; exchanges have their times by it.
        every: seconds from the beginning of one look to that of the next.
        freshest: by its id, the session that was confirmed last.
        signed_out: ids of sessions that are over.
        end: cuts a stream.
    """

    _here: Generation
    _now: Callable[[], float]
    _clock: IReactorTime
    _every: float
    _freshest: Mapping[str, Session]
    _signed_out: frozenset[str]
    _end: Callable[[Exchange, StreamEnded], None]
    left: int = attrs.field(default=0, init=False)
    unreached: list[Exchange] = attrs.field(factory=list, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _asking: dict[Exchange, Deferred[None]] = attrs.field(factory=dict, init=False)
    _room: Deferred[None] | None = attrs.field(default=None, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _late: bool = attrs.field(default=False, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _log = Logger()

    async def look(self, streams: list[Exchange]) -> None:
        """Decide them all; whoever cancels this leaves the rest as they are."""
        rest, self._began = iter(streams), self._clock.seconds()
        try:
            while await in_pieces(self._judging(rest), self._clock) or self._asking:
                if self._asking:
                    self._room = Deferred()
                    await self._room
        finally:
            self._over, self._room = True, None
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            for answer in tuple(self._asking.values()):
                answer.cancel()

    def _judging(self, rest: Iterator[Exchange]) -> Pieces[bool]:
        """Judge until there is no room for another question; say whether that was the reason."""
        if len(self._asking) >= AT_ONCE:
            return True
        for count, stream in enumerate(rest, 1):
            if not stream.over:
                self._judge(stream)
            if len(self._asking) >= AT_ONCE:
                return True
            if not count % FEW:
                yield
        return False

    def _judge(self, stream: Exchange) -> None:
        try:
            claimed = claim(stream, self._here, self._now(), self._freshest, self._signed_out)
            if isinstance(claimed, StreamEnded):
                self._end(stream, claimed)
            elif self._late:
                self.unreached.append(stream)
                self._unanswered(stream, claimed)
            else:
                authorizer = self._here.authorizer
                decision = authorizer.decide(claimed.route, claimed.known, claimed.certificate)
                if isinstance(decision, DECIDED):
                    self._decided(stream, claimed, decision, certain=authorizer.heard)
                else:
                    self._ask(stream, claimed, decision)
        except Exception:  # noqa: BLE001  # whatever it is: undecided is denied
            self._failed(stream)

    def _ask(self, stream: Exchange, claimed: Claim, decision: Awaitable[Decision]) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(ANSWER_SECONDS, self._give_up)
        answer = Deferred.fromCoroutine(self._answered(stream, claimed, decision))
        if not answer.called:
            self._asking[stream] = answer

    async def _answered(
        self, stream: Exchange, claimed: Claim, decision: Awaitable[Decision]
    ) -> None:
        try:
            self._decided(stream, claimed, await decision, certain=True)
        except (Undecided, CancelledError):
            if not self._over:
                self._unanswered(stream, claimed)
        except Exception:  # noqa: BLE001  # as above
            self._failed(stream)
        self._asking.pop(stream, None)
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def _give_up(self) -> None:
        self._late = True
        for answer in tuple(self._asking.values()):
            answer.cancel()

    def _decided(
        self, stream: Exchange, claimed: Claim, decision: Decision, *, certain: bool
    ) -> None:
        """Go by a decision; ``certain``: it is known to hold at this moment."""
        if stream.over:
            return
        ended = judge(stream, claimed, decision)
        if ended is not None:
            self._end(stream, ended)
            return
        self.left += 1
        stream.route = claimed.route
        if claimed.known is not None:
            stream.known = claimed.known
        if certain:
            stream.again = self._clock.seconds()

    def _unanswered(self, stream: Exchange, claimed: Claim) -> None:
        if stream.over:
            return
        # By the end of the next look: if it was too long by then, it would have to be cut now.
        since = self._began + self._every + ANSWER_SECONDS - (stream.again or stream.began)
        ended = undecided(claimed, since, self._here.authorizer.patience)
        if ended is not None:
            self._end(stream, ended)
            return
        self.left += 1

    def _failed(self, stream: Exchange) -> None:
        self._log.failure(
            "request {request_id} could not be decided again: a bug of ours",
            request_id=stream.id,
        )
        if not stream.over:
            self._end(stream, StreamEnded(explain((UNDECIDED,))[0], (UNDECIDED,)))
