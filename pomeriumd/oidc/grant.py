"""What a provider gives for a code or a refresh token. Pure."""

from __future__ import annotations

from typing import ClassVar

import attrs

from pomeriumd.errors import PomeriumError, Side
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


@attrs.frozen(kw_only=True)
class Grant:
    """A confirmed person, and the tokens to confirm them again."""

    identity: Identity
    refresh_token: str | None = attrs.field(repr=False)
    """The one to use next: at a refresh the new one, or the old one if it stays."""
    id_token: str | None = attrs.field(repr=False)
    """For the provider's logout; None where a refresh gave no new one."""
    access_token: str | None = attrs.field(repr=False)
