"""
A decision that is asked for elsewhere: the question, and what comes back.

The same values on both sides of the wire, so that neither the policies nor the cache know
how they travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from pomeriumd.access.decision import Decision

SESSION = "session"
"""What a policy that asks who somebody is depends on; the others are names of attributes."""

CLIENT_CERTIFICATE = "client_certificate"
"""The attribute with the hashes of the client's certificate, see ``ClientCertificate.attribute``;
it is there only if the proxy has verified that certificate as the route asks."""

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Question:
    """What a proxy asks of one request."""

    route: str
    """Id of the route that it matched."""
    token: str = attrs.field(default="", repr=False)
    """Of the route session, as it was signed; empty for nobody. Whoever decides verifies it."""
    generation: str = ""
    """Digest of the policies that the proxy has itself: a rolling change shows in the log."""
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    """Of the request: those that the route's policy depends on, by their names."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What was decided, and for how long that holds."""

    decision: Decision
    valid_for: float
    """Seconds; 0 is for this one request."""
    generation: str
    """Digest of the policies that decided. It has no order: it is equal to another, or not."""
    depends_on: frozenset[str] = frozenset()
    """What else the decision depends on: ``SESSION``, and names of attributes. It may be kept for
    questions that are alike in these, and for no others."""


@attrs.frozen
class Given:
    """A verdict, and the replica that gave it."""

    verdict: Verdict
    replica: str
    """Its address, as it stands in logs."""
