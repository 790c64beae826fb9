"""
A worker as its supervisor knows it: a process, and how far it has followed.

Whoever serves does so under the generation in force, and accepts from the sockets in force. One
that starts gets there step by step, one that serves is told of each change, and one that has
missed something catches up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from pomeriumd.daemon.listeners import Listener
from pomeriumd.daemon.messages import CannotServe, Listen, Ping, Prepare, Serve

PREPARE_SECONDS = 60.0
"""For building a generation; ten thousand routes take a few."""

SERVE_SECONDS = 10.0
"""For taking one that is built into use."""

SILENT_ROUNDS = 5
"""Questions without an answer after which a worker is replaced. One that is merely busy answers
between two turns of its loop, which take milliseconds."""


class Process(Protocol):
    """A worker as a process; ``worker_process.WorkerProcess`` is one."""

    number: int
    """Among those that run; its numbers are kept by it."""
    pid: int
    name: str
    """What the log calls it."""

    def call(self, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """Ask it to do something; fails with one of ``GONE`` when it has died."""

    def kill(self) -> None:
        """End it at once."""


Ended = Callable[[Process, str], None]
"""Is told that a process has ended, and how."""

SignedOutAt = Callable[[Process, str], None]
"""Is told that a process has signed out a session."""


@attrs.define(eq=False)
class InForce:
    """What all of them are to have."""

    generation: int = 0
    content: int = -1
    """Descriptor of the generation's settings."""
    listeners: dict[str, Listener] = attrs.Factory(dict)
    """Where to accept, by name."""


@attrs.define(eq=False)
class Follower:
    """
    One of them.

    Args:
        process: the worker.
        clock: ends its patience.
    """

    process: Process
    _clock: Any
    accepts: bool = False
    """It has a seat: it is to have the sockets, too."""
    generation: int = attrs.field(default=0, init=False)
    """That it serves under."""
    _listeners: dict[str, Listener] = attrs.field(factory=dict, init=False)
    """That it accepts from."""
    _unanswered: int = attrs.field(default=0, init=False)

    async def follow(self, force: InForce) -> None:
        """
        Bring it to where it should be.

        Raises:
            CannotServe: it cannot, or takes too long.
            ConnectionDone, ConnectionLost: (see ``GONE``) it has died.
        """
        # Either may be another one when it has come this far.
        while not self.up_to_date(force):
            if self.generation != force.generation:
                number, content = force.generation, force.content
                await self.ask(PREPARE_SECONDS, Prepare, number=number, content=content)
                await self.ask(SERVE_SECONDS, Serve, number=number)
                self.generation = number
            elif self.accepts:
                for name, listener in tuple(force.listeners.items()):
                    # One that is not wanted any more may be closed already.
                    wanted = force.listeners.get(name) is listener
                    if wanted and self._listeners.get(name) is not listener:
                        socket = listener.socket.fileno()
                        await self.ask(SERVE_SECONDS, Listen, name=name, socket=socket)
                        self._listeners[name] = listener

    def up_to_date(self, force: InForce) -> bool:
        """Return whether it is where it should be."""
        # It may know of more than there are: those ended with the settings that had them.
        return self.generation == force.generation and (
            not self.accepts or force.listeners.items() <= self._listeners.items()
        )

    def ask(self, seconds: float, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """Ask it to do something within so many seconds; late is CannotServe."""

        def late(_: object, __: float) -> Failure:
            return Failure(CannotServe(f"no answer within {seconds:g} s"))

        return self.process.call(command, **arguments).addTimeout(seconds, self._clock, late)

    def ping(self) -> None:
        """Ask it whether it is there."""
        self._unanswered += 1
        self.process.call(Ping).addCallbacks(self._answered, lambda _: None)

    def _answered(self, _: object) -> None:
        self._unanswered = 0

    @property
    def alert(self) -> bool:
        """Return whether it has answered all questions, but for one that it may be at."""
        return self._unanswered <= 1

    @property
    def silent(self) -> bool:
        """Return whether it is to be given up."""
        return self._unanswered >= SILENT_ROUNDS
