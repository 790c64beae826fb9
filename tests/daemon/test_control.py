"""The control socket: who may ask, what is answered, and that it costs the daemon nothing."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.control import (
    CLIENTS,
    LOG_SECONDS,
    RELOAD_SECONDS,
    REQUEST_SECONDS,
    REQUEST_SIZE,
    RETRY_SECONDS,
    Asked,
    Client,
    Control,
    ControlPort,
)
from tests.support.logged import Logged
from tests.support.sockets import Turns

OURS = 990
STATUS = {"version": "1.0", "workers": []}
GOOD = {"outcome": "good", "changes": ["a route is new"]}


class Wire(StringTransportWithDisconnection):
    """A connection in memory that knows who has made it."""

    user: int = OURS
    aborted = False

    def abortConnection(self) -> None:
        """Be gone at once."""
        self.aborted = True
        self.loseConnection()


class AskedCase(SynchronousTestCase):
    """What answers, with connections in memory."""

    def setUp(self) -> None:
        """Know the status; let reloads end when a test says so."""
        self.clock = Clock()
        self.logged = Logged(self)
        self.reloads: list[Deferred[Mapping[str, Any]]] = []
        self.asked = Asked(self.status, self.reload, self.clock, OURS, lambda wire: wire.user)

    def status(self) -> Mapping[str, Any]:
        """Return what is known."""
        return STATUS

    def reload(self) -> Deferred[Mapping[str, Any]]:
        """Begin one."""
        self.reloads.append(Deferred())
        return self.reloads[-1]

    def connect(self, user: int = OURS) -> tuple[Client, Wire]:
        """Let somebody connect."""
        wire = Wire()
        wire.user = user
        client = self.asked.buildProtocol(None)
        wire.protocol = client
        client.makeConnection(wire)
        return client, wire

    def ask(self, request: bytes, user: int = OURS) -> Any:
        """Return the document that is answered; None if nothing is."""
        client, wire = self.connect(user)
        if wire.connected:
            client.dataReceived(request)
        return self.answered(wire)

    def answered(self, wire: Wire) -> Any:
        """Return what one has been told."""
        octets = wire.value()
        if not octets:
            return None
        self.assertTrue(octets.endswith(b"\n"))
        self.assertFalse(wire.connected)
        return json.loads(octets)


class RequestTests(AskedCase):
    """One line of request, one document, and the end."""

    def test_status(self) -> None:
        """The status as the daemon gives it."""
        self.assertEqual(self.ask(b"status\n"), STATUS)

    def test_reload_waits_for_its_end(self) -> None:
        """Nothing is answered before the reload has ended, and then how."""
        client, wire = self.connect()
        client.dataReceived(b"reload\n")
        self.assertIsNone(self.answered(wire))
        self.reloads[0].callback(GOOD)
        self.assertEqual(self.answered(wire), GOOD)

    def test_a_line_in_pieces(self) -> None:
        """A request may come octet by octet."""
        client, wire = self.connect()
        for octet in b"status\n":
            client.dataReceived(bytes([octet]))
        self.assertEqual(self.answered(wire), STATUS)

    def test_only_the_first_line_counts(self) -> None:
        """What comes behind it is not obeyed."""
        self.assertEqual(self.ask(b"status\nreload\n"), STATUS)
        self.assertEqual(self.reloads, [])

    def test_nothing_more_while_one_waits(self) -> None:
        """Nor while a reload goes on."""
        client, _ = self.connect()
        client.dataReceived(b"reload\nreload\n")
        client.dataReceived(b"reload\n")
        self.assertEqual(len(self.reloads), 1)

    @given(st.binary(max_size=REQUEST_SIZE).filter(lambda octets: b"\n" not in octets))
    def test_nonsense(self, request: bytes) -> None:
        """Whatever is no request is told so, and does nothing."""
        if request not in (b"status", b"reload"):
            said = self.ask(request + b"\n")
            self.assertEqual(said, {"error": "unknown request; want status or reload"})
        self.assertEqual((self.reloads, self.asked.clients), ([], 0))

    def test_a_status_that_fails(self) -> None:
        """A fault of ours is said to be one, and is in the log."""
        self.asked = Asked(lambda: 1 / 0, self.reload, self.clock, OURS, lambda wire: wire.user)  # type: ignore[arg-type,return-value]
        self.assertEqual(
            self.ask(b"status\n"), {"error": "the daemon could not answer; its log says why"}
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_reload_that_fails(self) -> None:
        """So is one of the reload itself."""
        client, wire = self.connect()
        client.dataReceived(b"reload\n")
        self.reloads[0].errback(OSError("no"))
        self.assertIn("its log says why", self.answered(wire)["error"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class BoundsTests(AskedCase):
    """Nobody who asks can hold anything for long."""

    def test_a_request_that_does_not_come(self) -> None:
        """Who says nothing is gone after a while, and so is who says half."""
        for half in (b"", b"stat"):
            client, wire = self.connect()
            client.dataReceived(half)
            self.clock.advance(REQUEST_SECONDS)
            self.assertTrue(wire.aborted)
            self.assertEqual(self.asked.clients, 0)

    def test_a_request_without_end(self) -> None:
        """More than a request can be ends the connection."""
        client, wire = self.connect()
        client.dataReceived(b"a" * (REQUEST_SIZE + 1))
        self.assertFalse(wire.connected)

    def test_an_answer_that_nobody_takes(self) -> None:
        """It is waited for as long as for a request."""
        client, wire = self.connect()
        wire.loseConnection = lambda: None  # type: ignore[method-assign]  # there is more to send
        client.dataReceived(b"status\n")
        del wire.loseConnection
        self.clock.advance(REQUEST_SECONDS)
        self.assertTrue(wire.aborted)

    def test_a_reload_without_end(self) -> None:
        """Who waits for it is told to look at the log; how it ends then hurts nobody."""
        client, wire = self.connect()
        client.dataReceived(b"reload\n")
        self.clock.advance(RELOAD_SECONDS)
        self.assertIn("has not ended within 120 s", self.answered(wire)["error"])
        self.reloads[0].callback(GOOD)
        self.assertIn("has not ended", self.answered(wire)["error"])

    def test_a_reload_whose_asker_went(self) -> None:
        """It goes on, and nothing is left of who asked."""
        client, wire = self.connect()
        client.dataReceived(b"reload\n")
        wire.loseConnection()
        self.reloads[0].callback(GOOD)
        self.assertEqual((wire.value(), self.asked.clients), (b"", 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_many_at_once(self) -> None:
        """One more is told to try again; when one has left there is room."""
        wires = [self.connect()[1] for _ in range(CLIENTS)]
        _, wire = self.connect()
        self.assertEqual(self.answered(wire), {"error": "8 others are asking just now; try again"})
        wires[0].loseConnection()
        self.assertEqual(self.ask(b"status\n"), STATUS)

    def test_no_timer_is_left(self) -> None:
        """Whoever has been answered leaves nothing behind."""
        self.ask(b"status\n")
        self.assertEqual((self.clock.getDelayedCalls(), self.asked.clients), ([], 0))


class PeerTests(AskedCase):
    """Our user and root ask, and nobody else."""

    def test_who_may(self) -> None:
        """Ours and root are answered."""
        for user in (OURS, 0):
            self.assertEqual(self.ask(b"status\n", user), STATUS)

    def test_who_may_not(self) -> None:
        """Any other is cut before it has said a word, and takes nobody's place."""
        for user in (1, OURS - 1, OURS + 1, 65534, 2**32 - 1):
            _, wire = self.connect(user)
            self.assertTrue(wire.aborted)
            self.assertEqual((wire.value(), self.asked.clients), (b"", 0))

    def test_said_once_a_minute(self) -> None:
        """A stranger who tries all day fills no log."""
        for _ in range(100):
            self.connect(65534)
        line = "a process of user 65534 may not use the control socket: it is for user 990 and root"
        self.assertEqual(self.logged.lines(), [line])
        self.clock.advance(LOG_SECONDS)
        self.connect(65534)
        self.assertEqual(self.logged.lines(), [line, line])


class ControlTests(SynchronousTestCase):
    """The service, on a real socket under a reactor whose turns are called."""

    def setUp(self) -> None:
        """Have a directory."""
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.directory / "run" / "control.sock"
        self.reactor = Turns()
        self.logged = Logged(self)

    def control(self, path: Path | None = None, *, start: bool = True) -> Control:
        """Return a control socket, which is stopped in the end."""
        made = Control(str(path or self.path), lambda: STATUS, Deferred, self.reactor)
        if start:
            made.startService()
            self.addCleanup(self.stop, made)
        return made

    def stop(self, control: Control) -> None:
        """Stop one, if it runs."""
        if control.running:
            stopping = control.stopService()
            self.reactor.turns(2)
            if stopping is not None:
                self.successResultOf(stopping)

    def ask(self, path: Path | None = None) -> Any:
        """Return what the daemon answers on its socket."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(5)
            asking.connect(str(path or self.path))
            asking.sendall(b"status\n")
            octets = b""
            self.reactor.turns(6)
            while piece := asking.recv(65_536):
                octets += piece
        return json.loads(octets)

    def test_answers(self) -> None:
        """Who we are by the kernel's word may ask."""
        self.control()
        self.assertEqual(self.ask(), STATUS)

    def test_for_our_user_alone(self) -> None:
        """The file has mode 0600 whatever the mask, and its new directory 0700."""
        for mask in (0, 0o777):
            before = os.umask(mask)
            try:
                if mask:
                    self.path.parent.mkdir(exist_ok=True)
                control = self.control()
            finally:
                os.umask(before)
            self.assertEqual(stat.S_IMODE(self.path.lstat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
            self.stop(control)

    def test_at_no_moment_for_others(self) -> None:
        """It is for us alone before it listens, and until then nobody can connect."""
        modes: list[int] = []
        path = str(self.path)

        class Listening(socket.socket):
            def listen(self, *backlog: int) -> None:
                modes.append(stat.S_IMODE(os.lstat(path).st_mode))
                super().listen(*backlog)

        def create(_: ControlPort) -> socket.socket:
            made = Listening(socket.AF_UNIX)
            made.setblocking(False)
            return made

        self.patch(ControlPort, "createInternetSocket", create)
        before = os.umask(0)
        try:
            self.control()
        finally:
            os.umask(before)
        self.assertEqual((modes, self.ask()), ([0o600], STATUS))

    def test_the_file_goes_at_the_stop(self) -> None:
        """Nothing is left of it."""
        self.stop(self.control())
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_a_file_that_is_gone_already(self) -> None:
        """It stops all the same: systemd empties the directory, too."""
        control = self.control()
        self.path.unlink()
        self.stop(control)
        self.assertEqual(self.reactor.readers, set())

    def test_a_file_that_is_another_ones(self) -> None:
        """What took its place is left alone."""
        control = self.control()
        self.path.unlink()
        self.path.write_text("mine")
        self.stop(control)
        self.assertEqual(self.path.read_text(), "mine")

    def test_a_dead_daemons_socket(self) -> None:
        """It is replaced."""
        self.path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
            dead.listen()
        self.control()
        self.assertEqual((self.ask(), self.logged.lines()), (STATUS, []))

    def test_a_living_daemons_socket(self) -> None:
        """It is left alone, the log says what to do, and the service runs on."""
        first = self.control()
        second = self.control()
        self.assertEqual(
            self.logged.lines(),
            [
                (
                    "`pomeriumd status` and `pomeriumd reload` do not work: no control socket at "
                    f"{self.path}: another daemon answers there; stop that one, or name "
                    "another place in control_socket"
                )
            ],
        )
        self.assertTrue(second.running)
        self.stop(second)
        self.assertEqual(self.ask(), STATUS)
        self.stop(first)

    def test_it_comes_back(self) -> None:
        """When the other one has stopped the place is taken; each is said once."""
        first, second = self.control(), self.control()
        self.reactor.advance(RETRY_SECONDS)
        self.stop(first)
        self.reactor.advance(RETRY_SECONDS)
        self.assertEqual(self.ask(), STATUS)
        said = self.logged.lines(LogLevel.info)
        self.assertEqual(len([line for line in said if "do not work" in line]), 1)
        self.assertEqual(said[-1], f"`pomeriumd status` works again: {self.path}")
        self.stop(second)

    def test_a_directory_that_cannot_be_made(self) -> None:
        """A warning with what to do; nothing waits when the service has stopped."""
        (self.directory / "run").write_text("")
        control = self.control()
        self.assertEqual(
            self.logged.lines(),
            [
                (
                    "`pomeriumd status` and `pomeriumd reload` do not work: no control socket at "
                    f"{self.path}: File exists; let this user write in its directory, or "
                    "name another place in control_socket"
                )
            ],
        )
        self.stop(control)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_path(self) -> None:
        """Without one there is none."""
        control = Control(None, lambda: STATUS, Deferred, self.reactor)
        control.startService()
        self.assertEqual(self.reactor.readers, set())
        self.assertIsNone(control.stopService())
