"""
Where the proxy asks for a decision.

The proxy hands over the route that it matched; nobody looks a route up again from a
host name or a URL, so the rules that are asked are those of the route that is served.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import attrs

from pomeriumd.access.client_certificate import ClientCertificate
from pomeriumd.access.decision import Decision
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import Given, Question
from pomeriumd.session.known import Known


class Authorizer(Protocol):
    """Who decides: the compiled policies in this process, or a service elsewhere."""

    def decide(
        self, route: Route, known: Known | None, certificate: ClientCertificate | None = None
    ) -> Decision | Awaitable[Decision]:
        """
        Decide one request.

        Args:
            route: the route that the request was matched to.
            known: a session that is verified and fresh enough to count; None for nobody.
            certificate: of the client, verified as the route asks; None for none.

        Returns:
            The decision, or something to await when it has to be fetched; that raises
            ``Undecided`` when nobody could tell.
        """

    @property
    def heard(self) -> bool:
        """Return whether a decision that is given at once is known to hold at this moment."""

    @property
    def patience(self) -> float:
        """Return for how many seconds what lasts may go on while nobody can decide it again."""


class Remote(Protocol):
    """A service elsewhere that decides: any of its replicas."""

    def check(self, question: Question) -> Awaitable[Given]:
        """
        Have one replica answer.

        Raises:
            Undecided: none of them did, in time.
        """

    def holds(self, replica: str, generation: str) -> bool | None:
        """
        Say whether what a replica decided under a generation still holds.

        Returns:
            None when there is nobody to tell: no replica is heard at all.
        """


@attrs.frozen
class LocalAuthorizer:
    """Asks the route's own policy, at once."""

    def decide(
        self, route: Route, known: Known | None, certificate: ClientCertificate | None = None
    ) -> Decision:
        """Return what the route's policy says."""
        identity = None if known is None else known.session.identity
        if certificate is None:
            return route.policy.decide(identity)
        return route.policy.decide(identity, certificate.attribute)

    @property
    def heard(self) -> bool:
        """Return True: it is this very policy."""
        return True

    @property
    def patience(self) -> float:
        """Return 0: the policy is always there."""
        return 0.0
