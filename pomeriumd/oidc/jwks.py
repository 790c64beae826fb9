"""
The provider's keys: fetched when first needed, and once more for a key not seen before.

A stranger's ``kid`` cannot make us flood the provider: after one fetch the next waits,
and until then an unknown key is unknown (O19: the throttle fails closed).
"""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.client import ProviderClient
from pomeriumd.oidc.discovery import Discovery
from pomeriumd.oidc.keyset import Key, KeySet, read_keys
from pomeriumd.oidc.waiting import Backoff, SingleFlight

MAX_AGE = 3_600.0
"""Seconds after which keys are fetched again, so that a withdrawn one goes."""

LAST_GOOD_AGE = 86_400.0
"""Seconds for which keys may stand in while the provider does not give them."""

PAUSE = 30.0
"""Seconds between two fetches for keys that are not known."""

_STATUS_OK = 200


@attrs.define(kw_only=True)
class KeySource:
    """Gives the keys of one provider."""

    _discovery: Discovery
    _client: ProviderClient
    _clock: IReactorTime
    _backoff: Backoff
    _log: Logger
    _keys: KeySet | None = attrs.field(default=None, init=False)
    _from: str = attrs.field(default="", init=False)
    _fetched: float = attrs.field(default=0.0, init=False)
    _flight: SingleFlight[KeySet] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._flight = SingleFlight(self._fetch)

    async def fitting(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """
        Return the keys that a token may have been signed with; none if none is known.

        Raises:
            ProviderError: the keys cannot be had.
        """
        keys = await self._current()
        found = keys.fitting(kid, algorithm)
        if found or self._age() < PAUSE:
            return found
        if self._backoff.left:
            raise ProviderError(f"key set: failed a moment ago, no {algorithm} key fits")
        return (await self._flight.get()).fitting(kid, algorithm)

    async def renewed(
        self, kid: str | None, algorithm: str, tried: tuple[Key, ...]
    ) -> tuple[Key, ...]:
        """
        Return other keys than those ``tried``, if the provider changed them.

        For a token that names no key: after a rotation the only key of the old set fits
        it and does not verify it. Fetches at most once in PAUSE seconds.

        Raises:
            ProviderError: the keys cannot be had.
        """
        if kid is not None or self._age() < PAUSE or self._backoff.left:
            return ()
        keys = (await self._flight.get()).fitting(kid, algorithm)
        return () if keys == tried else keys

    def _age(self) -> float:
        return self._clock.seconds() - self._fetched

    async def _current(self) -> KeySet:
        metadata = await self._discovery.get()
        if self._keys is not None and self._from == metadata.jwks_uri:
            if self._age() < MAX_AGE:
                return self._keys
            stand_in = self._keys if self._age() < LAST_GOOD_AGE else None
        else:
            stand_in = None
        left = self._backoff.left
        if left:
            failed = ProviderError(f"key set: failed a moment ago, next try in {left:.0f} s")
        else:
            try:
                return await self._flight.get()
            except ProviderError as error:
                failed = error
        if stand_in is None:
            raise failed
        return stand_in

    async def _fetch(self) -> KeySet:
        uri = (await self._discovery.get()).jwks_uri
        try:
            keys = await self._ask(uri)
        except ProviderError as error:
            if not self._backoff.failing:
                self._log.warn("keys at {uri} failed: {reason}", uri=uri, reason=str(error))
            self._backoff.failed()
            raise
        self._backoff.worked()
        self._keys, self._from, self._fetched = keys, uri, self._clock.seconds()
        return keys

    async def _ask(self, uri: str) -> KeySet:
        reply = await self._client.get(uri, "key set")
        if reply.status != _STATUS_OK:
            raise ProviderError(f"key set: status {reply.status}, want 200")
        return read_keys(reply.read_object("key set"))
