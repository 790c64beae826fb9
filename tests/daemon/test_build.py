"""From settings to a generation: in pieces, and with what has not changed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.build import Built, building
from pomeriumd.errors import SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.settings.model import RouteSettings, Secret, UpstreamURL
from tests.support.certificates import leaf
from tests.support.rig import Rig
from tests.support.settings import SHARED, make_settings, route


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
        self.assertIs(second.provider, first.provider)
        self.assertIs(second.renewals, first.renewals)

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
            self.assertIsNot(second.provider, first.provider, name)
            self.assertIsNot(second.renewals, first.renewals, name)

    def test_certificates_that_have_not_changed(self) -> None:
        """They keep their contexts, with which tickets go on; others get new ones."""
        pair, other = leaf("app.example.com").pair(), leaf("b.example.com").pair()
        tls: dict[str, Any] = {"insecure_server": False}
        first = self.build(route(), certificates=(pair,), **tls)
        same = self.build(route("b.example.com"), before=first, certificates=(pair,), **tls)
        self.assertIs(same.store, first.store)
        more = self.build(route(), before=first, certificates=(pair, other), **tls)
        assert more.store is not None
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
