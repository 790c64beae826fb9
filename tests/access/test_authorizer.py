"""The authorizer that asks the route's own policy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.authorizer import Authorizer, LocalAuthorizer
from pomeriumd.access.decision import Allow, Deny, SignIn
from pomeriumd.access.routes import Route
from pomeriumd.session.known import Known
from pomeriumd.session.session import Identity, Session
from pomeriumd.settings.model import Origin, RouteSettings, UpstreamURL

SESSION = Session(
    id="s1",
    identity=Identity(issuer="https://id.example", subject="1", groups=("a",)),
    issuer="https://authenticate.example",
    audience="app.example:443",
    auth_time=0,
    checked=0,
    recheck=600,
    seen=0,
    expires=3600,
)


def route(*groups: str) -> Route:
    """Return a route for these groups."""
    return Route.of(
        RouteSettings(
            place="policy[0]",
            from_=Origin("https", "app.example", 443),
            to=UpstreamURL("http", "127.0.0.1", 80),
            allowed_groups=groups,
        )
    )


class LocalAuthorizerTests(SynchronousTestCase):
    """LocalAuthorizer.decide()."""

    def test_asks_the_route_it_is_given(self) -> None:
        """The policy of the matched route decides, for its session or for nobody."""
        authorizer: Authorizer = LocalAuthorizer()
        known = Known(SESSION, ("app.example:443", "token", True), object())
        self.assertEqual(authorizer.decide(route("a"), known), Allow(("groups-ok",)))
        self.assertEqual(authorizer.decide(route("b"), known), Deny(("groups-unauthorized",)))
        self.assertEqual(authorizer.decide(route("a"), None), SignIn(("user-unauthenticated",)))
