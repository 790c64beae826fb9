"""
Which certificate answers to which name; on which terms is ``terms``' business.

Every handshake begins with the base context, which has no certificate; when the client's hello
is read, the context of the certificate for its name takes over (``_named``). That one is made
when its name is first asked for, and both live on in the next generation: the base while the
terms are the same, for a day, and the other while the certificate is. No context is changed once
it is made.

Sessions resume by ticket within one process. The ticket keys are the base context's, so a
session resumes at every name of the store, also after a certificate has changed. Where a host
asks for client certificates none does: a session from another host would resume past its rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
from OpenSSL import SSL
from twisted.logger import Logger

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.net.pem import read_pair, use
from pomeriumd.net.terms import (
    USUAL,
    VALIDATION,
    NoCommonProtocol,
    Terms,
    server_context,
)
from pomeriumd.net.verify import client_options
from pomeriumd.pieces import Pieces, finish
from pomeriumd.settings.chain import examined, untimely
from pomeriumd.settings.values import CertificatePair, Facts

__all__ = ["VALIDATION", "CertificateStore", "NoCommonProtocol", "Terms", "client_options"]

EACH = 100
"""Pairs of a piece: some 0.1 ms."""

TICKET_SECONDS = 86_400.0
"""For which a base context, and so a ticket key, is handed on: who gets hold of the key could read
what was resumed by it."""

_log = Logger()


@attrs.define(eq=False)
class Shown:
    """A certificate, and the context that shows it, from the first time on that it is asked for."""

    pair: CertificatePair
    _terms: Terms
    _context: SSL.Context | None = attrs.field(default=None, repr=False)

    def context(self) -> SSL.Context:
        """
        Return the context.

        Raises:
            ValueError: OpenSSL refuses the certificate.
        """
        if self._context is None:
            context = server_context(self._terms, _named)
            chain, key = read_pair(self.pair.chain, self.pair.key.reveal())
            use(context, chain, key)
            if self._terms.staples is not None:
                self._terms.staples.serve(context, chain[0])
            self._context = context
        return self._context


@attrs.frozen(eq=False)
class CertificateStore:
    """The certificates of one generation, by the names that they are for."""

    _exact: Mapping[bytes, Shown] = attrs.field(repr=False)
    _wildcards: Mapping[bytes, Shown] = attrs.field(repr=False)
    """By what follows the ``*.``."""
    _all: Sequence[Shown] = attrs.field(repr=False)
    terms: Terms
    _base: SSL.Context = attrs.field(repr=False)
    since: float
    """When the base context was made: seconds since the epoch."""

    @classmethod
    def of(
        cls, pairs: Sequence[CertificatePair], now: float, terms: Terms = USUAL
    ) -> CertificateStore:
        """Return the store of these certificates; as ``building`` says."""
        return finish(cls.building(pairs, now, terms))

    @classmethod
    def building(
        cls,
        pairs: Sequence[CertificatePair],
        now: float,
        terms: Terms = USUAL,
        before: CertificateStore | None = None,
    ) -> Pieces[CertificateStore]:
        """
        Build a store, some pairs in a piece.

        Args:
            pairs: at least one; where two are for the same name, the first has it. One that
                nobody has examined is examined here.
            now: seconds since the epoch.
            terms: see there.
            before: what served until now: tickets of its sessions, and contexts of its
                certificates, go on where nothing speaks against it.

        Raises:
            SettingsError: a pair that could not serve, each with its place.
        """
        same = before if before is not None and before.terms == terms else None
        known = {} if same is None else {shown.pair: shown for shown in same}
        exact: dict[bytes, Shown] = {}
        wildcards: dict[bytes, Shown] = {}
        found: list[Shown] = []
        tried: set[str] = set()
        problems = [] if pairs else [Problem("certificates", "missing, TLS needs one")]
        for number, pair in enumerate(pairs):
            if not number % EACH:
                yield
            try:
                facts = pair.facts
                if facts is None:
                    pair, facts = _looked_at(pair, now)  # noqa: PLW2901  # the same, and more is known
                shown = known.get(pair) or Shown(pair, terms)
                # What OpenSSL refuses is better found now than by the first client.
                if facts.kind not in tried:
                    tried.add(facts.kind)
                    shown.context()
            except ValueError as error:
                problems.append(Problem(pair.place, str(error)))
                continue
            found.append(shown)
            for name in facts.names:
                kind = wildcards if name.startswith("*.") else exact
                kind.setdefault(name.removeprefix("*.").encode("ascii"), shown)
        if problems:
            raise SettingsError(problems)
        if same is not None and now - same.since < TICKET_SECONDS:
            base, since = same.base(), same.since
        else:
            base, since = server_context(terms, _named), now
        return cls(exact, wildcards, found, terms, base, since)

    @property
    def names(self) -> frozenset[bytes]:
        """Return all names that have a certificate, wildcards as ``*.example.com``."""
        return frozenset(self._exact) | frozenset(b"*." + name for name in self._wildcards)

    def choose(self, server_name: bytes | None) -> Shown:
        """
        Return the certificate for a name: exact, else by wildcard, else the first one.

        Args:
            server_name: as the client sent it, in any case; None where it sent none.
        """
        if server_name is None:
            return self._all[0]
        name = server_name.lower().removesuffix(b".")
        found = self._exact.get(name)
        if found is None:
            # A wildcard stands for one label, and for a whole one. RFC 9525, 6.3.
            label, _, rest = name.partition(b".")
            found = self._wildcards.get(rest) if label else None
        return found or self._all[0]

    @property
    def any_provisional(self) -> bool:
        """Return whether any certificate is for a time of trial."""
        return any(map(_provisional, self._all))

    def provisional(self, host: bytes) -> bool:
        """Return whether a host shows what is for a time of trial: see ``settings.provisional``."""
        return _provisional(self.choose(host))

    def base(self) -> SSL.Context:
        """Return the context that every handshake begins with."""
        return self._base

    def begin(self, connection: SSL.Connection) -> None:
        """Let a handshake go by this store; ``connection`` was made with its base context."""
        connection.set_app_data(self)

    def __iter__(self) -> Iterator[Shown]:
        """Give all certificates, in their order."""
        return iter(self._all)


def _named(connection: SSL.Connection) -> None:
    """
    Go on with the certificate for the name in the client's hello, if it has one; must not raise.

    The context does not know its store, or neither would ever be freed but by the collector.
    """
    store: CertificateStore = connection.get_app_data()
    shown = store.choose(connection.get_servername())
    try:
        connection.set_context(shown.context())
    except ValueError as error:
        # The base context has no certificate: there will be no handshake.
        _log.error("{place}: {why}", place=shown.pair.place, why=str(error))
    store.terms.asks.ask(connection)


def _provisional(shown: Shown) -> bool:
    return shown.pair.facts is not None and shown.pair.facts.provisional


def _looked_at(pair: CertificatePair, now: float) -> tuple[CertificatePair, Facts]:
    chain, facts = examined(pair.chain, pair.key.reveal())
    why = untimely(facts, now)
    # An automatic one is renewed, and nobody is kept from serving until then.
    if why and not pair.automatic:
        raise ValueError(why)
    return attrs.evolve(pair, chain=chain, facts=facts), facts
