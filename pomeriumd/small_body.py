"""What is sent to another server in one piece, as Twisted's agent wants it."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
@attrs.frozen
class SmallBody:
    """
    A small body, sent at once.

    treq's own producer would spread it over turns of the global reactor.
    """

    _octets: bytes = attrs.field(repr=False)

    @property
    def length(self) -> int:
        """Size in bytes."""
        return len(self._octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all is written."""

    def resumeProducing(self) -> None:
        """Do nothing: all is written."""

    def stopProducing(self) -> None:
        """Do nothing: all is written."""
