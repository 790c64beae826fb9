"""
The header fields that every answer carries, as the host of the request has them.

Which hosts those are is found when a generation is built. A route has its fields at hand; an
answer of our own looks up its host here.
"""

from __future__ import annotations

import attrs

from pomeriumd.http.events import Field

HSTS = "strict-transport-security"

NOTHING: frozenset[bytes] = frozenset()
ONLY_HSTS = frozenset({HSTS.encode("ascii")})

Pairs = tuple[tuple[str, str], ...]
"""Names and values, as settings have them."""


@attrs.frozen(eq=False)
class ResponseHeaders:
    """
    What answers carry, with and without Strict-Transport-Security.

    Args:
        usual: what the settings say.
        insistent: the hosts, canonical, that send all of it; None is every host.
    """

    _usual: Pairs
    _insistent: frozenset[str] | None = attrs.field(default=None, repr=False)
    _others: Pairs = attrs.field(init=False)
    _usual_fields: tuple[Field, ...] = attrs.field(init=False)
    _other_fields: tuple[Field, ...] = attrs.field(init=False)

    @_others.default
    def _without_hsts(self) -> Pairs:
        return tuple(pair for pair in self._usual if pair[0].lower() != HSTS)

    @_usual_fields.default
    def _usual_encoded(self) -> tuple[Field, ...]:
        return _encoded(self._usual)

    @_other_fields.default
    def _others_encoded(self) -> tuple[Field, ...]:
        return _encoded(self._others)

    def pairs(self, host: str) -> Pairs:
        """Return what the answers of a host carry."""
        return self._usual if self.insists(host) else self._others

    def insists(self, host: str) -> bool:
        """Return whether a host sends all of it."""
        return self._insistent is None or host in self._insistent

    def drops(self, host: str) -> frozenset[bytes]:
        """Return what an application may not say at a host either."""
        return NOTHING if self.insists(host) else ONLY_HSTS

    def without_hsts(self) -> ResponseHeaders:
        """Return the same with Strict-Transport-Security at no host."""
        return ResponseHeaders(self._others)

    def fields(self, host: bytes) -> tuple[Field, ...]:
        """Return the same for the wire, names in lower case."""
        insists = self.insists(host.decode("ascii", "replace"))
        return self._usual_fields if insists else self._other_fields


def _encoded(pairs: Pairs) -> tuple[Field, ...]:
    return tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in pairs)
