"""One control plane for two clusters of proxies: with the same people, and with others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.application import Application
from tests.support.certificates import authority
from tests.support.certified import Certified
from tests.support.daemon import DOMAIN
from tests.support.planes import Cluster, Keys, Service
from tests.support.processes import free_port
from tests.support.settings import SHARED
from tests.support.site import told
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm")]

USER = "x-pomerium-authenticated-user-id"
ALICE = {"allowed_users": ["alice@example.com"]}


@attrs.define(eq=False)
class Town:
    """What runs; all of it ends together."""

    place: Path
    application: Application = attrs.Factory(Application)
    parts: list[Certified | Service] = attrs.Factory(list)

    def provider(self, name: str, cluster: Cluster) -> Certified:
        """Start a provider for a cluster."""
        place = self.place / name
        place.mkdir()
        back = [f"{cluster.authenticate_url}/oauth2/callback"]
        started = Certified(place=place, back=back)
        self.parts.append(started)
        cluster.issuer = started.name
        return started

    def start(self, name: str, keys: Keys) -> Service:
        """Start a service."""
        started = Service(place=self.place / name, keys=keys)
        self.parts.append(started)
        return started

    def route(self, cluster: Cluster, **rules: object) -> Keys:
        """Return a cluster's route."""
        return cluster.route("app", self.application.url, **rules)

    def stop(self) -> None:
        """End all of it."""
        for part in reversed(self.parts):
            part.stop()
        self.application.stop()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Nothing runs but an application."""
    town = Town(tmp_path)
    yield town
    town.stop()


def arrive(provider: Certified, visitor: Visitor, url: str, who: str = "alice") -> Page:
    """Open an address, and sign in if that is asked for."""
    page = visitor.get(url)
    return provider.sign_in(visitor, page, who) if page.url.startswith(provider.name) else page


def test_the_same_people(town: Town) -> None:
    """One authenticate and one authorize: who signed in at one cluster is known at the other."""
    one = Cluster(place=town.place, name="one-")
    two = Cluster(place=town.place, name="two-", sign_in=one.sign_in, grpc=one.grpc)
    provider = town.provider("provider", one)
    first, second = town.route(one, **ALICE), town.route(two, allowed_domains=["example.org"])
    town.start("authorize", one.authorize(first, second))
    town.start("authenticate", one.authenticate())
    proxies = [town.start("one", one.proxy(first)), town.start("two", two.proxy(second))]

    alice, mallory = Visitor(authority().pem), Visitor(authority().pem)
    assert arrive(provider, alice, one.url("app")).status == 200
    page = alice.get(two.url("app"))
    # Known, without being asked again, and by the rules of that cluster.
    assert (page.url, page.status) == (two.url("app"), 403), page
    assert not any(url.startswith(provider.name) for url in page.way)
    assert arrive(provider, mallory, two.url("app"), "mallory").status == 200
    assert arrive(provider, mallory, one.url("app"), "mallory").status == 403
    # Neither serves the other's.
    for proxy, other in zip(proxies, ("two", "one"), strict=True):
        assert proxy.ask("/", f"{other}-app.{DOMAIN}")[0] == 404


def minted(cluster: Cluster, *, authenticate: str, issuer: str) -> Visitor:
    """Return somebody with a session that a holder of the shared secret has made up."""
    now = int(time.time())  # noqa: TID251  # that of the processes
    session = Session(
        id="made up",
        identity=Identity(issuer=issuer, subject="alice", email="alice@example.com"),
        issuer=authenticate,
        audience=f"{cluster.name}app.{DOMAIN}:{cluster.port}",
        auth_time=now,
        checked=now,
        recheck=now + 600,
        seen=now,
        expires=now + 3600,
    )
    visitor = Visitor(authority().pem)
    token = encode(session, SharedKeys.derived([SHARED]).route_session)
    visitor.cookies[f"{cluster.name}app.{DOMAIN}", "__Host-_pomerium", "/"] = token
    return visitor


@attrs.define(eq=False)
class Two:
    """Two clusters with a provider each, and one authorize."""

    town: Town
    staff: Cluster
    partners: Cluster
    at_staff: Certified
    at_partners: Certified
    authorize: Service
    proxy: Service
    """Of the staff."""


@pytest.fixture
def two(town: Town) -> Two:
    """Both providers have an ``alice@example.com``."""
    staff = Cluster(place=town.place, name="staff-")
    partners = Cluster(place=town.place, name="partners-", grpc=staff.grpc)
    at_staff = town.provider("p-staff", staff)
    at_partners = town.provider("p-partners", partners)
    clusters = [
        {
            "name": cluster.name.strip("-"),
            "authenticate_service_url": cluster.authenticate_url,
            "idp_provider": "oidc",
            "idp_provider_url": cluster.issuer,
            "routes": [town.route(cluster, **ALICE)],
        }
        for cluster in (staff, partners)
    ]
    keys = staff.authorize(clusters=clusters)
    for key in ("authenticate_service_url", "idp_provider", "idp_provider_url", "policy"):
        del keys[key]
    authorize = town.start("authorize", keys)
    proxies = []
    for cluster in (staff, partners):
        town.start(f"{cluster.name}authenticate", cluster.authenticate())
        keys = cluster.proxy(town.route(cluster, **ALICE))
        proxies.append(town.start(f"{cluster.name}proxy", keys))
    return Two(town, staff, partners, at_staff, at_partners, authorize, proxies[0])


def test_each_at_home(two: Two) -> None:
    """The same address at two providers: each is let in at its own, as two people."""
    people = []
    for cluster, provider in ((two.staff, two.at_staff), (two.partners, two.at_partners)):
        visitor = Visitor(authority().pem)
        page = arrive(provider, visitor, cluster.url("app"))
        assert (page.url, page.status) == (cluster.url("app"), 200), page
        people.append(told(page)["x-pomerium-jwt-assertion"])
    assert two.authorize.wrong == []
    assert people[0] != people[1]


def test_made_up_sessions(two: Two) -> None:
    """
    The shared secret alone makes nobody somebody else's: the provider has to be the route's own.

    A session of the wrong authenticate is none; one that names the right one and the wrong
    provider is another person.
    """
    staff, partners = two.staff, two.partners
    home = minted(staff, authenticate=staff.authenticate_url, issuer=staff.issuer)
    assert home.get(staff.url("app"), follow=False).status == 200
    other = minted(staff, authenticate=staff.authenticate_url, issuer=partners.issuer)
    assert other.get(staff.url("app"), follow=False).status == 302
    said = two.proxy.process.until('"decision":"sign-in"')
    assert '"reasons":["issuer-unauthorized","user-unauthenticated"]' in said, said
    wrong = minted(staff, authenticate=partners.authenticate_url, issuer=staff.issuer)
    assert wrong.get(staff.url("app"), follow=False).status == 302
    said = two.proxy.process.until('"decision":"sign-in"', 2)
    assert '"reasons":["user-unauthenticated"]' in said, said


def test_a_proxy_of_the_other_cluster(two: Two) -> None:
    """One that has taken the route for its own is told what its own proxies would not be."""
    staff, partners = two.staff, two.partners
    # It takes sessions of its own authenticate, and would believe that provider.
    thief = attrs.evolve(partners, name="staff-", port=free_port())
    route = two.town.route(staff, **ALICE)
    service = two.town.start("thief", thief.proxy(route))
    visitor = minted(staff, authenticate=partners.authenticate_url, issuer=partners.issuer)
    cookie = next(iter(visitor.cookies.values()))
    host = f"staff-app.{DOMAIN}"
    status, _ = service.ask("/", host, f"Cookie: __Host-_pomerium={cookie}\r\n", staff.port)
    assert status != 200
    service.process.until('"decision":"sign-in"')
