"""A session that was verified, and the state that a process keeps with it."""

from __future__ import annotations

import attrs

from pomeriumd.session.session import Session

Token = tuple[str, str, bool]
"""What may be a session: the audience (``host:port``) that it came to, its text, and whether
it came in a cookie."""


@attrs.define(eq=False)
class Known:
    """A session that a request brought."""

    session: Session
    token: Token = attrs.field(repr=False)
    mark: object = attrs.field(repr=False)
    """Of the keys and the issuer that it was verified with: nothing but itself."""
    signed: str = attrs.field(repr=False)
    """Its token as we signed it last, so that others see it in use too: a browser may not have
    taken the new cookie."""

    @signed.default
    def _as_it_came(self) -> str:
        return self.token[1]

    @property
    def in_cookie(self) -> bool:
        """It came in a cookie, so a new one can be set."""
        return self.token[2]
