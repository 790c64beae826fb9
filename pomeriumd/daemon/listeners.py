"""
Listening sockets: bound once by the process that may, or given by systemd, and kept.

Who accepts from them does not matter to them: they outlive workers and generations, and what
waits in their queues waits on.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Mapping

import attrs
from twisted.application.service import Service
from twisted.internet import endpoints
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from pomeriumd.net.port import BACKLOG, NO_IPV6
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import Address

MAIN = "address"
"""Name of the socket for all traffic: the setting that says where it listens, and the
``FileDescriptorName=`` of its systemd unit."""

REDIRECT = "http_redirect_addr"
"""The same for plain http, which leads to https."""

SERVED = (MAIN, REDIRECT)
"""Sockets that those who serve accept from; the others are the supervisor's own."""

METRICS = "metrics_address"
"""The same for Prometheus."""

GRPC = "grpc_address"
"""The setting of the one that grpc binds by itself."""

BOUND, SYSTEMD = "bound", "systemd"
"""Where a socket comes from."""


class CannotBind(Exception):
    """
    An address cannot be had.

    The text says the address, the system's reason and what to do.
    """


@attrs.define(eq=False)
class Listener:
    """
    A socket that listens.

    Args:
        name: of the setting that it belongs to.
        socket: non-blocking.
        source: ``bound`` by us, or from ``systemd``.
    """

    name: str
    socket: socket.socket = attrs.field(repr=False)
    source: str
    wanted: Address
    """What the settings said when it was made."""

    @property
    def text(self) -> str:
        """Where it listens, as ``host:port``."""
        return Address(*self.socket.getsockname()[:2]).text

    def close(self) -> None:
        """Close this process's descriptor of it."""
        self.socket.close()


def bound(name: str, address: Address) -> Listener:
    """
    Bind an address; everywhere is IPv6 and IPv4, or IPv4 where there is no other.

    Raises:
        CannotBind: see there.
    """
    try:
        try:
            made = _listening(address.host or "::", address.port)
        except OSError as error:
            if address.host or error.errno not in NO_IPV6:
                raise
            made = _listening("0.0.0.0", address.port)  # noqa: S104  # it is what was asked for
    except OSError as error:
        raise CannotBind(
            f"{name}: cannot listen on {address.text}: {error.strerror or error}; {_remedy(error)}"
        ) from error
    return Listener(name, made, BOUND, address)


def _listening(host: str, port: int) -> socket.socket:
    family, kind, proto, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, proto)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        made.setblocking(False)
        made.bind(where)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def from_systemd() -> ListenFDs:
    """
    Return what systemd gave this process.

    Twisted reads it when its endpoints are imported, and takes it out of the environment.
    """
    return endpoints._SystemdParser._sddaemon  # noqa: SLF001  # a test pins it


def inherited_from(given: ListenFDs) -> dict[str, socket.socket]:
    """
    Return the sockets that systemd gave us, by their names; non-blocking.

    Raises:
        CannotBind: one of them is no listening stream socket.
    """
    found = {}
    for name, descriptor in given.inheritedNamedDescriptors().items():
        made = socket.socket(fileno=descriptor)
        listens = made.type == socket.SOCK_STREAM and made.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        )
        if not listens or made.family not in (socket.AF_INET, socket.AF_INET6):
            made.close()
            raise CannotBind(
                f"the socket {name!a} from systemd does not listen for TCP; give its unit a"
                " ListenStream= with a port"
            )
        made.setblocking(False)
        made.set_inheritable(False)
        found[name] = made
    return found


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has it: stop that one, or set another address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "ports below 1024 need a restart, as root, with CAP_NET_BIND_SERVICE or with a socket"
            " from systemd"
        )
    return "has this machine such an address?"


def wanted(settings: Settings) -> dict[str, Address]:
    """Return where the settings want to listen, by the names of the settings that say so."""
    found = {
        MAIN: settings.address,
        REDIRECT: settings.http_redirect_addr,
        METRICS: settings.metrics_address,
    }
    return {name: address for name, address in found.items() if address is not None}


@attrs.define(eq=False)
class Sockets(Service):
    """
    The listening sockets of this daemon, whoever accepts from them.

    Args:
        settings: that say the first ones.
        given: finds what systemd gave us.
        shares_grpc: a worker is going to bind ``grpc_address``, which is tried here, where it
            can still be said in time.
    """

    _settings: Settings
    _given: Callable[[], ListenFDs] = from_systemd
    _shares_grpc: bool = False
    by_name: dict[str, Listener] = attrs.field(factory=dict, init=False)
    _log = Logger()

    def privilegedStartService(self) -> None:
        """
        Bind, while there are still the rights to, or take what systemd has bound.

        Raises:
            SystemExit: an address cannot be had; the text says what to do.
        """
        super().privilegedStartService()
        try:
            inherited = inherited_from(self._given())
            for name, address in wanted(self._settings).items():
                made = inherited.pop(name, None)
                self.by_name[name] = (
                    bound(name, address) if made is None else Listener(name, made, SYSTEMD, address)
                )
            if self._shares_grpc and self._settings.grpc_address is not None:
                bound(GRPC, self._settings.grpc_address).close()
        except CannotBind as error:
            self._log.critical("{problem}", problem=str(error))
            sys.exit(f"pomeriumd: {error}")
        for name, unused in inherited.items():
            unused.close()
            self._log.warn(
                "the socket {name} from systemd is not used; FileDescriptorName= of its unit has"
                " to be one of {names}",
                name=name,
                names=", ".join(wanted(self._settings)),
            )

    def bind_changes(self, settings: Settings) -> dict[str, Listener]:
        """
        Bind what new settings want and we have not.

        Returns:
            The new listeners, by name; ``take`` or ``drop`` them.

        Raises:
            CannotBind: one cannot be had now; none is bound then.
        """
        changes: dict[str, Listener] = {}
        for name, address in wanted(settings).items():
            now = self.by_name.get(name)
            if now is not None and now.wanted == address:
                continue
            try:
                if now is not None and now.source == SYSTEMD:
                    raise CannotBind(  # noqa: TRY301  # one way out, that closes what was bound
                        f"{name}: the socket comes from systemd and stays where it is; change"
                        " ListenStream= of its unit, and restart"
                    )
                changes[name] = bound(name, address)
            except CannotBind:
                drop(changes)
                raise
        return changes

    def take(self, changes: Mapping[str, Listener], settings: Settings) -> None:
        """Keep the new ones; close those that they replace, and those that nobody wants."""
        for name, listener in changes.items():
            before = self.by_name.get(name)
            self.by_name[name] = listener
            if before is not None:
                before.close()
        for name in self.by_name.keys() - wanted(settings).keys():
            self.by_name.pop(name).close()

    def stopService(self) -> None:
        """Close them; those of systemd live on there."""
        super().stopService()
        drop(self.by_name)


def drop(listeners: dict[str, Listener]) -> None:
    """Close them all."""
    while listeners:
        listeners.popitem()[1].close()
