"""
The control socket: ``pomeriumd status`` and ``pomeriumd reload`` ask here.

One line of request, one JSON document back, and the end. Who may ask is decided twice: the
file is for our user alone, and the kernel says who has connected.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import orjson
from twisted.application.service import Service
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from pomeriumd.daemon.control_place import NoPlace, free_place

CLIENTS = 8
"""Who may ask at once; an operator, a monitoring agent or two."""

REQUEST_SIZE = 64
"""Bytes of a request; the longest is ``reload``."""

REQUEST_SECONDS = 10.0
"""How long a request may take to come, and its answer to be taken."""

RELOAD_SECONDS = 120.0
"""How long a reload is waited for; 10,000 routes take a few seconds."""

RETRY_SECONDS = 30.0
"""Between two tries for the place; a daemon that is being replaced still answers there."""

LOG_SECONDS = 60.0
"""Between two lines about strangers."""

_CREDENTIALS = struct.Struct("iII")
"""Of SO_PEERCRED: process, user, group. unix(7)."""

Reload = Callable[[], "Deferred[Mapping[str, Any]]"]


def peer_user(transport: Any) -> int:
    """Return the effective user id that the other side had when it connected."""
    octets = transport.getHandle().getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    _, user, _ = _CREDENTIALS.unpack(octets)
    return int(user)


@attrs.define(eq=False)
class Asked(Factory):
    """
    Answers those who connect.

    Args:
        status: makes the document of :mod:`pomeriumd.daemon.status`, ready for JSON.
        reload: asks for a reload, as SIGHUP does, and fires with its ``last_reload`` when it
            has ended, however it ended. Several may ask at once.
        clock: steady.
        user: ours; root and nobody else may ask besides.
        peer: of a transport, its user.
    """

    _status: Callable[[], Mapping[str, Any]]
    _reload: Reload
    clock: IReactorTime
    _user: int
    _peer: Callable[[Any], int] = peer_user
    clients: int = attrs.field(default=0, init=False)
    _quiet_until: float = attrs.field(default=0.0, init=False)
    _log = Logger()
    noisy = False

    def logPrefix(self) -> str:
        """Return what Twisted calls it in the log."""
        return "control socket"

    def buildProtocol(self, addr: object) -> Client:
        """Return what talks to one of them."""
        return Client(self)

    def admits(self, transport: Any) -> bool:
        """Return whether this one may ask; say it, now and then, of those who may not."""
        user = self._peer(transport)
        if user in (0, self._user):
            return True
        now = self.clock.seconds()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            self._log.warn(
                "a process of user {user} may not use the control socket: it is for user {own} "
                "and root",
                user=user,
                own=self._user,
            )
        return False

    def answer(self, request: bytes) -> Deferred[bytes]:
        """Return one line of JSON; an error is one too."""
        return maybeDeferred(self._document, request).addCallback(_line).addErrback(self._failed)

    def _document(self, request: bytes) -> Any:
        if request == b"status":
            return self._status()
        if request == b"reload":
            return self._reload()
        return {"error": "unknown request; want status or reload"}

    def _failed(self, failure: Failure) -> bytes:
        self._log.failure("the control socket could not answer", failure)
        return _line({"error": "the daemon could not answer; its log says why"})


def _line(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(document), option=orjson.OPT_APPEND_NEWLINE)


BUSY = _line({"error": f"{CLIENTS} others are asking just now; try again"})
LATE = _line(
    {
        "error": f"the reload has not ended within {RELOAD_SECONDS:.0f} s; it goes on, and the log "
        "and `pomeriumd status` will tell how it ends"
    }
)


class Client(LineOnlyReceiver):
    """One who asks, once."""

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = REQUEST_SIZE

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._counted = False
        self._heard = False
        self._answered = False
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Let in who may."""
        if not self._asked.admits(self.transport):
            self.transport.abortConnection()
            return
        self._wait(REQUEST_SECONDS, self.transport.abortConnection)
        if self._asked.clients >= CLIENTS:
            self._end(BUSY)
            return
        self._asked.clients += 1
        self._counted = True

    def lineReceived(self, line: bytes) -> None:
        """Answer the first line; there is no second."""
        if self._heard or self._answered:
            return
        self._heard = True
        self._wait(RELOAD_SECONDS, lambda: self._end(LATE))
        self._asked.answer(line).addCallback(self._end)

    def _end(self, line: bytes) -> None:
        # Late, or with nobody there: a reload goes on without those who asked for it.
        if self._answered:
            return
        self._answered = True
        self._wait(REQUEST_SECONDS, self.transport.abortConnection)
        self.transport.write(line)
        self.transport.loseConnection()

    def _wait(self, seconds: float, then: Callable[[], object]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._asked.clock.callLater(seconds, then)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Make room."""
        self._answered = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._counted:
            self._asked.clients -= 1


class ControlPort(unix.Port):
    """A listening socket that takes its own file along when it goes, and no other one."""

    def __init__(self, path: str, factory: Factory, reactor: Any) -> None:
        # Twisted gives the file its mode before it listens: until then nobody can connect.
        super().__init__(os.fsencode(path), factory, CLIENTS, 0o600, reactor)
        self._path = path
        self._own: tuple[int, int] | None = None

    def startListening(self) -> None:
        """
        Bind and listen.

        Raises:
            CannotListenError: the system says no.
        """
        super().startListening()
        self._own = _identity(self._path)

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket. Twisted would fail, and never end, were its file gone already."""
        if self._own is not None and _identity(self._path) == self._own:
            Path(self._path).unlink(missing_ok=True)
        tcp.Port.connectionLost(self, reason)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None


@attrs.define(eq=False)
class Control(Service):
    """
    The control socket, from the start of the services to their end.

    Started when twistd has dropped its privileges, so that the file is the service's user's.
    Where there is no place for it, the log says so once, and it is tried again now and then:
    the daemon serves on, as ``pomeriumd status`` is not worth an outage.

    Args:
        path: absolute; None for no socket at all.
        status: see :class:`Asked`.
        reload: see :class:`Asked`.
        reactor: time and sockets.
    """

    _path: str | None
    _status: Callable[[], Mapping[str, Any]]
    _reload: Reload
    _reactor: Any
    _port: ControlPort | None = attrs.field(default=None, init=False)
    _retry: IDelayedCall | None = attrs.field(default=None, init=False)
    _said: str = attrs.field(default="", init=False)
    _log = Logger()

    def startService(self) -> None:
        """Listen, if there is a place."""
        super().startService()
        if self._path is not None:
            self._try(self._path)

    def _try(self, path: str) -> None:
        self._retry = None
        try:
            self._listen(path)
        except NoPlace as error:
            if str(error) != self._said:
                self._said = str(error)
                self._log.warn(
                    "`pomeriumd status` and `pomeriumd reload` do not work: no control socket at "
                    "{path}: {reason}",
                    path=path,
                    reason=self._said,
                )
            self._retry = self._reactor.callLater(RETRY_SECONDS, self._try, path)
            return
        if self._said:
            self._said = ""
            self._log.info("`pomeriumd status` works again: {path}", path=path)

    def _listen(self, path: str) -> None:
        asked = Asked(self._status, self._reload, self._reactor, os.geteuid())
        port = ControlPort(path, asked, self._reactor)
        with free_place(path):
            try:
                port.startListening()
            except CannotListenError as error:
                raise error.socketError from error
        self._port = port

    def stopService(self) -> Deferred[None] | None:
        """Listen no more, and remove the file."""
        super().stopService()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        port, self._port = self._port, None
        return None if port is None else maybeDeferred(port.stopListening)
