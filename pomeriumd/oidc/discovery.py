"""
The provider's metadata: fetched when first needed, kept, and kept over restarts.

A provider that is down stops new sign-ins at most, never our start: the last good copy
in ``state_dir`` stands in. A copy is checked as if it had just come.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.client import DEFAULT_SIZE, ProviderClient
from pomeriumd.oidc.document import read_object
from pomeriumd.oidc.kinds import Kind
from pomeriumd.oidc.metadata import Metadata, discovery_url, read_metadata
from pomeriumd.oidc.waiting import Backoff, SingleFlight

MAX_AGE = 3_600.0
"""Seconds after which metadata is fetched again."""

LAST_GOOD_AGE = 7 * 86_400.0
"""Seconds for which a copy may stand in for a provider that is down."""

_STATUS_OK = 200

_KEPT = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "revocation_endpoint",
    "end_session_endpoint",
    "token_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_methods_supported",
    "authorization_response_iss_parameter_supported",
    "id_token_signing_alg_values_supported",
)


@attrs.frozen(kw_only=True)
class LastGood:
    """One provider's last good metadata, in a file of ours."""

    _directory: str
    _issuer: str
    _random: Callable[[int], bytes]

    @property
    def path(self) -> Path:
        """Where the copy is; its name says nothing that a shell would mind."""
        digest = hashlib.sha256(self._issuer.encode()).hexdigest()[:32]
        return Path(self._directory, f"oidc-{digest}.json")

    def save(self, document: dict[str, Any], now: float) -> None:
        """
        Replace the copy, in one step.

        Args:
            document: that has been checked.
            now: seconds since the epoch.

        Raises:
            OSError: it could not be written; the old copy is still there.
        """
        kept = {name: document[name] for name in _KEPT if name in document}
        octets = json.dumps({"fetched": now, "metadata": kept}).encode("ascii")
        path = self.path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{self._random(8).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink()
            raise

    def load(self, now: float) -> tuple[dict[str, Any], float] | None:
        """
        Return the copy and its age in seconds; None if there is none that may be used.

        Whoever could write it could send our users and the client secret anywhere: it
        has to be ours, and nobody else may be able to write it.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                about = os.fstat(file.fileno())
                if about.st_uid != os.geteuid() or about.st_mode & 0o022:
                    return None
                if not stat.S_ISREG(about.st_mode) or about.st_size > DEFAULT_SIZE:
                    return None
                copy = read_object(file.read(DEFAULT_SIZE))
        except (OSError, ValueError):
            return None
        fetched: Any = copy.get("fetched")
        document = copy.get("metadata")
        if type(fetched) not in (int, float) or not isinstance(document, dict):
            return None
        age = now - fetched
        return (document, age) if 0 <= age < LAST_GOOD_AGE else None


@attrs.define(kw_only=True)
class Discovery:
    """Gives the metadata of one provider."""

    _issuer: str
    _kind: Kind
    _algorithms: tuple[str, ...]
    _client: ProviderClient
    _clock: IReactorTime
    _now: Callable[[], float]
    _last_good: LastGood | None
    _backoff: Backoff
    _log: Logger
    _metadata: Metadata | None = attrs.field(default=None, init=False)
    _fetched: float = attrs.field(default=0.0, init=False)
    _flight: SingleFlight[Metadata] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._flight = SingleFlight(self._fetch)

    async def get(self) -> Metadata:
        """
        Return metadata that is fresh, or the last good one while the provider is down.

        Raises:
            ProviderError: it cannot be had, and no copy that is recent enough is there.
        """
        age = self._clock.seconds() - self._fetched
        if self._metadata is not None and age < MAX_AGE:
            return self._metadata
        left = self._backoff.left
        if left:
            failed = ProviderError(f"discovery: failed a moment ago, next try in {left:.0f} s")
        elif self._metadata is not None and self._backoff.failing and age < LAST_GOOD_AGE:
            # It failed the last time. Nobody waits for another try, since what is kept is
            # good for days; whoever comes next has what came of it.
            self._flight.get().addErrback(_is_logged)
            return self._metadata
        else:
            try:
                return await self._flight.get()
            except ProviderError as error:
                failed = error
        stand_in = self._stand_in(age)
        if stand_in is None:
            raise failed
        return stand_in

    async def _fetch(self) -> Metadata:
        try:
            document, metadata = await self._ask()
        except ProviderError as error:
            if not self._backoff.failing:
                self._log.warn(
                    "discovery of {issuer} failed: {reason}",
                    issuer=self._issuer,
                    reason=str(error),
                )
            self._backoff.failed()
            raise
        if self._backoff.failing:
            self._log.info("discovery of {issuer} works again", issuer=self._issuer)
        self._backoff.worked()
        self._metadata, self._fetched = metadata, self._clock.seconds()
        self._save(document)
        return metadata

    async def _ask(self) -> tuple[dict[str, Any], Metadata]:
        reply = await self._client.get(discovery_url(self._issuer), "discovery")
        if reply.status != _STATUS_OK:
            raise ProviderError(f"discovery: status {reply.status}, want 200")
        document = reply.read_object("discovery")
        return document, self._read(document)

    def _read(self, document: dict[str, Any]) -> Metadata:
        return read_metadata(
            document, issuer=self._issuer, kind=self._kind, algorithms=self._algorithms
        )

    def _save(self, document: dict[str, Any]) -> None:
        if self._last_good is None:
            return
        try:
            self._last_good.save(document, self._now())
        except OSError as error:
            # Not fatal: it is missed only if the provider is down at our next start.
            self._log.warn(
                "metadata cannot be kept in {path}: {reason}; it will be missed if the provider is"
                " down when we start: make the place writable and some room in it",
                path=str(self._last_good.path),
                reason=error.strerror,
            )

    def _stand_in(self, age: float) -> Metadata | None:
        if self._metadata is not None:
            return self._metadata if age < LAST_GOOD_AGE else None
        kept = self._last_good.load(self._now()) if self._last_good is not None else None
        if kept is None:
            return None
        document, age = kept
        try:
            self._metadata = self._read(document)
        except ProviderError:
            return None
        # Old in any case: the next call tries to fetch, as soon as the back-off lets it.
        self._fetched = self._clock.seconds() - max(age, MAX_AGE)
        self._log.warn(
            "using the kept metadata of {issuer}, as it cannot be fetched", issuer=self._issuer
        )
        return self._metadata


def _is_logged(failed: Failure) -> None:
    failed.trap(ProviderError)
