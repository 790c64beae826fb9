"""Proxy, authenticate and authorize, each a process by itself, and one sign-in through all."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import attrs
import pytest

from tests.support.application import Application
from tests.support.certificates import authority
from tests.support.certified import Certified
from tests.support.daemon import DOMAIN
from tests.support.load.programs import until
from tests.support.load.websockets import frame, text_of
from tests.support.load.wire import Broken
from tests.support.planes import Chooser, Cluster, Service, moment, moment_of, websocket
from tests.support.site import told
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm")]


@attrs.define(eq=False)
class Three:
    """What runs."""

    cluster: Cluster
    provider: Certified
    application: Application
    proxy: Service
    authenticate: Service
    authorize: Service

    def signed_in(self, who: str = "alice", host: str = "app") -> tuple[Visitor, Page]:
        """Return somebody new who signed in, and the page they came to."""
        visitor = Visitor(authority().pem)
        page = visitor.get(self.cluster.url(host))
        return visitor, self.provider.sign_in(visitor, page, who)

    def routes(self, **rules: object) -> list[dict[str, object]]:
        """Return the routes, with these rules for ``app``."""
        made, to = self.cluster.route, self.application.url
        rules = rules or {"allowed_users": ["alice@example.com"]}
        return [
            made("app", to, allow_websockets=True, **rules),
            made("staff", to, allowed_groups=["staff"]),
        ]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """All of it, each with its own keys only."""
    place = tmp_path_factory.mktemp("three")
    cluster = Cluster(place=place)
    provider = Certified(
        place=place,
        back=[f"{cluster.authenticate_url}/oauth2/callback"],
        after=[f"{cluster.authenticate_url}/.pomerium/signed_out"],
    )
    cluster.issuer = provider.name
    application = Application()
    three = Three(cluster, provider, application, *[None] * 3)  # type: ignore[arg-type]
    routes = three.routes()
    three.authorize = Service(place=place / "authorize", keys=cluster.authorize(*routes))
    three.authenticate = Service(place=place / "authenticate", keys=cluster.authenticate())
    three.proxy = Service(place=place / "proxy", keys=cluster.proxy(*routes))
    yield three
    for part in (three.proxy, three.authenticate, three.authorize, provider, application):
        part.stop()


def test_a_whole_sign_in(three: Three) -> None:
    """Signing in passes all three; the application learns who came, and signing out ends it."""
    visitor, page = three.signed_in()
    assert (page.url, page.status) == (three.cluster.url("app"), 200), page
    assert told(page)["x-pomerium-authenticated-user-email"] == "alice@example.com"

    page = visitor.submit(visitor.get(three.cluster.url("app", "/.pomerium/sign_out")))
    onward = re.search(r'class="button" href="([^"]*)"', page.text)
    assert onward is not None, page.text
    page = visitor.get(unescape(onward[1]))
    assert not visitor.sessions, page
    assert visitor.get(three.cluster.url("app"), follow=False).status == 302
    assert visitor.get(three.cluster.url("app")).url.startswith(three.provider.name)


def test_who_may_not(three: Three) -> None:
    """Somebody is denied by authorize, and the proxy's page says why, for each route its own."""
    visitor, page = three.signed_in("mallory")
    assert page.status == 403
    assert "Your e-mail address is not on the list for this page." in page.text
    page = visitor.get(three.cluster.url("staff"))
    assert page.status == 403
    assert "You are in none of the groups that may open this page." in page.text
    line = json.loads(three.proxy.process.until(f'"request_id":"{page.request_id}"'))
    assert (line["decision"], line["reasons"]) == ("deny", ["groups-unauthorized"])


def test_what_a_role_does_not_serve(three: Three) -> None:
    """No sign-in at a proxy, no application at authenticate, and nothing at all at authorize."""
    ours = f"authenticate.{DOMAIN}"
    for path in ("/", "/oauth2/callback", "/.pomerium/sign_in", "/.pomerium/"):
        assert three.proxy.ask(path, ours)[0] == 404, path
    assert three.authenticate.ask("/oauth2/callback", ours)[0] != 404
    for path in ("/", "/.pomerium/"):
        assert three.authenticate.ask(path, f"app.{DOMAIN}")[0] == 404, path
    for path in ("/", "/.pomerium/", "/.pomerium/sign_in", "/.pomerium/callback/", "/metrics"):
        for host in (f"app.{DOMAIN}", ours, "127.0.0.1"):
            assert three.authorize.ask(path, host)[0] == 404, (path, host)
    for service in (three.proxy, three.authenticate, three.authorize):
        assert [service.ask(path)[0] for path in ("/ping", "/healthz")] == [200, 200]
        assert service.wrong == []


def test_authenticate_knows_routes_if_it_is_told(three: Three) -> None:
    """With routes it sends nobody to a host that is not among them, whoever signed that."""
    three.authenticate.reload(policy=three.routes()[:1])
    try:
        _, page = three.signed_in()
        assert page.status == 200, page
        page = Visitor(authority().pem).get(three.cluster.url("staff"))
        assert (page.status, page.check) == (400, "redirect-target")
    finally:
        three.authenticate.reload(policy=None)
    _, page = three.signed_in(host="staff")
    assert (page.url, page.status) == (three.cluster.url("staff"), 200)


def test_a_policy_changes(three: Three) -> None:
    """Who is taken out is denied what the proxy had remembered, and loses what is open."""
    visitor, _ = three.signed_in()
    wire, reader = websocket(visitor, three.cluster.url("app", "/socket"))
    with wire:
        wire.sendall(frame(b"one"))
        assert text_of(reader) == b"one"
        said = len(three.authorize.process.lines)
        three.authorize.rewrite(policy=three.routes(allowed_users=["bob@example.com"]))
        try:
            three.authorize.process.send(signal.SIGHUP)
            until(lambda: visitor.get(three.cluster.url("app"), follow=False).status == 403)
            denied = moment()
            with pytest.raises((Broken, OSError)):
                reader.octets(1)
            cut = moment()
        finally:
            three.authorize.reload(policy=three.routes())
    new = moment_of(three.authorize.process.until("new settings serve", after=said))
    print(  # noqa: T201  # the figures
        f"after the new policy: denied {denied - new:.3f} s, WebSocket cut {cut - new:.3f} s"
    )
    until(lambda: visitor.get(three.cluster.url("app"), follow=False).status == 200)


@pytest.fixture
def split(three: Three) -> Iterator[tuple[Service, Service]]:
    """Two of authenticate with one name: the first at its usual address, and one beside it."""
    keys = three.cluster.authenticate(address=f"127.0.0.2:{three.cluster.sign_in}")
    second = Service(place=three.cluster.place / "second", keys=keys)
    yield three.authenticate, second
    second.stop()
    if not three.authenticate.process.runs:
        three.authenticate.start()


@pytest.mark.parametrize("ends", ["at the other", "at the other, alone", "at itself, anew"])
def test_a_sign_in_in_two_parts(three: Three, split: tuple[Service, Service], ends: str) -> None:
    """What one authenticate began ends at another, or at one that has restarted meanwhile."""
    first, second = split
    visitor = Chooser({})
    page = visitor.get(three.cluster.url("app"))
    assert page.url.startswith(three.provider.name), page
    if ends != "at the other":
        first.stop()
    if ends == "at itself, anew":
        first.start()
    else:
        visitor.at[three.cluster.sign_in] = "127.0.0.2"
    page = three.provider.sign_in(visitor, page, "alice")
    assert (page.url, page.status) == (three.cluster.url("app"), 200), page
    assert told(page)["x-pomerium-authenticated-user-email"] == "alice@example.com"
    # The other has written nothing of the kind before, and so has one that began anew.
    ended = first if ends == "at itself, anew" else second
    ended.process.until('"path":"/oauth2/callback"')


NEEDED = {
    "proxy": {"shared_secret", "authenticate_service_url", "authorize_service_url", "certificates"},
    "authenticate": {
        "shared_secret",
        "cookie_secret",
        "authenticate_service_url",
        "idp_provider",
        "idp_client_id",
        "idp_client_secret",
        "certificates",
    },
    "authorize": {"shared_secret", "authenticate_service_url", "idp_provider", "certificates"},
}


@pytest.mark.parametrize("role", NEEDED)
def test_a_role_without_its_keys(tmp_path: Path, role: str) -> None:
    """It does not start, and names each key that is missing, and whose it is."""
    keys = {"services": role, "certificates": [], "address": ":0", "grpc_address": "192.0.2.1:1"}
    place = tmp_path / role
    started = Service(place=place, keys=keys, awaited=False)
    assert started.process.wait() == 1
    said = "\n".join(started.process.lines)
    found = re.findall(rf"(\w+): missing; {role} needs (?:it|them)", said)
    assert sorted(found) == sorted(NEEDED[role]), said
