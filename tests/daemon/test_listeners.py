"""Sockets that are bound, inherited, changed and refused; real ones, on loopback."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.listeners import (
    BOUND,
    MAIN,
    METRICS,
    REDIRECT,
    SYSTEMD,
    CannotBind,
    Sockets,
    bound,
    from_systemd,
    inherited_from,
)
from pomeriumd.settings.values import Address
from tests.support.settings import make_settings

ANY = Address("127.0.0.1", 0)


def port_of(sockets: Sockets, name: str = MAIN) -> int:
    """Return the port of a socket."""
    return int(sockets.by_name[name].socket.getsockname()[1])


def given(**sockets: socket.socket) -> ListenFDs:
    """Return what systemd gives: copies of these, by name."""
    names = {name.replace("_", "_"): os.dup(made.fileno()) for name, made in sockets.items()}
    return ListenFDs(list(names.values()), tuple(names))


class BoundTests(SynchronousTestCase):
    """Binding."""

    def test_it_listens(self) -> None:
        """A bound socket takes connections, and never blocks who accepts."""
        listener = bound(MAIN, ANY)
        self.addCleanup(listener.close)
        with socket.create_connection(listener.socket.getsockname()):
            listener.socket.accept()[0].close()
        with self.assertRaises(BlockingIOError):
            listener.socket.accept()

    def test_everywhere_is_both_families(self) -> None:
        """Without a host, clients of IPv4 and of IPv6 come in."""
        listener = bound(MAIN, Address("", 0))
        self.addCleanup(listener.close)
        port = listener.socket.getsockname()[1]
        for host in ("127.0.0.1", "::1") if listener.socket.family == socket.AF_INET6 else ():
            socket.create_connection((host, port)).close()

    def test_a_taken_address(self) -> None:
        """Somebody else's address is named, with the reason and what to do."""
        first = bound(MAIN, ANY)
        self.addCleanup(first.close)
        with self.assertRaises(CannotBind) as caught:
            bound(MAIN, Address(*first.socket.getsockname()))
        self.assertEqual(
            str(caught.exception),
            f"address: cannot listen on {first.text}: Address already in use; another program has"
            " it: stop that one, or set another address",
        )

    def test_an_address_of_nobody(self) -> None:
        """An address that this machine has not says so."""
        with self.assertRaises(CannotBind) as caught:
            bound(MAIN, Address("192.0.2.1", 443))
        self.assertIn("address: cannot listen on 192.0.2.1:443: ", str(caught.exception))

    def test_a_name_that_is_none(self) -> None:
        """So does a name that cannot be looked up."""
        with self.assertRaises(CannotBind):
            bound(MAIN, Address("nowhere.invalid", 443))


class InheritedTests(SynchronousTestCase):
    """What systemd hands over."""

    def listening(self) -> socket.socket:
        """Return a listening socket, blocking as systemd's are."""
        made = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(made.close)
        return made

    def test_by_name(self) -> None:
        """The socket of a name is ours, and does not block."""
        made = self.listening()
        sockets = Sockets(make_settings(), lambda: given(address=made))
        self.addCleanup(sockets.stopService)
        sockets.privilegedStartService()
        listener = sockets.by_name[MAIN]
        self.assertEqual(listener.socket.getsockname(), made.getsockname())
        self.assertEqual((listener.source, listener.socket.getblocking()), (SYSTEMD, False))

    def test_plain_http_by_its_name(self) -> None:
        """So is the second one, if the settings want it; else it is closed."""
        made = self.listening()
        for wanted, names in ((ANY, [MAIN, REDIRECT]), (None, [MAIN])):
            settings = make_settings(address=ANY, http_redirect_addr=wanted)
            sockets = Sockets(settings, lambda: given(http_redirect_addr=made))
            self.addCleanup(sockets.stopService)
            sockets.privilegedStartService()
            self.assertEqual(sorted(sockets.by_name), names)
            if wanted:
                self.assertEqual(sockets.by_name[REDIRECT].source, SYSTEMD)

    def test_a_name_of_nobody(self) -> None:
        """A socket whose name is no setting of ours is closed, and the log says which are."""
        strange = self.listening()
        sockets = Sockets(make_settings(address=ANY), lambda: given(https=strange))
        self.addCleanup(sockets.stopService)
        sockets.privilegedStartService()
        self.assertEqual(sockets.by_name[MAIN].source, BOUND)

    def test_what_does_not_listen_for_tcp(self) -> None:
        """A datagram socket, a connected one and a unix one are refused by name."""
        pair = socket.socketpair()
        for made in (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.socket(),
            *pair,
        ):
            self.addCleanup(made.close)
            with self.assertRaises(CannotBind) as caught:
                inherited_from(given(address=made))
            self.assertIn("the socket 'address' from systemd", str(caught.exception))


class ChangeTests(SynchronousTestCase):
    """New settings with other addresses."""

    def setUp(self) -> None:
        """Listen."""
        self.sockets = Sockets(self.settings(), lambda: ListenFDs([], ()))
        self.sockets.privilegedStartService()
        self.addCleanup(self.sockets.stopService)

    def settings(self, **more: Any) -> Any:
        """Return settings."""
        return make_settings(**{"address": ANY, **more})

    def test_the_same_is_no_change(self) -> None:
        """What has not changed is not bound again."""
        self.assertEqual(self.sockets.bind_changes(self.settings()), {})

    def test_another_address(self) -> None:
        """The old socket listens until the new one is taken, and is closed then."""
        before = self.sockets.by_name[MAIN].socket
        new = self.settings(address=Address("127.0.0.2", 0))
        changes = self.sockets.bind_changes(new)
        self.assertEqual(list(changes), [MAIN])
        self.assertGreater(before.fileno(), 0)
        self.sockets.take(changes, new)
        self.assertEqual(before.fileno(), -1)
        self.assertEqual(self.sockets.by_name[MAIN].socket.getsockname()[0], "127.0.0.2")

    def test_metrics_come_and_go(self) -> None:
        """A socket that nobody wants any more is closed."""
        new = self.settings(metrics_address=ANY)
        self.sockets.take(self.sockets.bind_changes(new), new)
        metrics = self.sockets.by_name[METRICS].socket
        self.sockets.take({}, self.settings())
        self.assertEqual((metrics.fileno(), list(self.sockets.by_name)), (-1, [MAIN]))

    def test_plain_http_has_a_socket_of_its_own(self) -> None:
        """It is bound beside the main one, at the start or at a reload, and by its own name."""
        new = self.settings(http_redirect_addr=ANY)
        changes = self.sockets.bind_changes(new)
        self.assertEqual(list(changes), [REDIRECT])
        self.sockets.take(changes, new)
        first = Sockets(new, lambda: ListenFDs([], ()))
        self.addCleanup(first.stopService)
        first.privilegedStartService()
        self.assertEqual(sorted(first.by_name), [MAIN, REDIRECT])

    def test_one_that_cannot_be_had_changes_nothing(self) -> None:
        """If one of two cannot be bound the other one is closed, and the old ones listen on."""
        port = port_of(self.sockets)
        new = self.settings(
            address=Address("127.0.0.2", 0), metrics_address=Address("127.0.0.1", port)
        )
        with self.assertRaises(CannotBind) as caught:
            self.sockets.bind_changes(new)
        self.assertIn("metrics_address: cannot listen", str(caught.exception))
        socket.create_connection(("127.0.0.1", port)).close()

    def test_systemds_stays_where_it_is(self) -> None:
        """An address that systemd has bound is not ours to change."""
        made = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(made.close)
        sockets = Sockets(self.settings(), lambda: given(address=made))
        sockets.privilegedStartService()
        self.addCleanup(sockets.stopService)
        with self.assertRaises(CannotBind) as caught:
            sockets.bind_changes(self.settings(address=Address("127.0.0.2", 0)))
        self.assertIn("address: the socket comes from systemd", str(caught.exception))

    def test_the_start_ends_with_a_sentence(self) -> None:
        """An address that cannot be had at the start ends it."""
        taken = Sockets(
            self.settings(address=Address("127.0.0.1", port_of(self.sockets))),
            lambda: ListenFDs([], ()),
        )
        with self.assertRaises(SystemExit) as caught:
            taken.privilegedStartService()
        self.assertIn("pomeriumd: address: cannot listen on 127.0.0.1:", str(caught.exception))


class PinnedTests(SynchronousTestCase):
    """What of Twisted's we depend on."""

    def test_who_has_read_the_environment(self) -> None:
        """Twisted's endpoints have, and keep what was there."""
        self.assertIsInstance(from_systemd(), ListenFDs)
