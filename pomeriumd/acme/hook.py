"""
The program that makes and removes DNS records.

It is called with ``present`` or ``cleanup``, the record's name with a dot at its end, and the
value: as lego calls one. No shell sees them. It is bounded in time, and in what it says.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from pomeriumd.acme.problems import HOOK, AcmeError

PRESENT, CLEANUP = "present", "cleanup"

SECONDS = 180.0
"""For one call: it returns when name servers have the record, which takes some providers two
minutes."""

LARGEST_SAID = 4096
"""Bytes of what it says that are kept, the last ones."""

_NAME = re.compile(r"_acme-challenge\.[a-z0-9_][a-z0-9._-]{0,250}\.")
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


@attrs.define(eq=False)
class Hook:
    """
    Calls the program.

    Args:
        reactor: with processes and time.
        program: its path, from the root.
        environment: of its process.
    """

    _reactor: Any
    _program: str
    _environment: Mapping[str, str] = attrs.field(repr=False)

    def run(self, what: str, name: str, value: str) -> Deferred[None]:
        """
        Have a record made or removed.

        Args:
            what: PRESENT or CLEANUP.
            name: of the TXT record, with a dot at its end.
            value: what it is to say.

        Returns:
            A Deferred that fires when the program has ended well, and fails with AcmeError when
            it has not, or not in time.
        """
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise AcmeError("the authority asks for a record that no name is like", HOOK)
        call = _Call(self._program, what, name)
        try:
            call.start(self._reactor, [self._program, what, name, value], self._environment)
        except OSError as error:
            call.give_up(f"cannot be started: {error.strerror}")
        return call.result


class _Call(ProcessProtocol):
    """One call."""

    def __init__(self, program: str, what: str, name: str) -> None:
        self.result: Deferred[None] = Deferred(lambda _: self._kill())
        self._who = f"autocert_dns_hook {ascii(program)[1:-1]} {what} {name}"
        self._said = bytearray()
        self._limit: Any = None
        self._told = False

    def start(self, reactor: Any, words: list[str], environment: Mapping[str, str]) -> None:
        """Start it; raise OSError."""
        # Neither uid, gid nor path: Twisted forks for those, and a fork of a process with
        # threads may stop for ever.
        reactor.spawnProcess(self, words[0], words, env=dict(environment))
        self._limit = reactor.callLater(SECONDS, self._too_long)

    def connectionMade(self) -> None:
        """Have nothing to say."""
        if self.transport is not None:
            self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep the last of what it says."""
        self._said += data
        del self._said[:-LARGEST_SAID]

    def processExited(self, reason: Failure) -> None:
        """Tell how it ended; what it has left behind may hold the pipes for as long as it likes."""
        code = getattr(reason.value, "exitCode", None)
        if code == 0:
            self._tell(None)
            return
        number = getattr(reason.value, "signal", None)
        self.give_up(f"ended with status {code}" if number is None else f"was killed by {number}")

    def processEnded(self, reason: Failure) -> None:
        """Know that all is heard."""

    def give_up(self, how: str) -> None:
        """Tell that it came to nothing."""
        said = self._said.decode("utf-8", "backslashreplace").strip()
        words = "; it said nothing" if not said else f": {ascii(said)[1:-1][-800:]}"
        self._tell(AcmeError(f"{self._who} {how}{words}", HOOK))

    def _tell(self, error: AcmeError | None) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        if self._told:
            return
        self._told = True
        if self.transport is not None:
            self.transport.loseConnection()
        if error is None:
            self.result.callback(None)
        else:
            self.result.errback(error)

    def _too_long(self) -> None:
        self._kill()
        self.give_up(f"took longer than {SECONDS:g} s and was killed")

    def _kill(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
