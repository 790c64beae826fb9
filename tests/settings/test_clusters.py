"""Tests of clusters in settings: pomeriumd.settings.cluster_rules, and what reads them."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import check as checking
from pomeriumd.settings.canonical import digest
from pomeriumd.settings.changes import changes
from pomeriumd.settings.check import check
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Settings
from tests.support.settings_files import (
    authorize,
    cluster,
    minimal,
    pair,
    problems,
    proxy,
    route,
    tree,
    yaml,
)


def clustered(*clusters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the least file of an authorize with these clusters, and more."""
    bare = authorize(authenticate_service_url=None, idp_provider=None)
    return {**bare, "clusters": list(clusters), **more}


def of(*clusters: dict[str, Any]) -> Settings:
    """Return the settings of an authorize with these clusters."""
    return check(tree(clustered(*clusters)))


PREFIXES = st.lists(st.sampled_from(["/a", "/b"]), unique=True)
SOME = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.tuples(PREFIXES, st.sampled_from(["google", "azure"])),
    min_size=1,
).flatmap(
    lambda found: st.permutations(
        [
            cluster(
                name,
                idp_provider=kind,
                routes=[
                    route(prefix=prefix, **{"from": f"https://{name}.example.com"})
                    for prefix in prefixes
                ],
            )
            for name, (prefixes, kind) in found.items()
        ]
    )
)
"""A cluster or two, in any order, with any routes in any order."""


class ClusterTests(SynchronousTestCase):
    """What clusters say, and what they must not."""

    def faulty(self, *wanted: str, file: dict[str, Any]) -> None:
        """Assert that exactly these problems are found."""
        self.assertEqual(problems(file), list(wanted))

    def test_good(self) -> None:
        """Each cluster has its sign-in, its provider and its routes, which know their places."""
        found = of(cluster("a"), cluster("b", idp_provider="google", policy=[route(prefix="/x")]))
        a, b = found.clusters
        self.assertEqual((a.name, a.place, b.place), ("a", "clusters[0]", "clusters[1]"))
        self.assertEqual(a.authenticate_service_url.text, "https://authenticate.a.example.com")
        self.assertEqual(
            (b.idp_provider, b.idp_provider_url), ("google", "https://id.b.example.com")
        )
        self.assertEqual(
            [one.place for one in found.all_routes],
            ["clusters[0].routes[0]", "clusters[1].policy[0]", "clusters[1].routes[0]"],
        )
        self.assertEqual(found.routes, ())

    def test_missing(self) -> None:
        """What a cluster must say is asked for at its place."""
        self.faulty(
            "clusters[0].name: missing; want name, for instance staff",
            (
                "clusters[0].authenticate_service_url: missing; want URL without a path, for "
                "instance https://authenticate.example.com"
            ),
            "clusters[0].idp_provider: missing; want kind of provider, for instance oidc",
            file=clustered({}),
        )
        self.faulty(
            "clusters[0].idp_provider_url: missing; oidc has no issuer common to all",
            file=clustered(cluster("a", idp_provider_url=None)),
        )

    def test_what_is_elsewhere(self) -> None:
        """A key of another part of the file says where it belongs."""
        self.faulty(
            "clusters[0].idp_client_id: belongs to the whole process, not in a cluster",
            "clusters[0].allowed_users: belongs in a route",
            "clusters[0].autocert: belongs to the whole process, not in a cluster",
            "clusters[0]: unknown setting 'nome'; did you mean name?",
            file=clustered(cluster("a", idp_client_id="x", allowed_users=[], autocert=1, nome=1)),
        )
        self.faulty("name: belongs in a cluster", file=minimal(name="a"))
        self.faulty("clusters: want a list, got a map", file={**clustered(), "clusters": {}})
        self.faulty("clusters[0]: want a map, got text", file={**clustered(), "clusters": ["a"]})

    def test_no_proxy_beside(self) -> None:
        """A proxy has the routes of one cluster: its own."""
        said = (
            "clusters: are for an authorize without a proxy, and a proxy runs here; want 'policy', "
            "or services without proxy"
        )
        for file in (minimal(), proxy()):
            self.faulty(said, file={**file, "clusters": [cluster("a")]})

    def test_no_route_outside(self) -> None:
        """Where there are clusters, a route belongs in one."""
        self.faulty(
            "policy: belongs in one of the clusters, as there are some",
            "routes: belongs in one of the clusters, as there are some",
            file=clustered(cluster("a"), policy=[route()], routes=[route(prefix="/a")]),
        )

    def test_a_route_in_two(self) -> None:
        """Two clusters cannot have one route; another matcher makes it another route."""
        one = route(prefix="/a")
        self.faulty(
            "clusters[1].policy[1].from: takes the same requests as clusters[0].routes[0]; this "
            "one never gets any",
            file=clustered(
                cluster("a", routes=[one]),
                cluster("b", policy=[route(prefix="/b"), route(prefix="/a", to="http://b")]),
            ),
        )

    def test_names_differ(self) -> None:
        """A name is one cluster's."""
        self.faulty(
            "clusters[1].name: is that of clusters[0] already; want another",
            file=clustered(
                cluster("a"),
                {**cluster("b"), "name": "a"},
            ),
        )

    def test_one_provider_behind_one_sign_in(self) -> None:
        """Clusters may share an authenticate, which has one provider."""
        url = "https://authenticate.example.com"
        same = {"authenticate_service_url": url, "idp_provider": "google", "idp_provider_url": None}
        self.faulty(file=clustered(cluster("a", **same), cluster("b", **same)))
        self.faulty(
            "clusters[1].authenticate_service_url: is that of clusters[0] too, which has another "
            "provider; one authenticate has one",
            file=clustered(cluster("a", **same), cluster("b", **{**same, "idp_provider": "azure"})),
        )

    def test_no_route_at_a_sign_in(self) -> None:
        """No route of any cluster is on the host of any sign-in."""
        self.faulty(
            "clusters[1].routes[0].from: 'authenticate.a.example.com' is the host of "
            "authenticate_service_url; want another",
            file=clustered(
                cluster("a"),
                cluster("b", routes=[route(**{"from": "https://authenticate.a.example.com:8443"})]),
            ),
        )

    def test_a_sign_in_without_tls(self) -> None:
        """A cluster's sign-in is reached over TLS, like any."""
        self.faulty(
            "clusters[0].authenticate_service_url: want https://, got 'http://a.example.com'",
            file=clustered(cluster("a", authenticate_service_url="http://a.example.com")),
        )

    def test_as_many_routes_in_all(self) -> None:
        """The bound on routes is one for the process and all its clusters."""
        self.patch(checking, "MOST_ROUTES", 3)
        some = [route(prefix=f"/{number}") for number in range(4)]
        self.faulty(file=clustered(cluster("a", routes=some[:2]), cluster("b", routes=some[2:3])))
        self.faulty(
            "clusters[1].routes: want at most 3 routes in all, got 4",
            file=clustered(cluster("a", routes=some[:2]), cluster("b", routes=some[2:])),
        )
        self.faulty(
            "routes: want at most 3 routes in all, got 4",
            file=minimal(policy=some[:2], routes=some[2:]),
        )


class ReadTests(SynchronousTestCase):
    """Clusters in a file, as every reader of settings sees them."""

    def test_files(self) -> None:
        """What a route of a cluster names is read from the directory of the settings."""
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "ca.pem").write_bytes(pair()[0])
            (Path(directory) / "headers").write_text("X-A: b\n")
            one = route(to="https://a", tls_custom_ca_file="ca.pem")
            two = route(prefix="/b", set_request_headers_file="headers")
            path = Path(directory) / "authorize.yaml"
            path.write_text(yaml(clustered(cluster("a", policy=[one], routes=[two]))))
            first, second = load(str(path), {}).all_routes
        self.assertEqual(first.tls_custom_ca, pair()[0])
        self.assertEqual(second.set_request_headers, (("X-A", "b"),))

    def test_environment(self) -> None:
        """Roles may come from the environment, as a list too; clusters may not."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(yaml(minimal(shared_secret=authorize()["shared_secret"])))
            file.flush()
            found = load(file.name, {"SERVICES": "authenticate"})
            self.assertEqual(found.services, ("authenticate",))
            found = load(
                file.name,
                {
                    "SERVICES": "authorize, proxy",
                    "AUTHORIZE_SERVICE_URL": "https://a",
                    "AUTHORIZE_SERVICE_URLS": "https://b,https://a",
                    "GRPC_CLIENT_TIMEOUT": "5s",
                },
            )
            self.assertEqual(found.services, ("proxy", "authorize"))
            self.assertEqual(
                [origin.text for origin in found.authorize_service_urls], ["https://a", "https://b"]
            )
            self.assertEqual(found.grpc_client_timeout, 5.0)
            with self.assertRaisesRegex(
                Exception, r"clusters \(environment CLUSTERS\): stands in the settings file only"
            ):
                load(file.name, {"CLUSTERS": base64.b64encode(b"[]").decode()})

    def test_digest(self) -> None:
        """The order of clusters means nothing; which route is whose does."""
        a, b = cluster("a"), cluster("b")
        self.assertEqual(digest(of(a, b)), digest(of(b, a)))
        swapped = {**a, "routes": b["routes"]}, {**b, "routes": a["routes"]}
        self.assertNotEqual(digest(of(a, b)), digest(of(*swapped)))
        self.assertNotEqual(digest(of(a, b)), digest(of(a)))

    @given(SOME, SOME)
    def test_told_if_different(self, before: list[Any], after: list[Any]) -> None:
        """Something is told of clusters if, and only if, the digests differ."""
        old, new = of(*before), of(*after)
        self.assertEqual(bool(changes(old, new)), digest(old) != digest(new))

    def test_changes(self) -> None:
        """What came, went and changed is told by the cluster's name; the order is nothing."""
        a, b, c = cluster("a"), cluster("b"), cluster("c")
        moved = cluster("b", idp_provider="google", idp_provider_url=None, routes=a["routes"])
        self.assertEqual(changes(of(a, b), of(b, a)), ())
        self.assertEqual(
            changes(of(a, b), of(moved, c)),
            (
                "cluster b changed: idp_provider, idp_provider_url",
                "cluster b: route https://wiki.a.example.com added",
                "cluster b: route https://wiki.b.example.com removed",
                "cluster c added, routes: 1",
                "cluster a removed",
            ),
        )
