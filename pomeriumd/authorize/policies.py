"""
The policies that authorize answers by: of each route of its clusters, by the route's id.

A *cluster* is a set of proxies with the same routes; one authorize can serve several. Who
signs people in is a matter of the cluster: a session counts only if the cluster's own
authenticate issued it, and an identity only if the cluster's own provider vouched for it.
The same e-mail address from another issuer is another person.

Nothing that a proxy says about somebody is believed: it hands over the session token, which
is verified here, for the route's own host. The one exception is the client's certificate, which
only the proxy sees: its hashes are taken as the proxy tells them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

import attrs

from pomeriumd.access import decision as why
from pomeriumd.access.decision import Decision, Deny, SignIn
from pomeriumd.access.policy import Policy
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, Question, Verdict
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken, Problem, SettingsError
from pomeriumd.pieces import Pieces, finish
from pomeriumd.session.session import Session
from pomeriumd.session.standing import SessionLimits, Standing, standing
from pomeriumd.session.token import decode
from pomeriumd.settings.model import RouteSettings

FEW = 16
"""Routes of one piece of the work."""

HOLDS = 3600.0
"""Most seconds for which a verdict holds while its policies do."""

FORM = "pomeriumd policies 1"
"""What a digest is of; another number whenever the same settings let in somebody else."""

UNKNOWN = Deny((why.ROUTE_UNKNOWN,))
UNCONFIRMED = SignIn((why.SESSION_UNCONFIRMED, why.USER_UNAUTHENTICATED))
ENDED = SignIn((why.SESSION_ENDED, why.USER_UNAUTHENTICATED))


@attrs.frozen(kw_only=True)
class Cluster:
    """The proxies that share routes, and where their people sign in."""

    name: str
    """For people who read an error."""
    authenticate: str
    """Origin of the authenticate service that issues its sessions."""
    issuer: str | None
    """The only provider whose identities count; None to count all that authenticate takes."""
    routes: tuple[RouteSettings, ...]


@attrs.frozen(eq=False)
class _Rules:
    """One route: its policy, and what a session has to be to count there."""

    cluster: Cluster = attrs.field(repr=False)
    policy: Policy
    audiences: tuple[str, ...]
    """``host:port`` of its host: more than one where ``from`` of its routes differ in the
    port. A browser keeps one cookie for all of them."""

    def described(self, identifier: str) -> bytes:
        """Return all of it that says who is let in, the same in every process."""
        policy = self.policy
        return json.dumps(
            [
                identifier,
                self.cluster.authenticate,
                self.audiences,
                policy.public,
                policy.any_user,
                policy.issuer,
                sorted(policy.emails),
                sorted(policy.domains),
                sorted(policy.subjects),
                sorted(policy.groups),
                # Left out where there are none, as before there were any.
                *([sorted(policy.certificates)] if policy.certificates else []),
            ]
        ).encode("ascii")


@attrs.frozen(eq=False, kw_only=True)
class Policies:
    """All that is needed to answer a question; frozen, and safe to ask from any thread."""

    digest: str
    """32 hex digits: equal in every process in which the same people are let in, whatever
    the order in which the settings list them, and different in all others."""
    _rules: Mapping[str, _Rules] = attrs.field(repr=False)
    _keys: KeyRing = attrs.field(repr=False)
    _limits: SessionLimits

    @classmethod
    def of(cls, clusters: Iterable[Cluster], keys: KeyRing, limits: SessionLimits) -> Policies:
        """
        Compile the policies.

        Args:
            clusters: that are served.
            keys: of ``Purpose.ROUTE_SESSION``; any of them may have signed a session.
            limits: of sessions, as they are set here.

        Raises:
            SettingsError: two clusters have the same route: whose people would it be for?
        """
        return finish(cls.building(tuple(clusters), keys, limits))

    @classmethod
    def building(
        cls, clusters: tuple[Cluster, ...], keys: KeyRing, limits: SessionLimits
    ) -> Pieces[Policies]:
        """Do the same in pieces."""
        rules: dict[str, _Rules] = {}
        for cluster in clusters:
            yield from _compile(cluster, rules)
        digest = hashlib.sha256(_encoded([FORM, limits.expire, limits.recheck_max]))
        for count, identifier in enumerate(sorted(rules)):
            if not count % FEW:
                yield
            digest.update(b"\n" + rules[identifier].described(identifier))
        return cls(digest=digest.hexdigest()[:32], rules=rules, keys=keys, limits=limits)

    def __len__(self) -> int:
        """Return how many routes there are."""
        return len(self._rules)

    def answer(self, question: Question, now: float) -> Verdict:
        """
        Decide; whatever the question holds, this raises nothing.

        Args:
            question: of a proxy that was admitted; nothing else of it is believed.
            now: seconds since the epoch.
        """
        rules = self._rules.get(question.route)
        if rules is None:
            return self._verdict(UNKNOWN, 0.0)
        policy = rules.policy
        # Who is at the other end of the TLS connection only the proxy can know.
        shown = question.attributes.get(CLIENT_CERTIFICATE, "")
        if policy.public or not question.token:
            return self._verdict(policy.decide(None, shown), HOLDS, policy)
        session = self._session(rules, question.token, now)
        if session is None:
            # Nobody, and for this once: it may be that a secret has not come here yet.
            return self._verdict(policy.decide(None, shown), 0.0, policy)
        # The proxy knows when it was used last. It asks because it is used now.
        match standing(session, now, self._limits, in_use=True):
            case Standing.FRESH | Standing.RECHECK:
                decided = policy.decide(session.identity, shown)
                return self._verdict(decided, self._left(session, now), policy)
            case Standing.STALE:
                return self._verdict(UNCONFIRMED, 0.0, policy)
            case Standing.ENDED:
                return self._verdict(ENDED, 0.0, policy)

    def _verdict(
        self, decision: Decision, valid_for: float, policy: Policy | None = None
    ) -> Verdict:
        return Verdict(
            decision=decision,
            valid_for=valid_for,
            generation=self.digest,
            depends_on=frozenset() if policy is None else policy.depends_on,
        )

    def _session(self, rules: _Rules, token: str, now: float) -> Session | None:
        for audience in rules.audiences:
            try:
                return decode(
                    token,
                    self._keys,
                    audience=audience,
                    issuer=rules.cluster.authenticate,
                    now=now,
                )
            except BadToken:
                continue
        return None

    def _left(self, session: Session, now: float) -> float:
        """Return for how long this session will stand as it does, as long as it is used."""
        end = min(
            session.expires,
            session.auth_time + self._limits.expire,
            session.checked + self._limits.recheck_max,
        )
        return max(0.0, min(end - now, HOLDS))


def _compile(cluster: Cluster, into: dict[str, _Rules]) -> Pieces[None]:
    audiences: dict[str, set[str]] = {}
    for settings in cluster.routes:
        audiences.setdefault(settings.from_.host, set()).add(settings.from_.audience)
    for count, settings in enumerate(cluster.routes):
        if not count % FEW:
            yield
        route = Route.of(settings, cluster.issuer)
        there = into.get(route.id)
        if there is None:
            its = tuple(sorted(audiences[settings.from_.host]))
            into[route.id] = _Rules(cluster, route.policy, its)
        elif there.cluster is not cluster:
            raise SettingsError(
                [
                    Problem(
                        f"{settings.place}.from",
                        f"{settings.from_.text} is a route of the cluster {there.cluster.name},"
                        " too: give it to one of them",
                    )
                ]
            )
        # Of two in one cluster that take the same requests the first wins, as in the proxy.


def _encoded(values: object) -> bytes:
    return json.dumps(values).encode("ascii")
