"""
The addresses of the authorize service, as the system's resolver tells them.

Names are looked up at the start, at every interval, and at once when a replica fails (at
most once a second). A look-up that fails or finds nothing changes nothing: a name server
that is down takes no replica away. Addresses in a URL are taken as they stand.

Knows Deferreds and a clock; the look-up itself is an argument.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.settings.values import Origin

AT_ONCE = 1.0
"""Seconds between two look-ups of a name, at least."""

MOST = 64
"""Addresses that are used, of all names together: each has a connection of its own."""

LOG_AGAIN = 60.0
"""Seconds after which a name that still cannot be looked up is logged again."""

LookUp = Callable[[str], Deferred[Sequence[str]]]
"""Gives the addresses of a name, IPv4 and IPv6 (without brackets), the best first."""


def by_system(in_thread: Callable[..., Deferred[Any]]) -> LookUp:
    """
    Return a look-up by ``getaddrinfo``: DNS, /etc/hosts and whatever else the system asks.

    Args:
        in_thread: calls a function in a thread, as ``deferToThread`` does.
    """

    def look_up(name: str) -> Deferred[Sequence[str]]:
        return in_thread(_addresses, name)

    return look_up


@attrs.define(eq=False)
class _Name:
    found: tuple[str, ...] = ()
    asking: Deferred[Any] | None = None
    asked: float = float("-inf")
    problem: str = ""
    """Why the last look-up gave nothing, and what to do; empty when it gave something."""
    logged: float = float("-inf")


@attrs.define(eq=False)
class Names:
    """
    Looks up the hosts of some URLs, again and again.

    Args:
        look_up: gives the addresses of one name.
        clock: of the reactor.
        found: is told all addresses, in the order of the URLs, whenever they changed.
    """

    _look_up: LookUp
    _clock: IReactorTime
    _found: Callable[[tuple[Endpoint, ...]], None]
    _urls: tuple[Origin, ...] = ()
    _interval: float = 30.0
    _names: dict[str, _Name] = attrs.field(factory=dict, init=False)
    _told: tuple[Endpoint, ...] = attrs.field(default=(), init=False)
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _log: Logger = attrs.field(factory=Logger, init=False)

    def take(self, urls: Sequence[Origin], interval: float) -> None:
        """
        Look these up from now on, and what was not known before at once.

        Args:
            urls: of the replicas; a host may be a name or an address.
            interval: seconds between two look-ups.
        """
        self._urls, self._interval = tuple(urls), interval
        before, self._names = self._names, {}
        for url in self._urls:
            name = _host(url)
            self._names[name] = self._names.get(name) or before.pop(name, _known(name))
        for gone in before.values():
            _cancel(gone)
        self._tell()
        self._again()
        for name, known in self._names.items():
            if not known.found:
                self._ask(name, known)

    def stop(self) -> None:
        """Look nothing up any more."""
        names, self._names, self._urls, self._told = self._names, {}, (), ()
        for known in names.values():
            _cancel(known)
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def failed(self, name: str) -> None:
        """Look a name up now, or as soon as a second has passed since the last time."""
        known = self._names.get(name)
        if known is None or _literal(name):
            return
        left = known.asked + AT_ONCE - self._clock.seconds()
        if left <= 0:
            self._ask(name, known)
        elif self._next is not None and self._next.getTime() > self._clock.seconds() + left:
            self._next.reset(left)

    @property
    def problems(self) -> dict[str, str]:
        """Return why a name could not be looked up, by the names; those that could are absent."""
        return {name: known.problem for name, known in self._names.items() if known.problem}

    def _again(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = self._clock.callLater(self._interval, self._all)

    def _all(self) -> None:
        self._next = self._clock.callLater(self._interval, self._all)
        for name, known in tuple(self._names.items()):
            self._ask(name, known)

    def _ask(self, name: str, known: _Name) -> None:
        # One at a time: a resolver that hangs would fill the threads of the reactor.
        if known.asking is not None or _literal(name):
            return
        known.asked = self._clock.seconds()
        asking = known.asking = maybeDeferred(self._look_up, name)

        def ended(outcome: Any) -> None:
            known.asking = None
            if self._names.get(name) is known:
                self._learn(name, known, outcome)

        asking.addBoth(ended)

    def _learn(self, name: str, known: _Name, outcome: Any) -> None:
        if isinstance(outcome, Failure):
            self._keep(name, known, _why(outcome))
        elif not outcome:
            self._keep(name, known, "no address")
        else:
            if known.problem:
                self._log.info("{name} resolves again", name=name)
            known.problem, known.logged = "", float("-inf")
            # The order that a name server gives changes with each answer; ours does not.
            new = tuple(dict.fromkeys(outcome))
            kept = tuple(address for address in known.found if address in new)
            known.found = kept + tuple(address for address in new if address not in kept)
            self._tell()

    def _keep(self, name: str, known: _Name, why: str) -> None:
        known.problem = (
            f"{name} does not resolve ({why}); put it into the DNS or /etc/hosts, or correct "
            "authorize_service_url"
        )
        now = self._clock.seconds()
        if now - known.logged < LOG_AGAIN:
            return
        known.logged = now
        kept = (
            f"the {len(known.found)} known before stay in use" if known.found else "none is known"
        )
        self._log.warn("{problem}; {kept}", problem=known.problem, kept=kept)

    def _tell(self) -> None:
        every: dict[tuple[str, int], Endpoint] = {}
        for url in self._urls:
            name = _host(url)
            for address in self._names[name].found:
                every.setdefault((address, url.port), Endpoint(name, address, url.port))
        if len(every) > MOST:
            self._log.warn(
                "authorize_service_url leads to {count} addresses, the first {most} are used",
                count=len(every),
                most=MOST,
            )
        endpoints = tuple(every.values())[:MOST]
        if endpoints != self._told:
            self._told = endpoints
            self._found(endpoints)


def _addresses(name: str) -> list[str]:
    # AI_ADDRCONFIG: what this host has no route for is no address.
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _known(name: str) -> _Name:
    return _Name(found=(name,) if _literal(name) else ())


def _host(url: Origin) -> str:
    return url.host.removeprefix("[").removesuffix("]")


def _literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cancel(known: _Name) -> None:
    asking, known.asking = known.asking, None
    if asking is not None:
        asking.cancel()


def _why(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
