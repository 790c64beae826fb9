"""
Certificates, ordered one after the other by txacme's ``AcmeIssuingService``.

The service is never started: by itself it would order all at once that it finds overdue, and
knows no pause after a failure. It is told what to order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from josepy import json_util
from josepy.jwk import JWKEC
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent
from txacme.interfaces import ICertificateStore
from txacme.service import AcmeIssuingService
from zope.interface import implementer

from pomeriumd.acme.account import STRANGER, Registration, contacted, registered
from pomeriumd.acme.order import Order
from pomeriumd.acme.problems import UNREACHABLE, AcmeError
from pomeriumd.acme.responders import Aside, not_kept
from pomeriumd.acme.store import AccountFile, Store
from pomeriumd.acme.wire import Wire

ORDER_SECONDS = 900.0
"""For one order with all its names; the lock is held for no longer."""


@implementer(ICertificateStore)
@attrs.define(eq=False)
class _Keeping:
    """The store as the service sees it: it is empty, and takes what was issued."""

    _issuing: Issuing

    def get(self, server_name: str) -> Deferred[Any]:
        """Have none."""
        return fail(KeyError(server_name))

    def as_dict(self) -> Deferred[Mapping[str, Any]]:
        """Have none."""
        return succeed({})

    def store(self, server_name: str, pem_objects: list[Any]) -> Deferred[None]:
        """Keep one."""
        return Deferred.fromCoroutine(self._issuing.keep(pem_objects))


@attrs.define(eq=False, kw_only=True)
class Issuing:
    """
    Orders certificates of one authority.

    Args:
        store: where all is kept.
        aside: for work that waits for the disk.
        agent: reaches the authority.
        clock: for waiting.
        now: seconds since the epoch.
        url: of its directory.
        registration: what the account is made out to.
        responder: has the authority find what it looks for.
        must_staple: see ``Order``.
    """

    _store: Store
    _aside: Aside
    _agent: IAgent
    _clock: IReactorTime
    _now: Callable[[], float]
    _url: str
    _registration: Registration
    _responder: Any
    _must_staple: bool
    _wire: Wire | None = attrs.field(default=None, init=False)
    _order: Order | None = attrs.field(default=None, init=False)
    _service: AcmeIssuingService = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._service = AcmeIssuingService(
            cert_store=_Keeping(self),
            client_creator=lambda: succeed(self._order),
            clock=self._clock,
            responders=[self._responder],
            generate_key=self._new_key,
        )

    @property
    def _present(self) -> Order:
        assert self._order is not None  # noqa: S101  # the service is asked by us alone
        return self._order

    def _new_key(self) -> ec.EllipticCurvePrivateKey:
        return self._present.new_key()

    async def issue(self, names: tuple[str, ...]) -> None:
        """
        Order a certificate and keep it. One at a time.

        Raises:
            AcmeError: it came to nothing.
            CancelledError: we were told to end.
        """
        work = Deferred.fromCoroutine(self._issue(names))
        try:
            await work.addTimeout(ORDER_SECONDS, self._clock)
        except defer.TimeoutError:
            raise AcmeError(
                f"the order took longer than {ORDER_SECONDS:g} s", UNREACHABLE
            ) from None

    async def _issue(self, names: tuple[str, ...]) -> None:
        wire = await self._known()
        try:
            await self._attempt(wire, names)
        except AcmeError as error:
            if error.kind != STRANGER:
                raise
            # It has forgotten us, or somebody has put another key there.
            wire.kid = ""
            await self._attempt(await self._known(), names)

    async def _attempt(self, wire: Wire, names: tuple[str, ...]) -> None:
        self._order = Order(
            wire=wire,
            names=names,
            type=self._responder.challenge_type,
            must_staple=self._must_staple,
            clock=self._clock,
        )
        try:
            await self._service.issue_cert(names[0])
        finally:
            self._order = None

    async def _known(self) -> Wire:
        """Return the wire with its account: the one that is kept, or a new one."""
        wire = self._wire
        try:
            if wire is None:
                key = await self._aside(self._store.account_key, self._url)
                wire = self._wire = Wire(
                    agent=self._agent,
                    clock=self._clock,
                    now=self._now,
                    url=self._url,
                    key=JWKEC(key=key),
                )
                await self._recall(wire)
            if not wire.kid:
                wire.kid = await registered(wire, self._registration)
                await self._keep_account(wire)
        except OSError as error:
            raise not_kept(error.filename or "autocert_dir", error) from error
        return wire

    async def _recall(self, wire: Wire) -> None:
        account: AccountFile = await self._aside(self._store.account, self._url)
        if account.key != _thumbprint(wire):
            return
        wire.kid = account.kid
        if account.kid and list(account.contact) != self._registration.contact:
            try:
                await contacted(wire, self._registration)
            except AcmeError as error:
                if error.kind != STRANGER:
                    raise
                wire.kid = ""
                return
            await self._keep_account(wire)

    async def _keep_account(self, wire: Wire) -> None:
        account = AccountFile(
            directory=self._url,
            kid=wire.kid,
            key=_thumbprint(wire),
            contact=tuple(self._registration.contact),
        )
        await self._aside(self._store.keep_account, account)

    async def keep(self, pem_objects: list[Any]) -> None:
        """Keep what was issued: a key, its certificate, and its chain."""
        pem = b"".join(one.as_bytes() for one in pem_objects)
        try:
            await self._aside(self._store.keep, self._present.names, pem, self._now())
        except OSError as error:
            raise not_kept(error.filename or "autocert_dir", error) from error


def _thumbprint(wire: Wire) -> str:
    """Return what the key of an account is known by. RFC 7638."""
    found: str = json_util.encode_b64jose(wire.key.thumbprint())
    return found
