"""
What an order can fail of, by what has to be done about it.

Source: RFC 8555 section 6.7.
"""

from __future__ import annotations

REFUSED, LIMITED, UNREACHABLE = "refused", "rate_limited", "unreachable"
HOOK, NOT_KEPT = "hook_failed", "not_kept"
ISSUED = "issued"
OUTCOMES = (ISSUED, REFUSED, LIMITED, UNREACHABLE, HOOK, NOT_KEPT)
"""What may become of an order, as metrics and the status name it."""


class AcmeError(Exception):
    """
    An order came to nothing. No request ever ends with it.

    The text says where and why, and what to do if anybody can.

    Args:
        text: a line; what the authority said is in it as ASCII.
        outcome: one of OUTCOMES.
        kind: the last part of the authority's ``urn:ietf:params:acme:error:``; "" if it said none.
        retry_after: seconds that the authority wants us to wait; 0 if it did not say.
        names: of the order, those that it failed of; none if it failed of none in particular.
        whole: nothing that is ordered there now would fare better.
    """

    def __init__(
        self,
        text: str,
        outcome: str = REFUSED,
        *,
        kind: str = "",
        retry_after: float = 0.0,
        names: frozenset[str] = frozenset(),
        whole: bool = False,
    ) -> None:
        super().__init__(text)
        self.outcome, self.kind, self.retry_after = outcome, kind, retry_after
        self.names, self.whole = names, whole
