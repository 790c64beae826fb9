"""From settings to a generation: in pieces, and with what has not changed."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.authorizer import LocalAuthorizer
from pomeriumd.daemon.build import Built, building
from pomeriumd.daemon.build_login import Login
from pomeriumd.errors import SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.proxy.decisions import Decisions, Memory
from pomeriumd.settings.model import Address, Origin, RouteSettings, Secret, UpstreamURL
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY, ROLES
from tests.support.certificates import leaf
from tests.support.rig import Rig
from tests.support.settings import SHARED, make_settings, route

ELSEWHERE = Origin("https", "authorize.internal", 5443)
GRPC = Address("127.0.0.1", 5443)
NO_SIGN_IN: dict[str, Any] = dict.fromkeys(("cookie_secret", "idp_client_id", "idp_client_secret"))
"""What only authenticate needs."""


class BuildCase(SynchronousTestCase):
    """A world to build in."""

    def setUp(self) -> None:
        """Make it."""
        self.rig = Rig(route())

    def build(self, *routes: RouteSettings, before: Built | None = None, **more: Any) -> Built:
        """Build a generation."""
        settings = make_settings(*routes, **more)
        return finish(building(settings, SHARED, self.rig.world, Limits(), before))


class PiecesTests(BuildCase):
    """Others have their turn while it is built."""

    def pieces(self, *routes: RouteSettings) -> int:
        """Return in how many pieces these routes are built."""
        return len(list(building(make_settings(*routes), SHARED, self.rig.world, Limits())))

    def test_there_are_as_many_as_there_is_work(self) -> None:
        """Twice the routes are twice the pieces, be they of one host or of many."""
        for kind in (
            lambda n: route(f"h{n}.example.com"),
            lambda n: route(prefix=f"/{n}"),
            lambda n: route(regex=f"/{n}"),
        ):
            small, large = (self.pieces(*map(kind, range(size))) for size in (400, 800))
            self.assertGreater(small, 40)
            self.assertGreater(large, 1.8 * small)

    def test_a_fault_is_a_problem_with_its_place(self) -> None:
        """Whatever piece finds it."""
        bad = route(place="policy[99]", prefix="/a?b")
        with self.assertRaises(SettingsError) as caught:
            self.build(*(route(f"h{n}.example.com") for n in range(99)), bad)
        self.assertEqual([p.place for p in caught.exception.problems], ["policy[99].prefix"])


class BeforeTests(BuildCase):
    """What has not changed is taken over from the generation before."""

    def test_the_provider_lives_on(self) -> None:
        """With its settings unchanged it keeps what it knows, and so do the renewals."""
        first = self.build(route())
        second = self.build(route("b.example.com"), before=first)
        self.assertIs(login_of(second).provider, login_of(first).provider)
        self.assertIs(login_of(second).renewals, login_of(first).renewals)

    def test_another_provider_is_another(self) -> None:
        """Any of its settings that changes makes a new one."""
        first = self.build(route())
        for name, value in (
            ("idp_provider_url", "https://other.example.com"),
            ("idp_client_id", "other"),
            ("idp_client_secret", Secret(b"other")),
            ("idp_scopes", ("openid",)),
            ("idp_request_params", (("prompt", "consent"),)),
            ("idp_signing_algorithms", ("ES256",)),
            ("state_dir", "/elsewhere"),
        ):
            second = self.build(route(), before=first, **{name: value})
            self.assertIsNot(login_of(second).provider, login_of(first).provider, name)
            self.assertIsNot(login_of(second).renewals, login_of(first).renewals, name)

    def test_certificates_that_have_not_changed(self) -> None:
        """They keep their contexts, and tickets go on whatever else changes."""
        pair, other = leaf("app.example.com").pair(), leaf("b.example.com").pair()
        tls: dict[str, Any] = {"insecure_server": False}
        first = self.build(route(), certificates=(pair,), **tls)
        same = self.build(route("b.example.com"), before=first, certificates=(pair,), **tls)
        more = self.build(route(), before=same, certificates=(other, pair), **tls)
        assert first.store is not None
        assert same.store is not None
        assert more.store is not None
        self.assertEqual(tuple(same.store), tuple(first.store))
        self.assertIs(tuple(more.store)[1], next(iter(first.store)))
        self.assertIs(more.store.base(), first.store.base())
        self.assertEqual(more.store.names, {b"app.example.com", b"b.example.com"})
        self.assertIsNone(self.build(route(), before=first).store)

    def test_endpoints_are_kept_by_what_they_reach(self) -> None:
        """An equal peer keeps its endpoint; one that is gone leaves none behind."""
        there = route("b.example.com", to=UpstreamURL("http", "10.0.0.2", 8080, ""))
        first = self.build(route(), there)
        second = self.build(route(), before=first)
        ((peer, endpoint),) = second.endpoints.items()
        self.assertIs(first.endpoints[peer], endpoint)
        self.assertEqual(len(first.endpoints), 2)


class RolesTests(BuildCase):
    """A generation has what its roles need, and nothing of the others."""

    def built(self, *services: str, **more: Any) -> Built:
        """Build a generation for these roles."""
        return self.build(route(), services=services, **more)

    def test_a_proxy_that_asks(self) -> None:
        """It serves routes, decides nothing by itself, and knows no sign-in."""
        built = self.built(PROXY, authorize_service_urls=(ELSEWHERE,), **NO_SIGN_IN)
        self.assertIsInstance(built.generation.authorizer, Decisions)
        self.assertEqual(len(built.generation.routes.routes), 1)
        self.assertIsNone(built.generation.authenticate_host)
        self.assertIsNone(built.login)
        assert built.asked is not None
        self.assertEqual(built.asked.urls, (ELSEWHERE,))

    def test_a_proxy_beside_authorize(self) -> None:
        """It decides by itself, whatever the settings say of a service elsewhere."""
        built = self.built(PROXY, AUTHORIZE, authorize_service_urls=(ELSEWHERE,))
        self.assertIsInstance(built.generation.authorizer, LocalAuthorizer)
        self.assertIsNone(built.asked)

    def test_what_nobody_asks_is_not_built(self) -> None:
        """All in one without ``grpc_address`` compiles its policies once and not twice."""
        self.assertIsNone(self.built(*ROLES).policies)
        self.assertIsNotNone(self.built(*ROLES, grpc_address=GRPC).policies)

    def test_authenticate_alone(self) -> None:
        """It serves no route, whatever routes the file has; they say where a sign-in may end."""
        built = self.built(AUTHENTICATE)
        self.assertEqual(built.generation.routes.routes, ())
        self.assertEqual(built.endpoints, {})
        self.assertEqual(built.generation.authenticate_host, b"auth.example.com")

    def test_authorize_alone(self) -> None:
        """It answers questions, and has neither routes nor a sign-in of its own."""
        built = self.built(AUTHORIZE, grpc_address=GRPC, **NO_SIGN_IN)
        assert built.policies is not None
        self.assertEqual(len(built.policies), 1)
        self.assertEqual(built.generation.routes.routes, ())
        self.assertIsNone(built.login)

    def test_the_same_files_have_the_same_policies(self) -> None:
        """What a proxy says of its policies equals what authorize says, if their files agree."""
        here = self.built(PROXY, authorize_service_urls=(ELSEWHERE,))
        there = self.built(AUTHORIZE, grpc_address=GRPC)
        assert here.policies is not None
        assert there.policies is not None
        self.assertEqual(here.policies.digest, there.policies.digest)

    def test_decisions_are_remembered_beyond_a_reload(self) -> None:
        """As long as the same service is asked with the same keys; counts go on in any case."""
        proxy: dict[str, Any] = {"services": (PROXY,), "authorize_service_urls": (ELSEWHERE,)}
        first = self.build(route(), **proxy)
        same = self.build(route("b.example.com"), before=first, **proxy)
        elsewhere = {**proxy, "authorize_service_urls": (attrs.evolve(ELSEWHERE, port=1),)}
        other = self.build(route(), before=first, **elsewhere)
        memories = [memory_of(built) for built in (first, same, other)]
        self.assertIs(memories[0], memories[1])
        self.assertIsNot(memories[0], memories[2])
        self.assertIs(memories[0].counts, memories[2].counts)


def memory_of(built: Built) -> Memory:
    """Return where its decisions are kept."""
    authorizer = built.generation.authorizer
    assert isinstance(authorizer, Decisions)
    return authorizer.memory


def login_of(built: Built) -> Login:
    """Return its authenticate."""
    assert built.login is not None
    return built.login
