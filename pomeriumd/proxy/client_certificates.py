"""
Whether a request has the client certificate that its route wants.

Asked of each request, by the rule of the very route that it is for, whatever the connection was
opened for: names in the handshake and in the request are both the client's to choose.
"""

from __future__ import annotations

import attrs

from pomeriumd.access.client_certificate import ClientCertificate
from pomeriumd.access.decision import CERTIFICATE_INVALID, CERTIFICATE_REQUIRED, explain
from pomeriumd.errors import Misdirected, NoClientCertificate
from pomeriumd.net.client_certificates import Ask, Asks, ClientRule, Shown
from pomeriumd.net.exchange import Exchange


@attrs.frozen(kw_only=True, eq=False)
class Wanted:
    """What one route wants of the clients' certificates."""

    rule: ClientRule
    required: bool
    """Nobody gets on without; else one that does not count is as good as none."""
    host: Ask
    """What its host asks for."""
    asks: Asks
    """What all hosts do."""

    def asked(self, shown: Shown | None) -> bool:
        """Return whether a connection's client was asked for what this route's host asks for."""
        return shown is not None and self.asks.of(shown.server_name) == self.host


def refusal(
    wanted: Wanted | None, shown: Shown | None, now: float
) -> tuple[ClientCertificate | None, tuple[str, ...]]:
    """
    Return the certificate that counts, and the words for why a request may not go on.

    Args:
        wanted: None where the route wants none.
        shown: None where the client was not asked.
        now: seconds since the epoch.
    """
    if wanted is None:
        return None, ()
    if shown is None or not wanted.asked(shown):
        return None, ((CERTIFICATE_REQUIRED,) if wanted.required else ())
    verdict = shown.verdict(wanted.rule, now)
    if verdict.certificate is not None or not wanted.required:
        return verdict.certificate, ()
    if verdict.word == CERTIFICATE_REQUIRED:
        return None, (CERTIFICATE_REQUIRED,)
    return None, (CERTIFICATE_INVALID, verdict.word)


def presented(exchange: Exchange, wanted: Wanted | None, now: float) -> ClientCertificate | None:
    """
    Return the certificate that counts for a request; None where none has to be there.

    Raises:
        Misdirected: the connection was opened under a name for which nothing, or something
            else, is asked for.
        NoClientCertificate: there is none, or it does not count.
    """
    if wanted is None:
        return None
    certificate, reasons = refusal(wanted, exchange.shown, now)
    if not reasons:
        return certificate
    exchange.decision, exchange.reasons = "deny", reasons
    shown = exchange.shown
    if shown is None or not wanted.asked(shown):
        raise Misdirected("the connection was opened for a host with another rule on certificates")
    raise NoClientCertificate(
        f"the client's certificate does not do: {reasons[-1]}", explain(reasons), shown.title
    )
