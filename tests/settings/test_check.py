"""Tests of pomeriumd.settings.check and of the rules that it asks."""

from __future__ import annotations

import base64
from itertools import combinations
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.check import check
from pomeriumd.settings.keys import GLOBAL_KEYS, ROUTE_KEYS, spellings
from pomeriumd.settings.known import (
    GLOBAL_GONE,
    GLOBAL_NOT_YET,
    ROUTE_GONE,
    ROUTE_NOT_YET,
)
from pomeriumd.settings.model import Origin, Secret, UpstreamURL
from pomeriumd.settings.node import Node, Unreadable
from pomeriumd.settings.rules import ROOTS
from tests.support.settings_files import (
    COOKIE_SECRET,
    SHARED_SECRET,
    minimal,
    pair,
    problems,
    route,
    settings,
    tree,
)

GLOBAL_FAULTS: dict[str, tuple[Any, str]] = {
    "services": (
        ["proxy", "gateway"],
        "services[1]: want all, proxy, authenticate or authorize, got 'gateway'",
    ),
    "grpc_address": (5443, "grpc_address: want host:port, got 5443; write ':5443'"),
    "grpc_insecure": ("yes", "grpc_insecure: want true or false, got 'yes'"),
    "grpc_attempt_timeout": ("0s", "grpc_attempt_timeout: want 10ms to 1m, got 0s"),
    "grpc_client_timeout": ("0s", "grpc_client_timeout: want 100ms to 24h, got 0s"),
    "authorize_service_url": (
        "https://a/b",
        "authorize_service_url: want scheme, host and port only, got the path '/b'",
    ),
    "authorize_service_urls": (
        ["authorize:443"],
        "authorize_service_urls[0]: want http:// or https://, got 'authorize:443'",
    ),
    "certificate_authority": (
        "hunter2",
        "certificate_authority: want a certificate in PEM or base64 of it, got neither",
    ),
    "decision_max_age": (
        "2h",
        "decision_max_age: want 1s to 1h or 0s, got 2h",
    ),
    "clusters": ({}, "clusters: want a list, got a map"),
    "use_proxy_protocol": (2, "use_proxy_protocol: want true or false, got a number"),
    "address": ("443", "address: want :port, host:port or [IPv6]:port, got '443'"),
    "insecure_server": ("on", "insecure_server: want true or false, got 'on'"),
    "http_redirect_addr": (80, "http_redirect_addr: want host:port, got 80; write ':80'"),
    "metrics_address": (9090, "metrics_address: want host:port, got 9090; write ':9090'"),
    "trusted_proxies": (
        ["0.0.0.0/0"],
        (
            "trusted_proxies[0]: 0.0.0.0/0 is everybody: any client could say who it is; name the "
            "proxies"
        ),
    ),
    "shared_secret": (
        "c2hvcnQ=",
        (
            "shared_secret: want 32 bytes in base64, got 5; `head -c32 /dev/urandom | base64` "
            "makes one"
        ),
    ),
    "signing_key": (
        "hunter2",
        "signing_key: want a private key in PEM or base64 of it, got neither",
    ),
    "cookie_name": (
        "a=b",
        "cookie_name: want a cookie name of letters, digits and dashes, got 'a=b'",
    ),
    "cookie_domain": (
        ".example.com",
        "cookie_domain: want a domain without a leading dot, got '.example.com'",
    ),
    "cookie_secure": (1, "cookie_secure: want true or false, got a number"),
    "cookie_expire": ("10s", "cookie_expire: want 1m to 8760h, got 10s"),
    "session_idle": (3600, "session_idle: no unit in 3600; write 3600s or 3600m"),
    "authenticate_callback_path": (
        "callback",
        "authenticate_callback_path: want a path that begins with /, got 'callback'",
    ),
    "idp_provider": (
        "github",
        (
            "idp_provider: not yet: 'github'; want oidc, google, okta, onelogin, auth0, cognito, "
            "gitlab, ping or azure"
        ),
    ),
    "idp_provider_url": (
        "http://id.example.com",
        "idp_provider_url: want https:// (http:// on loopback only), got 'http://id.example.com'",
    ),
    "idp_client_id": (12, "idp_client_id: want text, got a number; put it in quotes"),
    "idp_scopes": ("openid", "idp_scopes: want a list, got text"),
    "idp_signing_algorithms": (
        ["HS256"],
        (
            "idp_signing_algorithms[0]: want RS256, RS384, RS512, PS256, PS384, PS512, ES256, "
            "ES384, ES512 or EdDSA, got 'HS256'"
        ),
    ),
    "headers": (
        {"X-A": "a\r\nb"},
        "headers.X-A: holds a character that a header field may not: want printable ASCII",
    ),
    "timeout_read": ("soon", "timeout_read: want a duration such as 30s, 5m or 1h30m, got 'soon'"),
    "timeout_read_header": ("0s", "timeout_read_header: want 100ms to 24h, got 0s"),
    "timeout_write": ("25h", "timeout_write: want 100ms to 24h or 0s, got 25h"),
    "max_connections": (0, "max_connections: want 1 to 1000000, got 0"),
    "log_level": ("loud", "log_level: want debug, info, warn or error, got 'loud'"),
    "state_dir": ("state", "state_dir: want an absolute path, got 'state'"),
    "debug_address": ("127.0.0.1:1", "debug_address: not yet"),
    "cache_store": (
        "redis",
        "cache_store: gone since 0.10; nothing is needed in its place: sessions are in cookies",
    ),
    "cookie_secert": ("hunter2", "unknown setting 'cookie_secert'; did you mean cookie_secret?"),
    "allowed_users": ([], "allowed_users: belongs in a route"),
    "zzz": (1, "unknown setting 'zzz'"),
}
"""For each key a value that is wrong by itself, and what is said of it."""

ROUTE_FAULTS: dict[str, tuple[Any, str]] = {
    "from": ("ftp://a", "policy[0].from: want http:// or https://, got 'ftp://a'"),
    "to": (None, "policy[0].to: has no value; want URL, or take the line out"),
    "prefix": ("wiki", "policy[0].prefix: want a path that begins with /, got 'wiki'"),
    "allowed_users": (["a@b@c"], "policy[0].allowed_users[0]: want one @ at most, got 'a@b@c'"),
    "allowed_groups": ("admins", "policy[0].allowed_groups: want a list, got text"),
    "allowed_domains": (
        ["@b"],
        "policy[0].allowed_domains[0]: want a domain without @, got '@b'",
    ),
    "allow_websockets": ("y", "policy[0].allow_websockets: want true or false, got 'y'"),
    "timeout": (30, "policy[0].timeout: no unit in 30; write 30s or 30m"),
    "set_request_headers": (
        {"Host": "x"},
        "policy[0].set_request_headers.Host: Host is not set here; see 'preserve_host_header'",
    ),
    "tls_custom_ca": (
        "hunter2",
        "policy[0].tls_custom_ca: want a certificate in PEM or base64 of it, got neither",
    ),
    "policy": (
        [],
        "policy[0].policy: not yet; use allowed_users, allowed_groups and allowed_domains",
    ),
    "t\u043e": ("x", r"policy[0]: unknown setting 't\u043e'; did you mean to?"),
    "address": (":1", "policy[0].address: belongs to the whole process, not in a route"),
}


class GoodTests(SynchronousTestCase):
    """What is right becomes settings."""

    def test_minimal(self) -> None:
        """The least gives the defaults."""
        found = settings()
        self.assertEqual(
            found.authenticate_service_url, Origin("https", "authenticate.example.com", 443)
        )
        self.assertEqual(found.cookie_secret, Secret(bytes(range(32))))
        self.assertEqual((found.shared_secret, found.routes, found.certificates), (None, (), ()))
        self.assertEqual((found.cookie_expire, found.timeout_write), (14 * 3600.0, 0.0))

    def test_routes(self) -> None:
        """Policy comes before routes; each route knows its place."""
        found = settings(
            policy=[route(), route(prefix="/a")],
            routes=[route(**{"from": "https://b.example.com"})],
        )
        self.assertEqual([r.place for r in found.routes], ["policy[0]", "policy[1]", "routes[0]"])
        self.assertEqual(found.routes[0].to, UpstreamURL("http", "127.0.0.1", 8080, ""))
        self.assertTrue(found.routes[0].pass_identity_headers)

    def test_one_upstream_in_a_list(self) -> None:
        """One upstream may stand in a list, as newer Pomerium writes it; two may not yet."""
        found = settings(policy=[route(to=["http://a"])])
        self.assertEqual(found.routes[0].to, UpstreamURL("http", "a", 80))
        self.assertEqual(
            problems(minimal(policy=[route(to=["http://a", "http://b"])])),
            ["policy[0].to: not yet: several upstreams; want one URL"],
        )

    def test_headers(self) -> None:
        """Headers replace the default ones, and can be switched off."""
        self.assertEqual(settings(headers={"X-A": "b"}).headers, (("X-A", "b"),))
        self.assertEqual(settings(headers={"disable": True, "X-A": "b"}).headers, ())
        self.assertEqual(
            problems(minimal(headers={"X-A": "b", "x-a": "c"})),
            ["headers.x-a: is there twice, in another case"],
        )

    def test_certificates(self) -> None:
        """The inline pair goes in front of the list."""
        chain, key = pair()
        one = {"cert": chain, "key": key}
        found = settings(
            insecure_server=False,
            certificate=chain.decode(),
            certificate_key=key.decode(),
            certificates=[one],
        )
        self.assertEqual([p.place for p in found.certificates], ["certificate", "certificates[0]"])
        self.assertEqual({p.key for p in found.certificates}, {Secret(key)})


class FaultTests(SynchronousTestCase):
    """Each fault is one problem, in exact words, beside all others."""

    def test_each_global_fault(self) -> None:
        """Each wrong value is one problem."""
        for key, (value, wanted) in GLOBAL_FAULTS.items():
            self.assertEqual(problems(minimal(**{key: value})), [wanted])

    def test_each_route_fault(self) -> None:
        """Each wrong value in a route is one problem."""
        for key, (value, wanted) in ROUTE_FAULTS.items():
            given = {**route(), key: value}
            self.assertEqual(problems(minimal(policy=[given])), [wanted])

    @hypothesis.settings(deadline=None)
    @given(
        st.sets(st.sampled_from(sorted(GLOBAL_FAULTS))),
        st.sets(st.sampled_from(sorted(ROUTE_FAULTS))),
    )
    def test_all_at_once(self, planted: set[str], in_route: set[str]) -> None:
        """As many problems come out as faults were planted, whichever they are."""
        given = minimal(**{key: GLOBAL_FAULTS[key][0] for key in planted})
        given["policy"] = [{**route(), **{key: ROUTE_FAULTS[key][0] for key in in_route}}]
        wanted = [GLOBAL_FAULTS[key][1] for key in planted]
        wanted += [ROUTE_FAULTS[key][1] for key in in_route]
        self.assertEqual(sorted(problems(given)), sorted(wanted))

    def test_missing(self) -> None:
        """All that is missing is named, with an example where that helps."""
        self.assertEqual(
            problems({"policy": [{}]}),
            [
                "state_dir: missing; want directory, for instance /var/lib/pomerium",
                (
                    "policy[0].from: missing; want URL without a path, for instance "
                    "https://wiki.example.com"
                ),
                "policy[0].to: missing; want URL, for instance http://127.0.0.1:8080",
                (
                    "authenticate_service_url: missing; proxy, authenticate and authorize need "
                    "it: want URL without a path, for instance https://authenticate.example.com"
                ),
                "cookie_secret: missing; authenticate needs it: want base64 of 32 bytes",
                (
                    "idp_provider: missing; authenticate and authorize need it: want kind of "
                    "provider, for instance oidc"
                ),
                ("idp_client_id: missing; authenticate needs it: want text, for instance pomerium"),
                "idp_client_secret: missing; authenticate needs it: want text",
                (
                    "certificates: missing; proxy and authenticate need them: want at least one "
                    "{cert, key}, 'autocert: true' to have them ordered, or 'insecure_server: "
                    "true' behind a load balancer that ends TLS"
                ),
            ],
        )

    def test_shapes(self) -> None:
        """A list in place of a map and the like are said in plain words."""
        for more, wanted in (
            ({"policy": {}}, "policy: want a list, got a map"),
            ({"policy": ["x"]}, "policy[0]: want a map, got text"),
            ({"routes": None}, "routes: has no value; want a list, or take the line out"),
            ({"headers": []}, "headers: want a map, got a list"),
            ({"address": {}}, "address: want host:port, got a map"),
            ({"certificates": "x"}, "certificates: want a list, got text"),
        ):
            found = {**minimal(), **more}
            self.assertEqual(problems(found), [wanted])
        with self.assertRaises(SettingsError) as caught:
            check(tree([1]))
        self.assertEqual(
            str(caught.exception),
            "1 problem in the settings:\n  want a map of settings, got a list",
        )

    def test_an_unreadable_file_is_one_problem(self) -> None:
        """What the sources could not read is said once, at its place."""
        given = tree(minimal(cookie_secret=None))
        entries = {
            **given.entries,
            "cookie_secret": Node(Unreadable("gone"), "line 3", "cookie_secret_file"),
        }
        with self.assertRaises(SettingsError) as caught:
            check(Node(entries))
        self.assertEqual(
            str(caught.exception), "1 problem in the settings:\n  cookie_secret_file (line 3): gone"
        )

    @hypothesis.settings(deadline=None)
    @given(st.text(min_size=1).filter(lambda key: key not in spellings(GLOBAL_KEYS)))
    def test_any_unknown_key_is_a_problem(self, key: str) -> None:
        """No key is ignored, at the top or in a route."""
        self.assertEqual(len(problems({**minimal(), key: 1})), 1)
        if key not in spellings(ROUTE_KEYS):
            self.assertEqual(len(problems(minimal(policy=[{**route(), key: 1}]))), 1)

    def test_every_known_key_is_named(self) -> None:
        """Each key of Pomerium that is not here is refused by its name."""
        for key in {*GLOBAL_GONE, *GLOBAL_NOT_YET, "otel_exporter_otlp_endpoint"}:
            (found,) = problems(minimal(**{key: "x"}))
            self.assertRegex(found, f"^{key}: (not yet|gone since )")
        for key in {*ROUTE_GONE, *ROUTE_NOT_YET}:
            (found,) = problems(minimal(policy=[{**route(), key: "x"}]))
            self.assertRegex(found, rf"^policy\[0\]\.{key}: (not yet|gone since )")

    def test_known_and_accepted_keys_are_apart(self) -> None:
        """No key is both taken and refused."""
        self.assertFalse(spellings(GLOBAL_KEYS) & {*GLOBAL_GONE, *GLOBAL_NOT_YET})
        self.assertFalse(spellings(ROUTE_KEYS) & {*ROUTE_GONE, *ROUTE_NOT_YET})


class GlobalRuleTests(SynchronousTestCase):
    """Values that are good by themselves and not together."""

    def faulty(self, *wanted: str, **more: Any) -> None:
        """Assert that exactly these problems are found."""
        self.assertEqual(problems(minimal(**more)), list(wanted))

    def test_tls_or_not(self) -> None:
        """Certificates or plain text, one of them and knowingly."""
        chain, key = pair()
        self.faulty(
            "certificates: missing; proxy and authenticate need them: want at least one {cert, "
            "key}, 'autocert: true' to have them ordered, or 'insecure_server: true' behind a "
            "load balancer that ends TLS",
            insecure_server=None,
        )
        self.faulty(
            "insecure_server: with it the certificates are not used; want one or the other",
            certificates=[{"cert": chain, "key": key}],
        )

    def test_half_a_pair(self) -> None:
        """Half a pair is named by the half that is missing."""
        chain, key = pair()
        self.faulty(
            "certificate_key: missing; half of a pair does not do, and certificate is there",
            certificate=chain.decode(),
        )
        self.faulty(
            "certificate: missing; half of a pair does not do, and certificate_key is there",
            certificate_key=key.decode(),
        )
        self.faulty(
            "certificates[0].key: missing; half of a pair does not do, and certificates[0].cert is "
            "there",
            "certificates[1].cert: missing; want the path of a PEM file",
            "certificates[1].key: missing; want the path of a PEM file",
            certificates=[{"cert": chain}, {}],
        )
        self.faulty(
            "certificates[0]: unknown setting 'keyfile'; did you mean key?",
            "certificates[0].key: missing; half of a pair does not do, and certificates[0].cert is "
            "there",
            certificates=[{"cert": chain, "keyfile": "x"}],
        )

    def test_a_faulty_certificate_is_one_problem(self) -> None:
        """A certificate that cannot be read is not also missing."""
        self.faulty(
            "certificate: holds no certificate that can be read",
            insecure_server=None,
            certificate=pair()[1].decode(),
            certificate_key=pair()[1].decode(),
        )
        self.faulty(
            "certificates[0].key: holds no private key that can be read",
            insecure_server=None,
            certificates=[{"cert": pair()[0], "key": pair()[0]}],
        )

    def test_metrics_have_a_port_of_their_own(self) -> None:
        """Two listeners at one address would end the start."""
        for address, metrics in (
            (":8443", ":8443"),
            ("127.0.0.1:8443", ":8443"),
            (":8443", "127.0.0.1:8443"),
            ("127.0.0.1:8443", "127.0.0.1:8443"),
        ):
            self.faulty(
                f"metrics_address: address is {address} already; want another port for metrics",
                address=address,
                metrics_address=metrics,
            )
        self.faulty(address=":8443", metrics_address=":9090")
        self.faulty(address="127.0.0.1:8443", metrics_address="127.0.0.2:8443")

    def test_the_redirect_has_a_port_of_its_own(self) -> None:
        """So has plain http, beside all others."""
        for name in ("address", "metrics_address"):
            self.faulty(
                f"http_redirect_addr: {name} is :8080 already; want another port, for instance "
                "':80'",
                **{"address": ":8443", name: ":8080", "http_redirect_addr": "127.0.0.1:8080"},
            )
        self.faulty(address=":8443", http_redirect_addr=":80")

    def test_secrets_differ(self) -> None:
        """One root under two names would be one key in two places: any two of the four."""
        four = {name: base64.b64encode(bytes([at]) * 32).decode() for at, name in enumerate(ROOTS)}
        self.faulty(**four)
        for first, second in combinations(ROOTS, 2):
            want = "want another one"
            if second == f"{first}_previous":
                want = "want the one before it or the one that comes next, or take the line out"
            self.faulty(
                f"{second}: is the same as {first}; {want}", **{**four, second: four[first]}
            )

    def test_a_secret_that_cannot_be_read_is_one_problem(self) -> None:
        """The others are still compared, and nothing is said of it twice."""
        said = "want 32 bytes in base64, got 5; `head -c32 /dev/urandom | base64` makes one"
        for name in ROOTS:
            rest = [other for other in ROOTS if other != name]
            given = {**dict.fromkeys(rest, COOKIE_SECRET), name: "c2hvcnQ="}
            found = problems(minimal(**given))
            self.assertEqual(
                [text for text in found if text.startswith(f"{name}:")], [f"{name}: {said}"]
            )
            self.assertEqual(len(found), 1 + 3)

    def test_a_previous_secret_needs_no_present_one(self) -> None:
        """The present one may be the one that is kept, which only the daemon can look at."""
        self.faulty(shared_secret_previous=SHARED_SECRET)

    def test_cookies(self) -> None:
        """What browsers would drop is refused."""
        self.faulty(
            "cookie_same_site: 'none' needs cookie_secure; browsers drop the cookie else",
            cookie_same_site="none",
            cookie_secure=False,
        )
        self.faulty(
            "cookie_domain: does not cover 'authenticate.example.com'; no session would hold there",
            "cookie_domain: does not cover 'wiki.example.com'; no session would hold there",
            cookie_domain="ample.com",
            policy=[route(), route(prefix="/a")],
        )
        self.faulty(cookie_domain="example.com", policy=[route()])

    def test_http(self) -> None:
        """Plain http is for a load balancer, for loopback, and not for secure cookies."""
        chain, key = pair()
        kept = (
            "with http:// the browser keeps secure cookies back; want https://, or "
            "cookie_secure: false"
        )
        self.faulty(
            "authenticate_service_url: want https://, got 'http://a.example.com'",
            insecure_server=None,
            certificates=[{"cert": chain, "key": key}],
            cookie_secure=False,
            authenticate_service_url="http://a.example.com",
        )
        self.faulty(
            f"authenticate_service_url: {kept}",
            f"policy[0].from: {kept}",
            authenticate_service_url="http://a.example.com",
            policy=[route(**{"from": "http://b.example.com"})],
        )
        self.faulty(
            authenticate_service_url="http://auth.localhost:8080",
            policy=[route(**{"from": "http://app.localhost:8080"})],
        )

    def test_authenticate_has_its_host(self) -> None:
        """No route may be on the host that keeps the renewal cookie, on any port."""
        for port in ("", ":8443"):
            self.faulty(
                "policy[0].from: 'authenticate.example.com' is the host of "
                "authenticate_service_url; want another",
                policy=[route(**{"from": f"https://authenticate.example.com{port}"})],
            )

    def test_routes_twice(self) -> None:
        """A route that can never be reached is refused; one on another path is not."""
        self.faulty(
            "routes[0].from: takes the same requests as policy[0]; this one never gets any",
            policy=[route(prefix="/a"), route(prefix="/b"), route(path="/a"), route()],
            routes=[
                route(prefix="/a", to="http://other", **{"from": "https://WIKI.example.com:443/"})
            ],
        )

    def test_twice_beside_a_faulty_one(self) -> None:
        """A faulty route does not hide that two others are the same."""
        self.faulty(
            "policy[0].timeout: no unit in 1; write 1s or 1m",
            "policy[2].from: takes the same requests as policy[0]; this one never gets any",
            policy=[route(timeout=1), route(prefix="/x"), route()],
        )

    def test_provider(self) -> None:
        """What a kind of provider needs is asked for."""
        for kind in ("oidc", "okta", "auth0", "cognito", "ping"):
            self.faulty(
                f"idp_provider_url: missing; {kind} has no issuer common to all", idp_provider=kind
            )
        for kind in ("google", "azure", "gitlab", "onelogin"):
            self.faulty(idp_provider=kind)
        self.faulty(
            "idp_scopes: lacks openid, without which there is no sign-in", idp_scopes=["email"]
        )
        self.faulty(
            "idp_signing_algorithms: want at least one, got an empty list",
            idp_signing_algorithms=[],
        )
        self.faulty(
            "idp_request_params.state: state is set by the sign-in itself",
            "idp_request_params.scope: scope is set by the sign-in itself; see idp_scopes",
            idp_request_params={"state": "x", "prompt": "login", "scope": "x"},
        )

    def test_ages(self) -> None:
        """Rechecks come before the end."""
        self.faulty(
            "session_recheck: want session_recheck (2h) no longer than session_recheck_max (1h)",
            session_recheck="2h",
        )
        self.faulty(
            "cookie_expire: want session_recheck_max (1h) no longer than cookie_expire (30m)",
            cookie_expire="30m",
        )


class RouteRuleTests(SynchronousTestCase):
    """Values of one route that are good by themselves and not together."""

    def faulty(self, *wanted: str, **more: Any) -> None:
        """Assert that exactly these problems are found in one route."""
        self.assertEqual(problems(minimal(policy=[route(**more)])), list(wanted))

    def test_one_matcher(self) -> None:
        """A route matches paths in one way."""
        self.faulty(
            "policy[0].prefix: want one of path, prefix and regex, got path and prefix",
            path="/a",
            prefix="/b",
        )
        self.faulty(
            "policy[0].prefix: want one of path, prefix and regex, got path and prefix and regex",
            path="/a",
            prefix="/b",
            regex="/c",
        )

    def test_public(self) -> None:
        """Public and allowed contradict each other."""
        for key, value in (
            ("allowed_users", ["a@b.c"]),
            ("allowed_groups", ["x"]),
            ("allowed_domains", ["b.c"]),
            ("allow_any_authenticated_user", True),
        ):
            self.faulty(
                "policy[0].allow_public_unauthenticated_access: lets everybody in, and "
                f"{key} would not count; want one or the other",
                allow_public_unauthenticated_access=True,
                **{key: value},
            )

    def test_nobody(self) -> None:
        """A route that admits nobody is legal: deny is the default."""
        self.faulty()

    def test_tls_to_http(self) -> None:
        """TLS settings for a plain upstream would promise what does not hold."""
        chain, key = pair()
        for name, value in (
            ("tls_skip_verify", True),
            ("tls_custom_ca", chain),
            ("tls_server_name", "a.example"),
            ("tls_upstream_server_name", "a.example"),
        ):
            self.faulty(
                f"policy[0].{name}: means nothing: the application is reached over http://",
                **{name: value},
            )
        self.faulty(to="https://a", tls_custom_ca=chain, tls_client_cert=chain, tls_client_key=key)

    def test_half_a_client_pair(self) -> None:
        """Half a client certificate is named by the missing half."""
        self.faulty(
            "policy[0].tls_client_key: missing; half of a pair does not do, and tls_client_cert is "
            "there",
            to="https://a",
            tls_client_cert=pair()[0],
        )

    def test_two_names_of_the_upstream(self) -> None:
        """The old key and the newer one do not contradict each other; the same is no fault."""
        self.faulty(
            "policy[0].tls_server_name: is 'a.example', and tls_upstream_server_name, its newer "
            "name, is 'b.example'; want one of them",
            to="https://a",
            tls_server_name="a.example",
            tls_upstream_server_name="b.example",
        )
        self.faulty(
            to="https://a", tls_server_name="a.example", tls_upstream_server_name="a.example"
        )

    def test_renegotiation(self) -> None:
        """It is refused with the reason; to say that there is none is no fault."""
        self.faulty(
            "policy[0].tls_upstream_allow_renegotiation: want false: who renegotiates could be "
            "given another's request to answer (CVE-2009-3555), and TLS 1.3 has no such thing; "
            "have the application ask for our certificate in the first handshake",
            to="https://a",
            tls_upstream_allow_renegotiation=True,
        )
        self.faulty(to="https://a", tls_upstream_allow_renegotiation=False)

    def test_skip_verify_with_ca(self) -> None:
        """Trusting all and trusting some is not possible together."""
        self.faulty(
            "policy[0].tls_skip_verify: with it tls_custom_ca is not looked at; want one of them",
            to="https://a",
            tls_skip_verify=True,
            tls_custom_ca=pair()[0],
        )
