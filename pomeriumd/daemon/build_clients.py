"""The rules on client certificates of a generation: for each route, and for each server name."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from cryptography import x509
from twisted.logger import Logger

from pomeriumd.net.client_certificates import NOBODY_ASKED, Ask, Asks, ClientRule
from pomeriumd.net.pem import read_certificates
from pomeriumd.proxy.client_certificates import Wanted
from pomeriumd.settings.model import DownstreamMTLS, RouteSettings, Settings
from pomeriumd.settings.parts.downstream import NONE, REJECT, REQUIRE
from pomeriumd.settings.pem import split_lists

_log = Logger()


@attrs.define(eq=False)
class Clients:
    """
    What is wanted of clients; the routes of one host are asked together.

    Args:
        settings: checked.
        now: seconds since the epoch.
    """

    _settings: Settings = attrs.field(repr=False)
    _now: Callable[[], float] = attrs.field(repr=False)
    asks: Asks = attrs.field(init=False)
    _rules: dict[bytes, ClientRule] = attrs.field(factory=dict, init=False)
    """By the certificates that they trust."""
    _hosts: dict[bytes, Ask] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self._settings
        self.asks = NOBODY_ASKED
        if not settings.runs("proxy") or not settings.https:
            return
        reject = self._mtls.enforcement == REJECT
        rules: dict[bytes, dict[ClientRule, None]] = {}
        for route in settings.routes:
            if settings.asked_at(route) != NONE:
                host = route.from_.host.encode("ascii")
                rules.setdefault(host, {})[self._rule(route)] = None
        everywhere = None
        if reject and self._mtls.ca is not None:
            everywhere = Ask((self._made(self._mtls.ca),), reject=True)
        self._hosts = {host: Ask(tuple(its), reject) for host, its in rules.items()}
        if self._hosts or everywhere is not None:
            self.asks = Asks(hosts=self._hosts, default=everywhere, now=self._now)
            self._warn()

    def wanted(self, route: RouteSettings) -> Wanted | None:
        """Return what a route wants; None for nothing."""
        ask = self._hosts.get(route.from_.host.encode("ascii"))
        asked = self._settings.asked_at(route)
        if ask is None or asked == NONE:
            return None
        return Wanted(rule=self._rule(route), required=asked == REQUIRE, host=ask, asks=self.asks)

    @property
    def _mtls(self) -> DownstreamMTLS:
        return self._settings.downstream_mtls or DownstreamMTLS()

    def _rule(self, route: RouteSettings) -> ClientRule:
        trusted = route.tls_downstream_client_ca or self._mtls.ca
        assert trusted is not None  # noqa: S101  # the settings' rules
        return self._made(trusted)

    def _made(self, trusted: bytes) -> ClientRule:
        rule = self._rules.get(trusted)
        if rule is None:
            mtls = self._mtls
            lists: list[x509.CertificateRevocationList] = (
                [] if mtls.crl is None else split_lists(mtls.crl)
            )
            rule = self._rules[trusted] = ClientRule(
                tuple(read_certificates(trusted)),
                lists,
                [match for one in mtls.match_subject_alt_names for match in one],
                mtls.max_verify_depth,
            )
        return rule

    def _warn(self) -> None:
        """Say whose lists are out of date: nobody with a certificate of theirs gets on."""
        first = next(iter(self._rules.values()), None)
        for whose in () if first is None else first.stale(self._now()):
            _log.warn(
                "the list of revoked client certificates of {whose} is out of date: every "
                "certificate of theirs is refused until a newer list is in downstream_mtls.crl",
                whose=whose,
            )
