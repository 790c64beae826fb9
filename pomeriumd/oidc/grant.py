"""What a provider gives for a code or a refresh token. Pure."""

from __future__ import annotations

from typing import ClassVar

import attrs

from pomeriumd.errors import PomeriumError, ProviderError, Side
from pomeriumd.session.session import Identity


class GrantRefused(PomeriumError):
    """
    The provider will not renew this session, or can no longer confirm who it is.

    Only a new sign-in helps. Not a ProviderError: that one means try again, and lets a
    session go on for a while.
    """

    status: ClassVar[int] = 401
    side: ClassVar[Side] = Side.PROVIDER
    public: ClassVar[str] = "Please sign in again."


class Unconfirmed(ProviderError):
    """
    A refresh token was used, and then nobody could say who the person is: try again later.

    Args:
        text: for the log: what failed after the token's use.
        refresh_token: to try again with. A provider that rotates takes a second use of the
            old one for theft, and signs the person out everywhere.
    """

    def __init__(self, text: str, refresh_token: str) -> None:
        super().__init__(text)
        self.refresh_token = refresh_token


@attrs.frozen(kw_only=True)
class Grant:
    """A confirmed person, and the tokens to confirm them again."""

    identity: Identity
    refresh_token: str | None = attrs.field(repr=False)
    """The one to use next: at a refresh the new one, or the old one if it stays."""
    id_token: str | None = attrs.field(repr=False)
    """For the provider's logout; None where a refresh gave no new one."""
    access_token: str | None = attrs.field(repr=False)
