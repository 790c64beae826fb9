"""The world outside, as generations know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from pomeriumd.access.authorizer import Remote
from pomeriumd.access.verdict import Given, Question
from pomeriumd.errors import Problem, Undecided
from pomeriumd.net.staples import Staples
from pomeriumd.net.upstreams import Connector
from pomeriumd.proxy.replies import CountTLS, not_counted


@attrs.frozen
class Nobody:
    """No authorize service elsewhere, where none is needed, or none may be asked yet."""

    async def check(self, question: Question) -> Given:
        """Decide nothing."""
        del question
        raise Undecided("no authorize service is asked by this process")

    def holds(self, replica: str, generation: str) -> bool | None:
        """Have nobody to tell."""
        del replica, generation
        return None


@attrs.frozen(kw_only=True)
class World:
    """What a generation needs from outside, the same for all of them."""

    agent: IAgent
    """Reaches the identity provider."""
    clock: IReactorTime
    now: Callable[[], float]
    """Seconds since the epoch."""
    random: Callable[[int], bytes]
    """Unpredictable bytes."""
    connector: Connector
    """Makes the endpoints that reach upstreams."""
    problems: Callable[[], Sequence[Problem]] = tuple
    """Says what is wrong outside at this moment, and what to change."""
    authorize: Remote = Nobody()
    """Decides for a proxy that does not decide itself."""
    count_tls: CountTLS = not_counted
    """Counts requests that failed because TLS with the upstream did."""
    staples: Staples | None = None
    """What is shown with certificates of what their issuers' responders say."""
