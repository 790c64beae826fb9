"""Tests of pomeriumd.settings.report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.report import MOST_SHOWN, report
from tests.support.settings_files import (
    SHARED_SECRET,
    authenticate,
    authorize,
    cluster,
    minimal,
    pair,
    proxy,
    route,
    yaml,
)


class ReportTests(SynchronousTestCase):
    """The report is what an operator needs to read, and no more."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "config.yaml"

    def report(self, **more: Any) -> tuple[list[str], int]:
        """Return the lines of the report, the path's taken for PATH, and the status."""
        self.path.write_text(yaml(minimal(**more)))
        text, status = report(str(self.path), {}, 1_780_000_000.0)
        return text.replace(str(self.path), "PATH").splitlines(), status

    def test_good(self) -> None:
        """A good file has one line, and one for each route."""
        chain, key = pair("*.example.com")
        self.assertEqual(
            self.report(
                insecure_server=None,
                certificate=chain.decode(),
                certificate_key=key.decode(),
                idp_provider="gitlab",
                policy=[
                    route(allowed_users=["a@b.c", "d@e.f"], allowed_domains=["x.example"]),
                    route(prefix="/a", allow_any_authenticated_user=True),
                    route(regex="/b.*", allowed_groups=["admins"]),
                ],
            ),
            (
                [
                    (
                        "PATH: good; runs proxy, authenticate and authorize; 3 routes, https on "
                        ":443, sign-in with gitlab at https://authenticate.example.com"
                    ),
                    "  https://wiki.example.com -> http://127.0.0.1:8080: 2 users, 1 domain",
                    (
                        "  https://wiki.example.com (prefix /a) -> http://127.0.0.1:8080: "
                        "everybody who signs in"
                    ),
                    "  https://wiki.example.com (regex /b.*) -> http://127.0.0.1:8080: 1 group",
                ],
                0,
            ),
        )

    def test_dangers(self) -> None:
        """What is dangerous and legal has a line each."""
        lines, status = self.report(
            address="127.0.0.1:80",
            trusted_proxies=["127.0.0.1"],
            cookie_secure=False,
            cookie_http_only=False,
            cookie_domain="example.com",
            timeout_read=0,
            session_idle="20h",
            headers={"disable": True},
            policy=[
                route(allow_public_unauthenticated_access=True),
                route(prefix="/a"),
                route(prefix="/b", to="https://a", tls_skip_verify=True, allowed_users=["x"]),
                route(**{"from": "http://b.example.com", "allowed_users": ["x"]}),
            ],
        )
        self.assertEqual(status, 0)
        self.assertEqual(
            lines[5:],
            [
                "10 dangers, in case you did not mean it:",
                (
                    "  tls_skip_verify: certificates are not verified, so whoever stands between "
                    "can be the application, at policy[2] (https://a); set tls_custom_ca instead"
                ),
                (
                    "  policy[0]: public: https://wiki.example.com is open to everybody, without "
                    "sign-in"
                ),
                (
                    "  policy[1]: nobody may use https://wiki.example.com: it has no "
                    "allowed_users, _groups or _domains"
                ),
                "  policy[3]: from: http://b.example.com is served without TLS",
                "  cookie_secure: false, so sessions travel over plain http too",
                "  cookie_http_only: false, so scripts of the applications can read sessions",
                "  cookie_domain: every host under example.com is sent the session cookie",
                "  timeout_read: 0s, so a client that stalls holds its connection for ever",
                "  session_idle: 20h is longer than cookie_expire and never comes to pass",
                "  headers: none, so browsers are not told to stay on https",
            ],
        )

    def test_groups_that_nobody_names(self) -> None:
        """A rule that no sign-in can meet is pointed at, with its route (abuse case O10)."""
        rules = [route(allowed_groups=["staff"], allowed_users=["a@b.c"])]
        told = "  policy[0]: allowed_groups: lets nobody in, as google names no groups"
        self.assertIn(told, self.report(policy=rules)[0])
        self.assertNotIn("allowed_groups", str(self.report(policy=rules, idp_provider="gitlab")))

    def test_a_rotation_is_not_forgotten(self) -> None:
        """A previous secret opens what it opened; so long as it stands there, a line says so."""
        told = ": whoever knows it can forge sessions; take it out after the rotation"
        for name in ("shared_secret_previous", "cookie_secret_previous"):
            self.assertIn(f"  {name}{told}", self.report(**{name: SHARED_SECRET})[0])
            self.assertNotIn(told, str(self.report()))

    def test_insecure(self) -> None:
        """Plain http on all addresses is pointed at; so are no routes."""
        self.assertEqual(
            self.report()[0][1:],
            [
                "3 dangers, in case you did not mean it:",
                "  policy: there are no routes; only the sign-in is served",
                (
                    "  insecure_server: whoever can reach this port can read and change the "
                    "traffic; only the load balancer should"
                ),
                (
                    "  trusted_proxies: empty, so the log shows the load balancer in place of the "
                    "client"
                ),
            ],
        )

    def test_addresses_by_hearsay(self) -> None:
        """PROXY headers from everybody are pointed at; from listed ones they are not."""
        told = "use_proxy_protocol: whoever can reach :443 can say which address they come from"
        self.assertIn(told, str(self.report(use_proxy_protocol=True)[0]))
        listed = self.report(use_proxy_protocol=True, trusted_proxies=["192.0.2.10"])
        self.assertNotIn("use_proxy_protocol", str(listed))

    def test_metrics_for_everybody(self) -> None:
        """Metrics that others than this machine can read are pointed at."""
        for address in (":9090", "0.0.0.0:9090", "10.0.0.1:9090", "metrics.example.com:9090"):
            told = (
                f"  metrics_address: whoever can reach {address} can read the metrics, the names "
                "of all hosts and applications among them; there is no sign-in"
            )
            self.assertIn(told, self.report(metrics_address=address)[0])
        for address in ("127.0.0.1:9090", "[::1]:9090", "localhost:9090"):
            self.assertNotIn("metrics_address", str(self.report(metrics_address=address)))

    def test_faults(self) -> None:
        """A faulty file has its path once and a line for each problem."""
        self.assertEqual(
            self.report(address=443, cookie_secert="hunter2"),
            (
                [
                    "PATH: 2 problems in the settings:",
                    "  line 10: unknown setting 'cookie_secert'; did you mean cookie_secret?",
                    "  address (line 9): want host:port, got 443; write ':443'",
                ],
                1,
            ),
        )

    def test_many_routes(self) -> None:
        """The list of routes is cut, not the check."""
        lines, _ = self.report(
            policy=[route(prefix=f"/r{n}", allowed_users=["x"]) for n in range(MOST_SHOWN + 2)]
        )
        self.assertEqual(lines[MOST_SHOWN + 1], "  and 2 more")


class RoleTests(SynchronousTestCase):
    """The report says which roles a file starts, and what each will do."""

    def report(self, given: dict[str, Any]) -> list[str]:
        """Return the lines of the report of a good file, without its path."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(yaml(given))
            file.flush()
            text, status = report(file.name, {}, 1_780_000_000.0)
        self.assertEqual(status, 0, text)
        return text.replace(f"{file.name}: ", "").splitlines()

    def test_each_role(self) -> None:
        """Its listeners, and the others that it counts on."""
        routes = [route(allowed_users=["a@b.c"])]
        for given, wanted in (
            (
                proxy(policy=routes),
                (
                    "good; runs proxy; 1 route, https on :443, decisions from "
                    "https://authorize.internal:5443, sign-in at https://authenticate.example.com"
                ),
            ),
            (
                authenticate(),
                (
                    "good; runs authenticate; 0 routes, https on :443, sign-in with google at "
                    "https://authenticate.example.com"
                ),
            ),
            (
                authorize(policy=routes, address=":5443"),
                (
                    "good; runs authorize; 1 route, https on :5443 for health only, gRPC with TLS "
                    "on :443, sign-in with google at https://authenticate.example.com"
                ),
            ),
            (
                authorize(clusters=[cluster("a"), cluster("b")], address=":5443"),
                (
                    "good; runs authorize; 2 routes, 2 clusters, https on :5443 for health only, "
                    "gRPC with TLS on :443"
                ),
            ),
            (
                authenticate(services=["authenticate", "authorize"]),
                (
                    "good; runs authenticate and authorize; 0 routes, https on :443, gRPC with TLS "
                    "on :5443, sign-in with google at https://authenticate.example.com"
                ),
            ),
        ):
            self.assertEqual(self.report(given)[0], wanted)

    def test_routes_of_clusters(self) -> None:
        """Routes of clusters are listed, and looked at with their own provider."""
        one = route(allowed_groups=["staff"], **{"from": "https://a.example.com"})
        two = route(**{"from": "https://b.example.com"})
        lines = self.report(
            authorize(
                address=":5443",
                clusters=[
                    cluster("a", idp_provider="google", routes=[one]),
                    cluster("b", routes=[two]),
                ],
            )
        )
        self.assertEqual(
            lines[1:],
            [
                "  https://a.example.com -> http://127.0.0.1:8080: 1 group",
                "  https://b.example.com -> http://127.0.0.1:8080: nobody",
                "2 dangers, in case you did not mean it:",
                (
                    "  clusters[0].routes[0]: allowed_groups: lets nobody in, as google names no "
                    "groups"
                ),
                (
                    "  clusters[1].routes[0]: nobody may use https://b.example.com: it has no "
                    "allowed_users, _groups or _domains"
                ),
            ],
        )

    def test_dangers(self) -> None:
        """A moved address, gRPC without TLS, no routes, and a header that anybody could write."""
        for given, wanted in (
            (
                authorize(grpc_insecure=True),
                [
                    (
                        "  address: moved from :443 to :5443, as grpc_address has :443; it has "
                        "/ping and /healthz only; write 'address: :5443' to say the same"
                    ),
                    "  policy: there are no routes; every question is answered no",
                    (
                        "  grpc_insecure: whoever can listen in on what reaches :443 can read and "
                        "change decisions"
                    ),
                ],
            ),
            (
                proxy(use_proxy_protocol=True),
                [
                    "  policy: there are no routes; nothing is served",
                    (
                        "  use_proxy_protocol: whoever can reach :443 can say which address they "
                        "come from; only the load balancer should"
                    ),
                ],
            ),
            (authenticate(), []),
            (authorize(grpc_address="127.0.0.1:1", policy=[route(allowed_users=["x"])]), []),
        ):
            found = self.report(given)
            begin = next((at for at, line in enumerate(found) if "danger" in line), len(found))
            self.assertEqual(found[begin + 1 :], wanted)
