"""
Orders the certificates of ``autocert`` in the background, in the process of the first seat.

What it has ordered lies in ``autocert_dir`` (``acme.store``) and is listed in its index, where the
watch of the settings' files sees it: so it serves as a new generation, here and on each host that
shares the directory. Whatever goes wrong is said, counted, and tried again later.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pomeriumd.acme.hook import Hook
from pomeriumd.acme.problems import ISSUED, NOT_KEPT, OUTCOMES, AcmeError
from pomeriumd.acme.schedule import TELLING, Agenda, Kept, Trouble, agenda, troubled
from pomeriumd.acme.store import Store
from pomeriumd.daemon.build import Built
from pomeriumd.daemon.series import Labels
from pomeriumd.net.verify import HTTPSPolicy
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.settings.automatic import missing_names, wanted_names
from pomeriumd.settings.keys import GLOBAL_KEYS, spellings
from pomeriumd.settings.model import Settings

LOOK_SECONDS = 3600.0
"""Between two looks at what is kept, at the most: another host may have changed it."""

AGAIN_SECONDS = 10.0
"""Before another try where another host orders, or where the directory cannot be used."""

MOST_NAMED = 10
"""Names in one line of the log."""

Start = Callable[[Settings, Store], Any]
"""Makes what orders under settings; see ``issuing_of``."""


@attrs.define(eq=False, kw_only=True)
class Autocert:
    """
    Keeps the certificates of the settings in force.

    Args:
        clock: for waiting.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
        aside: calls a function where it may wait for the disk; returns a Deferred.
        start: imports and makes what orders; it may wait, too.
    """

    _clock: Any
    _now: Callable[[], float]
    _random: Callable[[int], bytes]
    _aside: Callable[..., Deferred[Any]]
    _start: Start
    missing: int = attrs.field(default=0, init=False)
    """Names for which no certificate is there."""
    renewal: float = attrs.field(default=0.0, init=False)
    """When the next certificate is to be renewed: seconds since the epoch; 0 if there is none."""
    _outcomes: Counter[str] = attrs.field(init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _settings: Settings | None = attrs.field(default=None, init=False)
    _issuing: tuple[Any, Any] | None = attrs.field(default=None, init=False)
    """What it was made for, and itself."""
    _work: Deferred[float] | None = attrs.field(default=None, init=False)
    _again: bool = attrs.field(default=False, init=False)
    """Settings came while a round was under way."""
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _said: tuple[str, ...] = attrs.field(default=(), init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._outcomes = Counter(dict.fromkeys(OUTCOMES, 0))

    @property
    def orders(self) -> Mapping[Labels, int]:
        """Return how many orders have ended, by the outcome; none where it is off."""
        if self._settings is None or not self._settings.autocert:
            return {}
        return {(outcome,): count for outcome, count in self._outcomes.items()}

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the next renewal; 0 where there is nothing to renew."""
        return self.renewal - self._now() if self.renewal else 0.0

    def begin(self, built: Built) -> None:
        """Order from now on, under the generation in force."""
        if not self._begun:
            self._begun = True
            self.take(built)

    def take(self, built: Built) -> None:
        """Order under this generation from now on."""
        if not self._begun:
            return
        settings = self._settings = built.settings
        missing = missing_names(settings)
        self.missing = len(missing)
        if missing and missing != self._said:
            self._log.warn(
                "no certificate yet for {names}: browsers are shown one that they do not trust",
                names=named(missing),
            )
        self._said = missing
        if self._work is not None:
            self._again = True
        elif settings.autocert or self._next is not None:
            self._look()

    def stop(self) -> None:
        """Give up what is under way."""
        self._begun = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._work is not None:
            self._work.cancel()

    def _look(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        self._again = False
        work = self._work = Deferred.fromCoroutine(self._round())
        work.addCallbacks(self._later, self._broken)

    def _later(self, seconds: float) -> None:
        self._work = None
        if self._begun:
            self._next = self._clock.callLater(0.0 if self._again else seconds, self._look)

    def _broken(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure("ordering certificates failed: a bug of ours", failure)
        self._later(LOOK_SECONDS)

    async def _round(self) -> float:
        """Do what is to be done now; return the seconds until the next look."""
        settings = self._settings
        if settings is None or not settings.autocert:
            self.renewal = 0.0
            return LOOK_SECONDS
        store = Store(settings.autocert_place, self._random)
        lock = None
        try:
            plan = await self._plan(settings, store)
            if plan.orders:
                lock = await self._aside(store.lock)
                if lock is None:
                    return AGAIN_SECONDS * (1 + self._chance())
                # Whoever held it may have ordered just that.
                await self._order_all(settings, store)
                plan = await self._plan(settings, store)
        except OSError as error:
            self._outcomes[NOT_KEPT] += 1
            self._log.error(
                "autocert_dir {place} cannot be used: {why}; it has to belong to the daemon's user",
                place=settings.autocert_place,
                why=error.strerror,
            )
            return AGAIN_SECONDS * (1 + self._chance())
        finally:
            if lock is not None:
                os.close(lock)
        return min(max(plan.next - self._now(), 1.0), LOOK_SECONDS)

    async def _plan(self, settings: Settings, store: Store) -> Agenda:
        kept, troubles = await self._aside(_state, store)
        plan = agenda(
            wanted_names(settings),
            kept,
            troubles,
            self._now(),
            must_staple=settings.autocert_must_staple,
        )
        self.renewal = 0.0 if plan.renewal == float("inf") else plan.renewal
        return plan

    async def _order_all(self, settings: Settings, store: Store) -> None:
        """Order what is due; raise OSError where it cannot be remembered."""
        plan = await self._plan(settings, store)
        if not plan.orders:
            return
        issuing = await self._issuer(settings, store)
        troubles: dict[str, Trouble] = await self._aside(store.troubles)
        for done, names in enumerate(plan.orders):
            try:
                await issuing.issue(names)
            except AcmeError as error:
                self._outcomes[error.outcome] += 1
                failed = [names]
                if error.whole:
                    failed += plan.orders[done + 1 :]
                self._note(error, failed, troubles)
                await self._aside(store.remember, troubles)
                if error.whole:
                    return
            else:
                self._outcomes[ISSUED] += 1
                self._log.info("a certificate was issued for {names}", names=named(names))
                await self._kept(settings, store, names, troubles)

    async def _kept(
        self, settings: Settings, store: Store, names: tuple[str, ...], troubles: dict[str, Trouble]
    ) -> None:
        for name in names:
            troubles.pop(name, None)
        kept = await self._aside(store.kept)
        staple = settings.autocert_must_staple
        if agenda(names, kept, {}, self._now(), must_staple=staple).orders:
            text = (
                "the authority's certificate is no sooner there than it is to be renewed; is the "
                "clock of this host right, and does the authority follow autocert_must_staple?"
            )
            self._note(AcmeError(text), [names], troubles)
        await self._aside(store.remember, troubles)

    def _note(
        self, error: AcmeError, failed: list[tuple[str, ...]], troubles: dict[str, Trouble]
    ) -> None:
        """Remember and say what came to nothing."""
        everyone = [name for names in failed for name in names]
        if error.kind in TELLING and error.names.isdisjoint(everyone) and len(everyone) > 1:
            self._set_apart(error, everyone, troubles)
            return
        told = [name for name in everyone if name in error.names] or everyone
        now, chance = self._now(), self._chance()
        for name in told:
            troubles[name] = troubled(
                troubles.get(name),
                outcome=error.outcome,
                text=str(error),
                retry_after=error.retry_after,
                now=now,
                chance=chance,
            )
        self._log.error(
            "no certificate was issued for {names}: {why}; tries again in {seconds} s",
            names=named(told),
            why=str(error),
            outcome=error.outcome,
            seconds=round(min(troubles[name].next for name in told) - now),
        )

    def _set_apart(self, error: AcmeError, names: list[str], troubles: dict[str, Trouble]) -> None:
        """Have each name ordered by itself, to learn which of them it is."""
        for name in names:
            troubles[name] = Trouble(
                failures=0, next=self._now(), outcome=error.outcome, text=str(error)
            )
        self._log.warn(
            "no certificate was issued for {names}: {why}; each is ordered by itself now",
            names=named(names),
            why=str(error),
        )

    async def _issuer(self, settings: Settings, store: Store) -> Any:
        """Return what orders; the one that is there, while it is right."""
        key = tuple(
            getattr(settings, GLOBAL_KEYS[name].attribute)
            for name in sorted(GLOBAL_KEYS)
            if name.startswith("autocert")
        )
        if self._issuing is None or self._issuing[0] != (key, settings.state_dir):
            made = await self._aside(self._start, settings, store)
            self._issuing = ((key, settings.state_dir), made)
        return self._issuing[1]

    def _chance(self) -> float:
        return int.from_bytes(self._random(4)) / 2**32


def _state(store: Store) -> tuple[list[Kept], dict[str, Trouble]]:
    return store.kept(), store.troubles()


def named(names: tuple[str, ...] | list[str]) -> str:
    """Return names for a line of the log, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def issuing_of(
    reactor: Any,
    now: Callable[[], float],
    random: Callable[[int], bytes],
    aside: Callable[..., Deferred[Any]],
    settings: Settings,
    store: Store,
) -> Any:
    """
    Return what orders under these settings.

    What it imports takes a sixth of a second and 8 MiB, so it is called aside, and only where
    certificates are to be ordered.
    """
    from pomeriumd.acme.account import Registration  # noqa: PLC0415  # see above
    from pomeriumd.acme.issuing import Issuing  # noqa: PLC0415
    from pomeriumd.acme.responders import FileResponder, HookResponder  # noqa: PLC0415

    mac_key, place = settings.autocert_eab_mac_key, settings.autocert_place
    program = settings.autocert_dns_hook
    responder: FileResponder | HookResponder
    if settings.acme_challenge == "dns-01" and program is not None:
        responder = HookResponder(Hook(reactor, program, hook_environment(os.environ)))
    else:
        responder = FileResponder(settings.acme_challenge, place, aside, now, random)
    return Issuing(
        store=store,
        aside=aside,
        agent=provider_agent(reactor, HTTPSPolicy(settings.autocert_trusted_ca)),
        clock=reactor,
        now=now,
        url=settings.acme_directory,
        registration=Registration(
            email=settings.autocert_email,
            eab_key_id=settings.autocert_eab_key_id,
            eab_mac_key=None if mac_key is None else mac_key.reveal(),
        ),
        responder=responder,
        must_staple=settings.autocert_must_staple,
    )


def hook_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the hook: ours, without what are settings, and may be secrets."""
    settings = {name.upper() for name in spellings(GLOBAL_KEYS)}
    return {name: value for name, value in ours.items() if name not in settings}
