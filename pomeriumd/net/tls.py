"""
TLS on the socket itself.

``twisted.protocols.tls`` copies every byte through two memory BIOs; here OpenSSL reads
and writes the non-blocking socket, and what it waits for becomes the reactor's interest.
That saves 10 to 20 µs of some 56 a request.

A protocol is built when its handshake is complete, and learns how the other side ended:
``ConnectionDone`` after a close_notify, ``ConnectionLost`` when the stream just broke off.
Which certificate answers to which name is ``contexts``' business.
"""

from __future__ import annotations

import socket
from typing import Any, ClassVar
from typing import Protocol as Shape

from cryptography.x509 import Certificate
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from twisted.internet import abstract, main
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.net.client_certificates import Asked, Unproved, shown
from pomeriumd.net.contexts import VALIDATION, NoCommonProtocol
from pomeriumd.net.transport import FLUSH_SECONDS, Accepted, Listener, SocketAddress

RECORD_SIZE = 16_384
"""Bytes that one TLS record holds at most (RFC 8446, 5.1): reading this much empties it,
so that OpenSSL never sits on bytes that the reactor does not know of."""

TURN_SIZE = 65_536
"""Bytes read from one connection before the others have their turn."""

PLAIN_HTTP = "http request"
"""What OpenSSL calls a first record that looks like HTTP."""

_BUFFER = ffi.new("char[]", RECORD_SIZE)
"""Every read goes here first: there is one thread, and it copies before it reads again."""

_SEEN = ffi.buffer(_BUFFER, RECORD_SIZE)

_SORRY = b"This port speaks TLS only. Use https:// in the address.\n"

PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n%s" % (len(_SORRY), _SORRY)
)
"""For a client that speaks HTTP where TLS is wanted; nothing of its request stands in it."""


class Contexts(Shape):
    """Gives the context that a handshake begins with."""

    def base(self) -> SSL.Context:
        """Return it; its servername callback puts another in its place."""

    def begin(self, connection: SSL.Connection) -> None:
        """Let the handshake of a connection with the base context go by this store."""


class TLSListener(Listener, Shape):
    """What a connection with TLS needs of the port that accepted it."""

    handshake_seconds: float
    """From the accepted socket to the complete handshake."""
    store: Contexts

    def not_shaken(self) -> None:
        """Learn that a handshake failed."""


class Connection(Asked):
    """
    pyOpenSSL's connection, without what its two calls for each request do in vain.

    It makes a new 16 KiB buffer for each read, and asks OpenSSL what went wrong after calls
    that went well: a third of what TLS costs here. The private attributes are pinned by a
    test.
    """

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Return what one record holds, at most ``RECORD_SIZE`` bytes; raise as SSL does."""
        size = lib.SSL_read(self._ssl, _BUFFER, min(bufsiz, RECORD_SIZE))
        if size <= 0:
            self._raise_ssl_error(self._ssl, size)
        octets: bytes = _SEEN[:size]
        return octets

    def send(self, buf: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]  # takes fewer types
        """Send one record, and return how many bytes it took; raise as SSL does."""
        octets = buf if type(buf) is bytes else ffi.from_buffer(buf)
        size: int = lib.SSL_write(self._ssl, octets, len(buf))
        if size <= 0:
            self._raise_ssl_error(self._ssl, size)
        return size


class TLSServer(Accepted):
    """
    A connection from a client, with TLS.

    OpenSSL may need to write in order to read (a key update that is to be answered) and
    the other way round. Then the interest that would spin is taken away until the other
    one has been met; the four methods that register interest know of it.
    """

    secure = True
    listener: TLSListener
    _log: ClassVar[Logger] = Logger()
    _open = False
    """The handshake is complete."""
    _held = False
    """The protocol does not want to read at the moment."""
    _read_wants_write = False
    _write_wants_read = False
    _our_goodbye = False
    """Our close_notify is out."""
    _their_goodbye = False

    def __init__(
        self,
        skt: socket.socket,
        client: SocketAddress,
        listener: TLSListener,
        number: int,
        reactor: IReactorFDSet,
    ) -> None:
        store = listener.store
        self._tls = Connection(store.base(), skt)
        store.begin(self._tls)
        self._tls.set_accept_state()
        _one_record_a_call(self._tls)
        super().__init__(skt, client, listener, number, reactor)

    def begin(self) -> None:
        """Wait for the client's hello, and not for ever."""
        self._wait(self.listener.handshake_seconds)

    def peer_certificate(self) -> Certificate | None:
        """Return the certificate that the client showed, if any and while connected."""
        if not self.connected:
            return None
        return self._tls.get_peer_certificate(as_cryptography=True)

    # The handshake

    def _shake(self) -> ConnectionLost | ConnectionDone | None:
        try:
            self._tls.do_handshake()
            self.shown = shown(self._tls)
        except SSL.WantReadError:
            self.stopWriting()
            self.startReading()
            return None
        except SSL.WantWriteError:
            self.stopReading()
            self.startWriting()
            return None
        except (SSL.Error, NoCommonProtocol, Unproved) as error:
            return self._refuse(error)
        return self._shaken()

    def _shaken(self) -> ConnectionLost | ConnectionDone | None:
        self._open = True
        self._settle()
        tls = self._tls
        # The store was for the handshake: a connection outlives many of them.
        tls.set_app_data(None)
        name = (tls.get_servername() or b"").lower().removesuffix(b".")
        self.server_name = name or None
        self.negotiatedProtocol = tls.get_alpn_proto_negotiated() or None
        self.stopWriting()
        self.startReading()
        super().begin()
        if self.negotiatedProtocol == VALIDATION:
            # The handshake was all. RFC 8737 section 3.
            self.loseConnection()
            return None
        # The first request often came with the end of the handshake.
        if self.connected and not (self.disconnecting or self._held or self._aborting):
            return self._receive()
        return None

    def _refuse(self, error: Exception) -> ConnectionLost | ConnectionDone | None:
        why = _reason(error)
        if self._tls.turned_away:
            self.listener.not_shaken()
            self._log.info(
                "turned away {client}: {why} (reject_connection)",
                client=self.hostname,
                why=self._tls.turned_away,
            )
        else:
            self._count(why)
        if why != PLAIN_HTTP:
            return main.CONNECTION_LOST
        try:
            self.socket.send(PLAIN_HTTP_ANSWER)
        except OSError:
            return main.CONNECTION_LOST
        self.disconnecting = 1
        self.stopWriting()
        return super()._postLoseConnection()

    def _count(self, why: str) -> None:
        self.listener.not_shaken()
        self._log.debug("no TLS with {client}: {why}", client=self.hostname, why=why)

    def overdue(self) -> None:
        """Hang up on a handshake that takes too long; or on a close that does."""
        if not self._open and not self.disconnecting:
            self._settle()
            self._count("not complete in time")
            self.abortConnection()
        else:
            super().overdue()

    # Reading

    def doRead(  # type: ignore[override]  # abortConnection() puts another in its place
        self,
    ) -> ConnectionLost | ConnectionDone | None:
        """Go on with the handshake, or read what is there for the protocol."""
        if self._lingering:
            return self._discard()
        if not self._open:
            return self._shake()
        if self._write_wants_read:
            self._write_wants_read = False
            self.startWriting()
            if self._held or self.disconnecting:
                self.stopReading()
                return None
        return self._receive()

    def _receive(self) -> ConnectionLost | ConnectionDone | None:
        try:
            octets = self._tls.recv(RECORD_SIZE)
        except SSL.Error as error:
            return self._unread(error)
        why = None
        # A shorter one was the whole record.
        if len(octets) == RECORD_SIZE:
            octets, why = self._more(octets)
        self.protocol.dataReceived(octets)
        return why

    def _more(self, octets: bytes) -> tuple[bytes, ConnectionLost | ConnectionDone | None]:
        """Return these bytes and what follows them, as much as one turn may take."""
        tls, pieces, size = self._tls, [octets], len(octets)
        why = None
        try:
            while len(pieces[-1]) == RECORD_SIZE and size < TURN_SIZE:
                pieces.append(tls.recv(RECORD_SIZE))
                size += len(pieces[-1])
        except SSL.Error as error:
            why = self._unread(error)
        return b"".join(pieces), why

    def _unread(self, error: SSL.Error) -> ConnectionLost | ConnectionDone | None:
        """Say what a read that gave nothing means; None is to wait."""
        if isinstance(error, SSL.WantReadError):
            return None
        if isinstance(error, SSL.WantWriteError):
            self.stopReading()
            self._read_wants_write = True
            self.startWriting()
            return None
        if isinstance(error, SSL.ZeroReturnError):
            self._their_goodbye = True
            return main.CONNECTION_DONE
        self._log.debug("TLS with {client} broke: {why}", client=self.hostname, why=_reason(error))
        return main.CONNECTION_LOST

    # Writing

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """
        Return how many bytes went out, or that the connection is lost.

        OpenSSL sends one record a call, and keeps one that the socket did not take: the
        next call must come with the same bytes. They stand at the head of the queue.
        """
        tls, size, sent = self._tls, len(data), 0
        try:
            if size <= RECORD_SIZE:
                return tls.send(data) if size else 0
            view = memoryview(data)
            most = min(size, self.SEND_LIMIT)
            while sent < most:
                sent += tls.send(view[sent : sent + RECORD_SIZE])
        except SSL.WantWriteError:
            pass
        except SSL.WantReadError:
            self.stopWriting()
            self._write_wants_read = True
            self.startReading()
        except SSL.Error:
            self._broken = True
            return sent or main.CONNECTION_LOST
        return sent

    def doWrite(self) -> Any:
        """Go on with what waited for room: the handshake, a read, the queue."""
        if not self._open:
            return None if self._lingering else self._shake()
        if self._read_wants_write:
            self._read_wants_write = False
            if not (self._held or self.disconnecting):
                self.startReading()
                why = self._receive()
                if why is not None or not self.connected or self._aborting:
                    return why
        return abstract.FileDescriptor.doWrite(self)

    # Interest

    def startReading(self) -> None:
        """Wait for input, unless a read waits for room."""
        if not self._read_wants_write:
            super().startReading()

    def stopReading(self) -> None:
        """Wait for input no more, unless a write waits for it."""
        if not self._write_wants_read:
            super().stopReading()

    def startWriting(self) -> None:
        """Wait for room, unless a write waits for input."""
        if not self._write_wants_read:
            super().startWriting()

    def stopWriting(self) -> None:
        """Wait for room no more, unless a read waits for it."""
        if not self._read_wants_write:
            super().stopWriting()

    def pauseProducing(self) -> None:
        """Stop reading for the protocol."""
        self._held = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Read for the protocol again."""
        self._held = False
        super().resumeProducing()

    # The end

    def _goodbye(self) -> bool:
        """Send our close_notify; False is that there was no room for it yet."""
        if not self._our_goodbye:
            try:
                self._tls.shutdown()
            except SSL.WantWriteError:
                return False
            except SSL.Error:
                pass  # nobody is there to hear it
            self._our_goodbye = True
        return True

    def _postLoseConnection(self) -> ConnectionDone | None:
        if not (self._lingering or self._goodbye()):
            # doWrite() comes back here, since nothing else is left to write.
            self.stopReading()
            self._wait(FLUSH_SECONDS)
            self.startWriting()
            return None
        return super()._postLoseConnection()

    def _closeWriteConnection(self) -> None:
        if self._goodbye():
            super()._closeWriteConnection()
        else:
            self.startWriting()

    def connectionLost(self, reason: Failure) -> None:
        """Answer a close_notify with ours; and call nothing clean that was not."""
        if self.disconnected:
            return
        if reason.check(ConnectionDone) and self._open:
            if self._their_goodbye or self._lingering:
                self._goodbye()
            else:
                reason = Failure(main.CONNECTION_LOST)
        self._read_wants_write = self._write_wants_read = False
        # OpenSSL knows the socket by its number, which the next connection will have.
        del self._tls
        super().connectionLost(reason)


def _one_record_a_call(tls: SSL.Connection) -> None:
    """
    Let a read return after a record that carries no data of ours.

    By default (and pyOpenSSL sees to it) OpenSSL reads on until there is data: one client
    that sends key updates as fast as it can keeps the whole process inside one read, for
    as long as it likes. Measured: two seconds of it stopped everybody for two seconds.
    pyOpenSSL has no public way to say so.
    """
    lib.SSL_clear_mode(tls._ssl, lib.SSL_MODE_AUTO_RETRY)  # noqa: SLF001  # see above


def _reason(error: Exception) -> str:
    """Return what OpenSSL says went wrong, without its source places."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1])
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    return str(error) or type(error).__name__
