"""
Which route takes a request: one look-up by host, then by path.

The host must equal that of ``from``; the port that the client used does not matter, since
a balancer or a container often shows another one (the port of ``from`` counts where we
send a browser, and in the audience of a session). Among the routes of one host the most
exact wins, wherever it stands in the file:

1. ``path``, equal to the whole path;
2. ``regex``, matching the whole path, in the order of the file;
3. ``prefix``, the longest first, on segment borders: ``/api`` takes ``/api`` and
   ``/api/x``, never ``/apix``; ``/api/`` takes only what lies under it;
4. the route that names no path.

Pomerium tried them in the order of the file until v0.8 and sorts them since. Sorting is
what we do: a catch-all written above a guarded path must not open it. Only expressions
keep the file's order, because no program can tell which of two is the more exact.

Source: shared facts on matching, Pomerium v0.8 to v0.33.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote, unquote_to_bytes

import attrs

from pomeriumd.access.policy import Policy, compile_policy
from pomeriumd.errors import BadMessage, Problem, SettingsError
from pomeriumd.http.target import canonical, plain_signs
from pomeriumd.pieces import Pieces, finish
from pomeriumd.settings.model import RouteSettings

FEW = 32
"""Routes of one piece of the work: some 0.5 ms."""

_parameter = re.compile(rb";[^/]*")
"""A parameter of a path's segment, as servlets know it (RFC 3986, 3.3)."""


@attrs.frozen(eq=False)
class Route:
    """A route and what was compiled from it; equal only to itself."""

    settings: RouteSettings
    id: str
    """16 hex digits, the same in every process and generation as long as the route keeps
    its ``from`` and its matcher, wherever it stands in the file."""
    policy: Policy

    @classmethod
    def of(cls, settings: RouteSettings, issuer: str | None = None) -> Route:
        """Compile a route; ``issuer`` as for ``compile_policy``."""
        return cls(settings, _identify(settings), compile_policy(settings, issuer))


@attrs.frozen(eq=False)
class RouteTable:
    """All routes of one generation; what one look-up costs depends on one host's routes."""

    routes: tuple[Route, ...]
    """In the order of the file; of two that take the same requests the first wins."""
    _hosts: Mapping[bytes, _Paths] = attrs.field(repr=False)
    _origins: AbstractSet[tuple[str, str, int]] = attrs.field(repr=False)

    @classmethod
    def of(cls, routes: Iterable[Route]) -> RouteTable:
        """
        Return the table of these routes, in the order of the file.

        Raises:
            SettingsError: a path or an expression that cannot be used, with its place.
        """
        return finish(cls.building(tuple(routes)))

    @classmethod
    def building(cls, routes: tuple[Route, ...]) -> Pieces[RouteTable]:
        """Do the same in pieces."""
        by_host: dict[bytes, list[Route]] = {}
        origins = set()
        for count, route in enumerate(routes):
            if not count % FEW:
                yield
            origin = route.settings.from_
            by_host.setdefault(origin.host.encode("ascii"), []).append(route)
            origins.add((origin.scheme, origin.host, origin.port))
        hosts = {}
        for count, (host, its) in enumerate(by_host.items()):
            if not count % FEW:
                yield
            hosts[host] = yield from _Paths.building(its)
        return cls(routes, hosts, origins)

    @property
    def hosts(self) -> frozenset[bytes]:
        """Return every host that has a route, as it stands in ``Request.host``."""
        return frozenset(self._hosts)

    def parts(self) -> list[object]:
        """Return what most of its memory is, so that it can be given up bit by bit."""
        return list(self._hosts.values())

    def find(self, host: bytes, path: bytes) -> Route | None:
        """
        Return the route that takes a request, None when none does.

        Args:
            host: canonical, without a port.
            path: canonical: the very bytes that the upstream will be sent.

        Raises:
            BadMessage: a backend that cuts parameters (``;x``, as servlets do) would read
                another path in it, and that one is another route's: which rules count
                could not be said.
        """
        paths = self._hosts.get(host)
        if paths is None:
            return None
        found = paths.find(path)
        if b";" in path and paths.find(_parameter.sub(b"", path)) is not found:
            raise BadMessage("path that is another route's for a backend without parameters")
        return found

    def origin_known(self, scheme: str, host: str, port: int) -> bool:
        """Say whether a browser may be sent there: exactly the ``from`` of some route."""
        return (scheme, host, port) in self._origins


@attrs.frozen(eq=False)
class _Paths:
    """The routes of one host."""

    exact: Mapping[bytes, Route]
    patterns: tuple[tuple[Callable[[bytes], re.Match[bytes] | None], Route], ...]
    at: Mapping[bytes, Route]
    """Prefixes, for a path that equals one: there is no longer one then."""
    under: Mapping[bytes, Route]
    """Prefixes with a slash at their end, for paths that begin with one."""
    sizes: tuple[int, ...]
    """The sizes that occur in ``under``, the largest first. Trying these, not the
    segments of the path, makes the configuration the bound, not the client."""
    anything: Route | None

    @classmethod
    def building(cls, routes: Sequence[Route]) -> Pieces[_Paths]:
        """Sort the routes of one host; the first of two equal ones wins."""
        exact: dict[bytes, Route] = {}
        patterns: list[tuple[Callable[[bytes], re.Match[bytes] | None], Route]] = []
        at: dict[bytes, Route] = {}
        below: dict[bytes, Route] = {}
        anything: Route | None = None
        for count, route in enumerate(routes, 1):
            if not count % FEW:
                yield
            kind, text = _matcher(route.settings)
            if kind == "path":
                exact.setdefault(_path(route.settings, kind, text), route)
            elif kind == "regex":
                patterns.append((_pattern(route.settings, text).fullmatch, route))
                yield  # compiling takes up to a millisecond
            elif kind == "prefix":
                prefix = _path(route.settings, kind, text)
                at.setdefault(prefix, route)
                if not prefix.endswith(b"/"):
                    below.setdefault(prefix + b"/", route)
            else:
                anything = anything or route
        # /api/ is longer than /api, so under it the former wins whichever came first.
        under = below | {prefix: route for prefix, route in at.items() if prefix.endswith(b"/")}
        sizes = tuple(sorted({len(prefix) for prefix in under}, reverse=True))
        return cls(exact, tuple(patterns), at, under, sizes, anything)

    def find(self, path: bytes) -> Route | None:
        """Return the most exact route that takes the path."""
        escaped = path
        if b"%" in path:
            # /%40admin is /@admin to every backend. What would be a delimiter if it were
            # decoded has been refused, so one decoding reads all of it. Expressions see
            # escaped what has to be escaped, and nothing else.
            escaped, path = plain_signs(path), unquote_to_bytes(path)
        found = self.exact.get(path)
        if found is not None:
            return found
        for matches, route in self.patterns:
            if matches(escaped):
                return route
        found = self.at.get(path)
        if found is not None:
            return found
        for size in self.sizes:
            found = self.under.get(path[:size])
            if found is not None:
                return found
        return self.anything


def _matcher(route: RouteSettings) -> tuple[str, str]:
    """
    Return which of its settings says the paths, and that setting.

    The settings' check lets only one through; were there two, the order is Pomerium's.
    """
    for kind in ("regex", "path", "prefix"):
        text = getattr(route, kind)
        if text is not None:
            return kind, text
    return "", ""


def _identify(route: RouteSettings) -> str:
    # repr() keeps the parts apart whatever characters they hold.
    named = repr((route.from_.text, *_matcher(route)))
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _path(route: RouteSettings, kind: str, text: str) -> bytes:
    """Return a path of the settings in the one form that requests have, decoded."""
    place = f"{route.place}.{kind}"
    try:
        path, query = canonical(quote(text, safe="/%:@!$&'()*+,;=-._~?#").encode("ascii"))
    except BadMessage as error:
        raise SettingsError([Problem(place, f"{text!a} is no path: {error}")]) from error
    if query is not None:
        raise SettingsError([Problem(place, f"want a path without a query, got {text!a}")])
    return unquote_to_bytes(path)


def _pattern(route: RouteSettings, text: str) -> re.Pattern[bytes]:
    """Compile an expression; it sees the canonical path, which is ASCII."""
    try:
        return re.compile(text.encode("ascii"))
    except UnicodeEncodeError as error:
        wanted = f"want ASCII, since paths are percent-encoded, got {text!a}"
        raise SettingsError([Problem(f"{route.place}.regex", wanted)]) from error
    except re.error as error:
        problem = Problem(f"{route.place}.regex", f"{text!a} is no expression: {error}")
        raise SettingsError([problem]) from error
