"""Authenticate's own sessions: in one cookie at its host, sealed, in pieces if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from pomeriumd.authenticate.site import AuthenticateSite
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken, LoginFailed
from pomeriumd.http.events import Field
from pomeriumd.oidc.grant import Grant
from pomeriumd.session.claims import identity_claims, read_identity
from pomeriumd.session.cookies import CookieShape, Pair, clear, read, write
from pomeriumd.session.groups import fitting
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.standing import Standing, standing

NAME_SIZE = 200
"""Characters of a person's name that are kept: it is for showing only."""


@attrs.frozen(kw_only=True)
class OwnSessions:
    """
    Reads, judges and writes them.

    Args:
        site: names and limits.
        keys: from ``cookie_secret``.
        issuer: of the provider in the settings: another one's sessions do not open.
        random: returns that many unpredictable bytes.
    """

    site: AuthenticateSite
    keys: KeyRing = attrs.field(repr=False)
    issuer: str
    random: Callable[[int], bytes] = attrs.field(repr=False)

    @property
    def shape(self) -> CookieShape:
        """Return the shape of the cookie."""
        return self.site.shape.host_only("authenticate")

    def find(self, pairs: Iterable[Pair]) -> ProviderSession | None:
        """Return the session that the browser sent, whatever its standing."""
        for value in read(pairs, self.shape):
            try:
                return open_provider(
                    self.keys, value, audience=self.site.audience, issuer=self.issuer
                )
            except BadToken:
                continue
        return None

    def standing(self, own: ProviderSession, now: float) -> Standing:
        """Return how far it is believed now."""
        return standing(self.at(own, self.site.audience), now, self.site.limits)

    def at(self, own: ProviderSession, audience: str) -> Session:
        """Return the session that a host gets of this one."""
        return Session(
            id=own.id,
            identity=own.identity,
            issuer=self.site.origin,
            audience=audience,
            auth_time=own.auth_time,
            checked=own.checked,
            recheck=own.checked + int(self.site.limits.recheck),
            seen=own.seen,
            expires=own.expires,
        )

    def write(self, own: ProviderSession, pairs: Iterable[Pair], now: float) -> list[Field]:
        """Return the Set-Cookie fields that keep it."""
        sealed = seal_provider(
            self.keys, own, audience=self.site.audience, issuer=self.issuer, random=self.random
        )
        return write(self.shape, sealed, max_age=max(int(own.expires - now), 0), pairs=pairs)

    def clear(self, pairs: Iterable[Pair]) -> list[Field]:
        """Return the Set-Cookie fields that clear it."""
        return clear(pairs, self.shape)

    def begun(self, grant: Grant, session_id: str, now: int) -> ProviderSession:
        """
        Return the session of somebody who has just signed in.

        Args:
            grant: what the provider said.
            session_id: new: the id of a session that was there before is never kept.
            now: seconds since the epoch.

        Raises:
            LoginFailed: the identity is not one that a session can hold.
        """
        return ProviderSession(
            id=session_id,
            identity=self._bounded(grant.identity),
            auth_time=now,
            checked=now,
            seen=now,
            expires=now + int(self.site.limits.expire),
            refresh_token=grant.refresh_token,
            id_token=grant.id_token,
        )

    def renewed(self, own: ProviderSession, grant: Grant, checked: int) -> ProviderSession:
        """
        Return the session with what the provider says now; its end stays where it was.

        Raises:
            LoginFailed: the grant is another person's, or not one that a session can hold.
        """
        person = grant.identity
        if (person.issuer, person.subject) != (own.identity.issuer, own.identity.subject):
            raise LoginFailed(
                "renewal names another person", "id-token-subject", "Please sign in again."
            )
        return attrs.evolve(
            own,
            identity=self._bounded(person),
            checked=checked,
            refresh_token=grant.refresh_token or own.refresh_token,
            id_token=grant.id_token or own.id_token,
        )

    def _bounded(self, identity: Identity) -> Identity:
        """Return the identity as a route host will take it: judged by the same rules."""
        name = identity.name[:NAME_SIZE] if identity.name else None
        groups = fitting(identity.groups, self.site.groups_named)
        bounded = attrs.evolve(identity, name=name, groups=groups)
        try:
            return read_identity(identity_claims(bounded))
        except BadToken as bad:
            raise LoginFailed(
                f"identity does not fit a session: {bad}",
                "identity",
                "The identity provider describes you in a way that this service does not take."
                " Please tell whoever runs this service.",
            ) from bad
