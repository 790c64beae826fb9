"""
What the pool needs of a connection to one replica, and what it learns from it.

These are the two seams between the pool, which knows no grpc, and ``channel``, which is the
real thing. Everything on both sides is called in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import Failed
from pomeriumd.settings.values import CertificatePair

Metadata = tuple[tuple[str, str], ...]
"""What a call brings along: names in lower case."""


@attrs.frozen(kw_only=True)
class Security:
    """How a connection is protected; one for all replicas."""

    plain: bool = False
    """No TLS at all: ``grpc_insecure``."""
    authorities: bytes = attrs.field(default=b"", repr=False)
    """PEM certificates to trust beside the system's."""
    certificate_name: str = ""
    """What certificates have to be for in place of the URL's host."""
    shown: CertificatePair | None = None
    """What we show to a replica that asks for it."""


class Line(Protocol):
    """A connection to one replica, which connects again by itself."""

    def check(
        self,
        question: Question,
        seconds: float,
        *,
        patient: bool,
        done: Callable[[Verdict | Failed], None],
    ) -> Callable[[], None]:
        """
        Ask a question.

        Args:
            question: to be decided.
            seconds: after which the answer is of no use any more.
            patient: wait for a connection that is being made anew, in place of failing with it.
            done: called once, and not before this returns; not after the call was given up.

        Returns:
            What gives the call up.
        """

    def probe(self, seconds: float, done: Callable[[Failed | None], None]) -> None:
        """Ask whether it serves; ``done`` is called once, with None if it does."""

    def close(self) -> None:
        """Hang up. Nothing is called any more."""


class Ear(Protocol):
    """What a line tells without being asked."""

    def serves(self, *, serving: bool | None) -> None:
        """Learn whether the replica serves; None when it is not heard."""

    def decides_by(self, generation: str) -> None:
        """Learn by which policies the replica decides; "" when it is not heard."""

    def clock_is(self, ahead: float) -> None:
        """Learn how many seconds the replica's clock is ahead of ours."""

    def fails(self, failed: Failed) -> None:
        """Learn why it is not heard."""


class Dial(Protocol):
    """Makes lines."""

    def __call__(
        self, endpoint: Endpoint, security: Security, metadata: Callable[[], Metadata], ear: Ear
    ) -> Line:
        """
        Begin to connect to a replica.

        Args:
            endpoint: where it is.
            security: how.
            metadata: makes that of the next call; called in any one thread.
            ear: is told what the replica tells.
        """
