"""What authenticate asks of an identity provider."""

from __future__ import annotations

from typing import Protocol

from pomeriumd.oidc.grant import Grant
from pomeriumd.session.session import Identity


class Provider(Protocol):
    """
    An identity provider.

    Each method may raise ProviderError: it is down, slow, or answers what it must not.
    """

    issuer: str
    """As the settings name it."""

    async def authorization_url(
        self, *, state: str, nonce: str, verifier: str, redirect_uri: str
    ) -> str:
        """Return where to send the browser to sign in."""

    async def exchange(
        self, *, code: str, verifier: str, nonce: str, redirect_uri: str, iss: str | None
    ) -> Grant:
        """Return who signed in; LoginFailed if a check says no."""

    async def refresh(self, *, refresh_token: str, identity: Identity) -> Grant:
        """Return the person as they are known now; GrantRefused or LoginFailed ends it."""

    async def revoke(self, *, refresh_token: str | None, access_token: str | None) -> bool:
        """Tell the provider to forget the tokens; say whether it confirmed them all."""

    async def logout_url(
        self, *, id_token: str | None, redirect_uri: str, state: str
    ) -> str | None:
        """Return where the provider ends its own session; None if it has no such place."""
