"""The rules on client certificates of a generation: for each route, and for each server name."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from pomeriumd.net.client_certificates import NOBODY_ASKED, Ask, Asks, ClientRule
from pomeriumd.net.pem import read_certificates
from pomeriumd.proxy.client_certificates import Wanted
from pomeriumd.settings.model import DownstreamMTLS, RouteSettings, Settings
from pomeriumd.settings.parts.downstream import NONE, REJECT, REQUIRE
from pomeriumd.settings.pem import split_lists

_log = Logger()


@attrs.frozen
class Terms:
    """All of the settings that says who is asked for what: equal ones need no new contexts."""

    mtls: DownstreamMTLS | None
    hosts: frozenset[tuple[bytes, bytes]]
    """Each host that has a route which wants a certificate, with whom such a route trusts."""

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """Return those of checked settings."""
        mtls = settings.downstream_mtls
        if not settings.runs("proxy") or not settings.https:
            return cls(None, frozenset())
        routes = [route for route in settings.routes if settings.asked_at(route) != NONE]
        return cls(mtls, frozenset((_host(route), _trusted(route, mtls)) for route in routes))


@attrs.define(eq=False)
class Clients:
    """
    What is wanted of clients; the routes of one host are asked together.

    It goes on through reloads that do not change its terms.
    """

    terms: Terms = attrs.field(repr=False)
    now: Callable[[], float] = attrs.field(repr=False)
    """Seconds since the epoch."""
    asks: Asks = attrs.field(init=False)
    _rules: dict[bytes, ClientRule] = attrs.field(factory=dict, init=False)
    """By the certificates that they trust."""
    _hosts: dict[bytes, Ask] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        mtls = self.terms.mtls
        reject = mtls is not None and mtls.enforcement == REJECT
        rules: dict[bytes, list[ClientRule]] = {}
        for host, trusted in sorted(self.terms.hosts):
            rules.setdefault(host, []).append(self._rule(trusted))
        self._hosts = {host: Ask(tuple(its), reject) for host, its in rules.items()}
        everywhere = None
        if reject and mtls is not None and mtls.ca is not None:
            everywhere = Ask((self._rule(mtls.ca),), reject=True)
        asked = self._hosts or everywhere is not None
        self.asks = Asks(self._hosts, everywhere, now=self.now) if asked else NOBODY_ASKED

    def wanted(self, route: RouteSettings, asked: str) -> Wanted | None:
        """Return what a route wants, that asks for this; None for nothing."""
        ask = self._hosts.get(_host(route))
        if ask is None or asked == NONE:
            return None
        return Wanted(
            rule=self._rule(_trusted(route, self.terms.mtls)),
            required=asked == REQUIRE,
            host=ask,
            asks=self.asks,
        )

    def warn(self) -> None:
        """Say whose lists are out of date: nobody with a certificate of theirs gets on."""
        first = next(iter(self._rules.values()), None)
        for whose in () if first is None else first.stale(self.now()):
            _log.warn(
                "the list of revoked client certificates of {whose} is out of date: every "
                "certificate of theirs is refused until a newer list is in downstream_mtls.crl",
                whose=whose,
            )

    def _rule(self, trusted: bytes) -> ClientRule:
        rule = self._rules.get(trusted)
        if rule is None:
            mtls = self.terms.mtls or DownstreamMTLS()
            rule = self._rules[trusted] = ClientRule(
                tuple(read_certificates(trusted)),
                () if mtls.crl is None else split_lists(mtls.crl),
                [match for one in mtls.match_subject_alt_names for match in one],
                mtls.max_verify_depth,
            )
        return rule


def clients_of(
    settings: Settings, now: Callable[[], float], before: Clients | None = None
) -> Clients:
    """Return what settings want of clients: what there was before, if it is the same."""
    terms = Terms.of(settings)
    clients = before if before is not None and before.terms == terms else Clients(terms, now)
    clients.warn()
    return clients


def _host(route: RouteSettings) -> bytes:
    return route.from_.host.encode("ascii")


def _trusted(route: RouteSettings, mtls: DownstreamMTLS | None) -> bytes:
    trusted = route.tls_downstream_client_ca or (None if mtls is None else mtls.ca)
    assert trusted is not None  # noqa: S101  # the settings' rules
    return trusted
