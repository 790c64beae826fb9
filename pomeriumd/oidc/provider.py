"""
One OpenID Connect provider: sign-in, renewal, revocation, logout.

The order of the steps and nothing else stands here: what is sent and read is in flow,
what is believed in tokens and identity, how it travels in client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from pomeriumd.errors import LoginFailed, Problem, ProviderError, SettingsError
from pomeriumd.oidc import flow, tokens
from pomeriumd.oidc.client import ProviderClient, Reply
from pomeriumd.oidc.discovery import Discovery, LastGood
from pomeriumd.oidc.grant import Grant, GrantRefused, Unconfirmed
from pomeriumd.oidc.identity import build, check_userinfo, gone_silent, is_complete
from pomeriumd.oidc.jwks import KeySource
from pomeriumd.oidc.keyset import ALGORITHMS
from pomeriumd.oidc.kinds import KINDS, Claims, Kind, issuer_of
from pomeriumd.oidc.metadata import OURS, Metadata, issuer_problem, serves_tenants
from pomeriumd.oidc.refusals import refusal
from pomeriumd.oidc.waiting import Backoff, Patience
from pomeriumd.session.session import Identity

TOKEN_SECONDS = 10.0
"""For the token endpoint: some providers look a person up in slow places."""

LONGEST_REST = 10.0
"""Seconds for which renewals do not wait for a provider that hangs: about as long, after it is
back, people whose session must be confirmed first may be told to try again."""

REVOKE_SECONDS = 3.0
"""For revocation: the user is waiting to be signed out."""

_STATUS_OK = 200
_REFUSED = range(400, 500)
_TOO_MANY = 429


class Revealing(Protocol):
    """A secret that shows itself only when asked."""

    def reveal(self) -> bytes:
        """Return the secret."""


@attrs.define(kw_only=True)
class OIDCProvider:
    """
    The identity provider that the settings name; building it asks nobody.

    Raises:
        SettingsError: kind, issuer, request parameters or algorithms will not do.
    """

    _kind: str
    _configured: str | None = attrs.field(alias="issuer")
    _client_id: str
    _client_secret: Revealing = attrs.field(repr=False)
    _scopes: tuple[str, ...] | None = None
    _request_params: tuple[tuple[str, str], ...] = ()
    _algorithms: tuple[str, ...] = ("RS256", "ES256")
    _agent: IAgent = attrs.field(repr=False)
    _clock: IReactorTime = attrs.field(repr=False)
    _now: Callable[[], float] = attrs.field(repr=False)
    _random: Callable[[int], bytes] = attrs.field(repr=False)
    _state_dir: str | None = None
    _log: Logger = attrs.field(repr=False, default=Logger(namespace=__name__), alias="logger")

    issuer: str = attrs.field(init=False)
    """As the settings mean it. An Identity's issuer is the token's: with Microsoft's
    endpoints for many tenants it is one tenant's."""
    _rules: Kind = attrs.field(init=False, repr=False)
    _client: ProviderClient = attrs.field(init=False, repr=False)
    _discovery: Discovery = attrs.field(init=False, repr=False)
    _keys: KeySource = attrs.field(init=False, repr=False)
    _renewals: Patience = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._rules, self.issuer = self._checked()
        self._client = ProviderClient(agent=self._agent, clock=self._clock, now=self._now)
        self._discovery = Discovery(
            issuer=self.issuer,
            kind=self._rules,
            algorithms=self._algorithms,
            client=self._client,
            clock=self._clock,
            now=self._now,
            last_good=None
            if self._state_dir is None
            else LastGood(directory=self._state_dir, issuer=self.issuer, random=self._random),
            backoff=Backoff(clock=self._clock, random=self._random),
            log=self._log,
        )
        self._keys = KeySource(
            discovery=self._discovery,
            client=self._client,
            clock=self._clock,
            backoff=Backoff(clock=self._clock, random=self._random),
            log=self._log,
        )

        self._renewals = Patience(
            clock=self._clock,
            backoff=Backoff(clock=self._clock, random=self._random, longest=LONGEST_REST),
        )

    @property
    def identity_issuer(self) -> str | None:
        """The issuer of every Identity from here; None where each tenant has its own."""
        return None if serves_tenants(self.issuer, self._rules) else self.issuer

    @property
    def skew(self) -> float | None:
        """Seconds that the provider's clock was last seen ahead of ours; None before."""
        return self._client.skew

    async def authorization_url(
        self, *, state: str, nonce: str, verifier: str, redirect_uri: str
    ) -> str:
        """
        Return where to send the browser to sign in.

        Raises:
            ProviderError: its metadata cannot be had.
        """
        return flow.authorization_url(
            await self._discovery.get(),
            client_id=self._client_id,
            redirect_uri=redirect_uri,
            scopes=self._asked_scopes(),
            state=state,
            nonce=nonce,
            verifier=verifier,
            more=(*self._rules.parameters, *self._request_params),
        )

    async def exchange(
        self, *, code: str, verifier: str, nonce: str, redirect_uri: str, iss: str | None
    ) -> Grant:
        """
        Return who signed in, for the code that the browser brought.

        Args:
            code: as it came.
            verifier: from the transaction of this very sign-in.
            nonce: the same.
            redirect_uri: the one that this sign-in began with.
            iss: the parameter of the authorization response; None when it had none.

        Raises:
            LoginFailed: a check failed; see refusals for its words.
            ProviderError: the provider is down, slow, or answers what it must not.
        """
        if not nonce:
            raise refusal("id-token-nonce", "nonce: none was kept for this sign-in")
        metadata = await self._discovery.get()
        flow.check_response_issuer(metadata, iss)
        form = flow.code_form(
            metadata, self._credentials(), code=code, verifier=verifier, redirect_uri=redirect_uri
        )
        answer = await self._token_answer(form)
        if isinstance(answer, flow.Refusal):
            if answer.error == "invalid_grant":
                raise refusal("code", _refused(answer))
            raise ProviderError(_refused(answer))
        if answer.id_token is None:
            raise ProviderError("token answer: id_token is missing; is openid in idp_scopes?")
        claims = await self._claims(metadata, answer, answer.id_token, nonce)
        sources = await self._sources(metadata, claims, answer.access_token)
        return Grant(
            identity=build(self._rules, claims["iss"], claims["sub"], sources),
            refresh_token=answer.refresh_token,
            id_token=answer.id_token,
            access_token=answer.access_token,
        )

    async def refresh(self, *, refresh_token: str, identity: Identity) -> Grant:
        """
        Return the person anew, as the provider knows them now.

        Args:
            refresh_token: the last one that a Grant had.
            identity: who it was; only the same person at the same issuer is given back.

        Raises:
            GrantRefused: the provider will not, or says less than at the sign-in: only a
                new sign-in helps.
            LoginFailed: what came back failed a check: this session must not go on.
            Unconfirmed: the token was used, and then something failed that may pass; one of
                the two clocks that is wrong, too. Try again later with the token it has.
            ProviderError: down, slow, or answers what it must not: try again later.
        """
        metadata = await self._discovery.get()
        if not metadata.is_issuer(identity.issuer):
            # The settings changed; another provider's refresh token is not for this one.
            raise GrantRefused("refresh: the session is another issuer's")
        form = flow.refresh_form(metadata, self._credentials(), refresh_token)
        answer = await self._renewals.ask("token endpoint", lambda: self._token_answer(form))
        if isinstance(answer, flow.Refusal):
            if answer.error == "invalid_grant":
                raise GrantRefused(_refused(answer))
            raise ProviderError(_refused(answer))
        kept = answer.refresh_token or refresh_token
        try:
            sources = await self._renewed_sources(metadata, answer, identity)
        except ProviderError as error:
            raise Unconfirmed(str(error), kept) from error
        except LoginFailed as failed:
            # A wrong clock, ours or theirs, says nothing about the person; a new sign-in
            # would fail in the same way.
            if failed.check != "clock":
                raise
            raise Unconfirmed(str(failed), kept) from failed
        silent = gone_silent(self._rules, identity, sources)
        if silent is not None:
            raise GrantRefused(f"refresh: no {silent} claim, the sign-in had one")
        return Grant(
            identity=build(self._rules, identity.issuer, identity.subject, sources),
            refresh_token=kept,
            id_token=answer.id_token,
            access_token=answer.access_token,
        )

    async def revoke(self, *, refresh_token: str | None, access_token: str | None) -> bool:
        """
        Tell the provider to forget the tokens; return whether it confirmed them all.

        Never fails: a sign-out goes on here whatever the provider does. False also where
        it advertises no revocation.
        """
        given = (("refresh_token", refresh_token), ("access_token", access_token))
        wanted = [(hint, token) for hint, token in given if token]
        try:
            metadata = await self._discovery.get()
            confirmed = [await self._revoke(metadata, token, hint) for hint, token in wanted]
        except ProviderError as error:
            self._log.warn("revocation failed: {reason}", reason=str(error))
            return False
        return bool(confirmed) and all(confirmed)

    async def logout_url(
        self, *, id_token: str | None, redirect_uri: str, state: str
    ) -> str | None:
        """Return where the provider ends its own session; None if it is down or has none."""
        try:
            return flow.logout_url(
                await self._discovery.get(),
                client_id=self._client_id,
                id_token=id_token,
                redirect_uri=redirect_uri,
                state=state,
                redirect_parameter=self._rules.logout_parameter,
            )
        except ProviderError as error:
            self._log.warn("logout at the provider left out: {reason}", reason=str(error))
            return None

    def _checked(self) -> tuple[Kind, str]:
        kind = KINDS.get(self._kind)
        if kind is None:
            raise _unfit("idp_provider", f"want one of {', '.join(KINDS)}, got {self._kind!r}")
        issuer = issuer_of(kind, self._configured)
        if issuer is None:
            raise _unfit("idp_provider_url", f"missing, {kind.name} has no default")
        problem = issuer_problem(issuer)
        if problem is not None:
            raise _unfit("idp_provider_url", problem)
        for name, _ in self._request_params:
            if name in OURS:
                raise _unfit("idp_request_params", f"{name} is not for the settings to set")
        for algorithm in self._algorithms or ("",):
            if algorithm not in ALGORITHMS:
                wanted = ", ".join(sorted(ALGORITHMS))
                raise _unfit("idp_signing_algorithms", f"want some of {wanted}, got {algorithm!r}")
        return kind, issuer

    def _credentials(self) -> flow.Credentials:
        return flow.Credentials(self._client_id, self._client_secret.reveal())

    def _asked_scopes(self) -> tuple[str, ...]:
        scopes = self._rules.scopes if self._scopes is None else self._scopes
        # Without openid there is no ID token.
        return tuple(dict.fromkeys(("openid", *scopes)))

    async def _token_answer(self, form: flow.Form) -> flow.Tokens | flow.Refusal:
        reply = await self._client.post(form, "token endpoint", seconds=TOKEN_SECONDS)
        if reply.status != _STATUS_OK and (
            reply.status not in _REFUSED or reply.status == _TOO_MANY
        ):
            raise ProviderError(f"token endpoint: status {reply.status}")
        answer = reply.read_object("token endpoint")
        if reply.status != _STATUS_OK or "error" in answer:
            return flow.read_refusal(answer)
        return flow.read_tokens(answer)

    async def _claims(
        self, metadata: Metadata, answer: flow.Tokens, id_token: str, nonce: str | None
    ) -> dict[str, Any]:
        expected = tokens.Expected(
            issuer=metadata.issuer,
            client_id=self._client_id,
            nonce=nonce,
            access_token=answer.access_token,
            skew=self._client.skew,
        )
        head = tokens.read_head(id_token, self._algorithms)
        keys = await self._keys.fitting(head.kid, head.algorithm)
        try:
            return tokens.verify(id_token, head, keys, expected, self._now())
        except LoginFailed as failed:
            if failed.check != "id-token-signature":
                raise
            keys = await self._keys.renewed(head.kid, head.algorithm, keys)
            if not keys:
                raise
        return tokens.verify(id_token, head, keys, expected, self._now())

    async def _sources(
        self, metadata: Metadata, claims: dict[str, Any], access_token: str
    ) -> Sequence[Claims]:
        """Return the ID token's claims, and userinfo's where those leave a gap."""
        if metadata.userinfo_endpoint is None or is_complete(self._rules, claims):
            return [claims]
        reply = await self._client.get(metadata.userinfo_endpoint, "userinfo", bearer=access_token)
        if reply.status in (401, 403):
            # The person is known by the ID token; they only have fewer attributes, and
            # attributes only ever allow.
            self._log.warn("userinfo refused with status {status}", status=reply.status)
            return [claims]
        return [claims, _userinfo(reply, claims["sub"])]

    async def _renewed_sources(
        self, metadata: Metadata, answer: flow.Tokens, identity: Identity
    ) -> Sequence[Claims]:
        if answer.id_token is not None:
            claims = await self._claims(metadata, answer, answer.id_token, None)
            if (claims["iss"], claims["sub"]) != (identity.issuer, identity.subject):
                raise refusal("id-token-subject", "id token: refresh names another person")
            return await self._sources(metadata, claims, answer.access_token)
        if metadata.userinfo_endpoint is None:
            raise GrantRefused("refresh: no ID token came and there is no userinfo endpoint")
        reply = await self._client.get(
            metadata.userinfo_endpoint, "userinfo", bearer=answer.access_token
        )
        return [_userinfo(reply, identity.subject)]

    async def _revoke(self, metadata: Metadata, token: str, hint: str) -> bool:
        form = flow.revoke_form(metadata, self._credentials(), token, hint)
        if form is None:
            return False
        reply = await self._client.post(form, "revocation", seconds=REVOKE_SECONDS)
        if reply.status != _STATUS_OK:
            self._log.warn("revocation refused with status {status}", status=reply.status)
        return reply.status == _STATUS_OK


def _userinfo(reply: Reply, subject: str) -> Claims:
    if reply.status != _STATUS_OK:
        raise ProviderError(f"userinfo: status {reply.status}, want 200")
    claims = reply.read_object("userinfo")
    check_userinfo(claims, subject)
    return claims


def _refused(answer: flow.Refusal) -> str:
    text = f"token endpoint: refused with {answer.error or 'no readable error'}"
    if answer.description:
        text += f" ({answer.description})"
    if answer.error in ("invalid_client", "unauthorized_client"):
        text += "; see idp_client_id and idp_client_secret"
    return text


def _unfit(place: str, text: str) -> SettingsError:
    return SettingsError([Problem(place, text)])
