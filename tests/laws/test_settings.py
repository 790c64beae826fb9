"""
Settings, written out as YAML and read again, are the same settings.

Every key that a file may hold is among them, in the values that YAML and we are likeliest to
misread: texts that look like numbers, flags, nothing, lists, comments; fractions of seconds.
"""

from __future__ import annotations

import base64
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.canonical import digest
from pomeriumd.settings.check import check
from pomeriumd.settings.fields import ASYMMETRIC, written
from pomeriumd.settings.keys import CLUSTER_KEYS, GLOBAL_KEYS, LISTS_OF_MAPS, ROUTE_KEYS
from pomeriumd.settings.model import ClusterSettings, RouteSettings, Settings
from pomeriumd.settings.roles import needed
from pomeriumd.settings.trees import parse
from pomeriumd.settings.values import Secret
from tests.support.laws import examples
from tests.support.settings_files import pair, pem_key

CHAIN, KEY = (octets.decode() for octets in pair())
SIGNING_KEY = pem_key().decode()

flags = st.booleans()
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
hosts = st.builds("{}.example.com".format, names)
ODD = (
    *("yes", "No", "null", "~", "0644", "1e3", "1:30", "true", "- a", "a: b", "#a", "a #b", "*a"),
    *("&a", "!a", "{a", "[a]", "%a", "@a", "'a", '"a"', "a\\n", "<<", "=", "2026-11-26", "é", "|"),
)
odd = st.sampled_from(ODD)
texts = odd | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FF), min_size=1).filter(
    str.isprintable
)
values = odd.filter(str.isascii) | st.from_regex(r"[!-~]([ -~]{0,8}[!-~])?", fullmatch=True).filter(
    lambda text: "$" not in text
)
waits = st.integers(100, 86_400_000).map(lambda milliseconds: written(milliseconds / 1000))
paths = st.from_regex(r"(/[a-z0-9-]{1,8}){1,4}/?", fullmatch=True)


def roots(last: bytes) -> st.SearchStrategy[str]:
    """Give root secrets, in base64, that end in this byte: no two of them may be the same."""
    octets = st.binary(min_size=31, max_size=31)
    return octets.map(lambda found: base64.b64encode(found + last).decode())


def a_map(keys: st.SearchStrategy[str], entries: st.SearchStrategy[str]) -> Any:
    """Give maps whose keys differ in more than their case."""
    return st.dictionaries(keys, entries, max_size=3)


MATCHERS = st.sampled_from([{}, {"path": "/a"}, {"prefix": "/a/b/"}, {"regex": "/[a-z]+"}])
OPEN = ("allow_public_unauthenticated_access", "allow_any_authenticated_user")
LISTS: dict[str, st.SearchStrategy[Any]] = {
    "allowed_users": st.lists(
        st.builds("{}@{}".format, names, hosts)
        | odd.filter(lambda text: not {" ", "@"} & set(text)),
        max_size=3,
    ),
    "allowed_groups": st.lists(texts, max_size=3),
    "allowed_domains": st.lists(hosts, max_size=3),
}
ACCESS = st.sampled_from(OPEN).map(lambda name: {name: True}) | st.fixed_dictionaries(
    {}, optional=LISTS
)
VERIFIED: dict[str, st.SearchStrategy[Any]] = {
    "to": st.just("https://10.0.0.1:8443"),
    "tls_custom_ca": st.just(CHAIN),
    "tls_server_name": hosts,
    "tls_client_cert": st.just(CHAIN),
    "tls_client_key": st.just(KEY),
}
TLS = st.one_of(
    st.just({"to": "http://[::1]:8080/x"}),
    st.just({"to": "https://a.internal", "tls_skip_verify": True}),
    st.fixed_dictionaries(VERIFIED),
)
ROUTE_MORE: dict[str, st.SearchStrategy[Any]] = {
    "allow_websockets": flags,
    "timeout": waits | st.just("0s"),
    "preserve_host_header": flags,
    "pass_identity_headers": flags,
    "set_request_headers": a_map(names.map("X-a{}".format), values),
}
ROUTES = st.tuples(TLS, ACCESS, MATCHERS, st.fixed_dictionaries({}, optional=ROUTE_MORE)).map(
    lambda parts: {key: value for part in parts for key, value in part.items()}
)
CERTIFIED = {"certificate": CHAIN, "certificate_key": KEY}
AUTOCERT: dict[str, Any] = {
    "autocert": True,
    "autocert_dir": "/var/lib/pomerium/\u00e9",
    "autocert_email": "ops@example.com",
    "autocert_trusted_ca": CHAIN,
    "autocert_must_staple": True,
}
BY_DNS = {
    "autocert_challenge": "dns-01",
    "autocert_dns_hook": "/usr/local/sbin/acme-dns",
    "autocert_names": ["www.example.com", "*.example.com"],
    "autocert_use_staging": True,
}
WITH_ACCOUNT = {
    "autocert_ca": "https://acme.example.com/directory",
    "autocert_eab_key_id": "kid-1",
    "autocert_eab_mac_key": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0",
}
SERVING = st.sampled_from([{"insecure_server": True}, CERTIFIED])
ORDERING = st.sampled_from(
    [{**CERTIFIED, **AUTOCERT, **more, "insecure_server": False} for more in (BY_DNS, WITH_ACCOUNT)]
)
NEEDED: dict[str, st.SearchStrategy[Any]] = {
    "cookie_secret": roots(b"c"),
    "authenticate_service_url": st.just("https://auth.example.com:8443"),
    "idp_provider": st.sampled_from(["oidc", "google", "azure"]),
    "idp_provider_url": st.just("https://id.example.com/a"),
    "idp_client_id": texts,
    "idp_client_secret": texts,
    "state_dir": st.just("/var/lib/pomerium"),
}
MORE: dict[str, st.SearchStrategy[Any]] = {
    "services": st.just("all"),
    "workers": st.integers(1, 64),
    "address": st.sampled_from([":443", "127.0.0.1:8443", "[::1]:1"]),
    "http_redirect_addr": st.sampled_from([":9080", "127.0.0.1:9080", "[::1]:0"]),
    "metrics_address": st.sampled_from([":9902", "127.0.0.1:9902", "[::1]:0"]),
    "trusted_proxies": st.lists(
        st.sampled_from(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"]), max_size=3
    ),
    "shared_secret": roots(b"s"),
    "shared_secret_previous": roots(b"t"),
    "cookie_secret_previous": roots(b"d"),
    "signing_key": st.just(SIGNING_KEY),
    "certificates_dir": st.sampled_from(["/etc/pomerium/certs", "/etc/letsencrypt/live/"]),
    "control_socket": st.sampled_from(["/run/pomerium/control.sock", "/var/lib/a b/\u00e9.sock"]),
    "cookie_name": names,
    "cookie_domain": st.just("example.com"),
    "cookie_secure": st.just(True),
    "cookie_http_only": flags,
    "cookie_same_site": st.sampled_from(["lax", "none"]),
    "cookie_expire": st.integers(3600, 86_400).map(lambda seconds: f"{seconds}s"),
    "session_recheck": st.integers(1, 60).map(lambda seconds: f"{seconds}s"),
    "session_recheck_max": st.integers(600, 3600).map(lambda seconds: f"{seconds}s"),
    "session_idle": st.integers(60, 86_400).map(lambda seconds: f"{seconds}s"),
    "authenticate_callback_path": paths,
    "idp_scopes": st.lists(names, max_size=2).map(lambda more: ["openid", *more]),
    "idp_request_params": a_map(names.map("a{}".format), texts),
    "idp_signing_algorithms": st.lists(st.sampled_from(ASYMMETRIC), min_size=1),
    "headers": a_map(names.map("X-{}".format), values) | st.just({"disable": True}),
    "default_upstream_timeout": waits | st.just("0s"),
    "timeout_read": waits,
    "timeout_write": waits,
    "timeout_read_header": waits,
    "timeout_idle": waits,
    "max_connections": st.integers(1, 10**6),
    "upstream_max_connections": st.integers(1, 10**6),
    "log_level": st.sampled_from(["debug", "info", "warn", "error"]),
    "pomerium_debug": flags,
}
AUTHORIZE = "https://authorize.internal"
ELSEWHERE: dict[str, st.SearchStrategy[Any]] = {
    "shared_secret": roots(b"s"),
    "authorize_service_url": st.just(f"{AUTHORIZE}:5443"),
}
"""What roles that are not all in one process need."""

SOME_ROLES = st.sampled_from(
    [
        *("proxy", "authenticate", "authorize", ["authorize"]),
        *(["proxy", "authorize"], ["authorize", "authenticate"], ["authenticate", "proxy"]),
    ]
)
GRPC: dict[str, st.SearchStrategy[Any]] = {
    "authorize_service_urls": st.just([AUTHORIZE, f"{AUTHORIZE}:5443"]),
    "override_certificate_name": hosts,
    "certificate_authority": st.just(CHAIN),
    "grpc_client_timeout": st.just("7s"),
    "grpc_attempt_timeout": st.sampled_from(["10ms", "1.5s"]),
    "grpc_client_dns_roundrobin": flags,
    "grpc_resolve_interval": st.sampled_from(["1s", "1h"]),
    "grpc_server_max_connection_age": waits,
    "grpc_server_max_connection_age_grace": waits,
    "decision_max_age": st.sampled_from(["0s", "1s", "1h"]),
    # Without TLS no other address would do.
    "grpc_address": st.sampled_from(["127.0.0.1:5443", "[::1]:0"]),
}
SHOWN = st.sampled_from(
    [{}, {"grpc_client_certificate": CHAIN, "grpc_client_certificate_key": KEY}]
)
CLUSTERED = st.fixed_dictionaries(
    {
        "services": st.just("authorize"),
        "shared_secret": roots(b"s"),
        "certificate": st.just(CHAIN),
        "certificate_key": st.just(KEY),
        "grpc_client_ca": st.just(CHAIN),
        "state_dir": st.just("/var/lib/pomerium"),
        "clusters": st.lists(st.lists(ROUTES, max_size=3), min_size=1, max_size=3).map(
            lambda found: [
                {
                    "name": f"c{number}",
                    "authenticate_service_url": f"https://auth.c{number}.example.com",
                    "idp_provider": "google",
                    "routes": placed(routes, f"c{number}.example.com"),
                }
                for number, routes in enumerate(found)
            ]
        ),
    }
)


def placed(routes: list[dict[str, Any]], domain: str) -> list[dict[str, Any]]:
    """Return routes with a host for each."""
    return [{"from": f"https://r{place}.{domain}", **one} for place, one in enumerate(routes)]


def whole(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Return one file of several parts."""
    return {key: value for part in parts for key, value in part.items()}


FILES = st.tuples(
    SERVING,
    st.fixed_dictionaries(NEEDED, optional={**MORE, **GRPC, "use_proxy_protocol": flags}),
    st.just({})
    | ORDERING
    | st.fixed_dictionaries(
        {**ELSEWHERE, "services": SOME_ROLES, "grpc_address": st.just("[::1]:7")}
    ),
    SHOWN,
    st.lists(ROUTES, max_size=3).map(lambda routes: {"policy": placed(routes, "example.com")}),
).map(whole)


def shown(name: str, value: Any) -> Any:
    """Return a value as an operator would write it."""
    if isinstance(value, Secret):
        octets = value.reveal()
        root = name.removesuffix("_previous") in ("cookie_secret", "shared_secret")
        value = base64.b64encode(octets) if root else octets
        if name == "autocert_eab_mac_key":
            value = base64.urlsafe_b64encode(octets).rstrip(b"=")
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return written(value)
    if isinstance(value, tuple):
        if name in ("headers", "idp_request_params", "set_request_headers"):
            return dict(value) or ({"disable": True} if name == "headers" else {})
        return [shown("", item) for item in value]
    plain = value is None or isinstance(value, (bool, int, str))
    return value if plain else getattr(value, "text", str(value))


def written_out(found: Settings) -> dict[str, Any]:
    """Return settings with every key written out."""
    out = {
        name: shown(name, getattr(found, key.attribute))
        for name, key in GLOBAL_KEYS.items()
        if key.attribute and name not in LISTS_OF_MAPS
    }
    for one in found.certificates:
        out["certificate"] = one.chain.decode()
        out["certificate_key"] = one.key.reveal().decode()
    out["policy"] = [route_out(one) for one in found.routes]
    out["clusters"] = [cluster_out(one) for one in found.clusters]
    return {name: value for name, value in out.items() if value is not None}


def cluster_out(one: ClusterSettings) -> dict[str, Any]:
    """Return a cluster with every key written out."""
    out = {
        name: shown(name, getattr(one, key.attribute))
        for name, key in CLUSTER_KEYS.items()
        if name not in LISTS_OF_MAPS
    }
    out["routes"] = [route_out(route) for route in one.routes]
    return {name: value for name, value in out.items() if value is not None}


def route_out(one: RouteSettings) -> dict[str, Any]:
    """Return a route with every key written out."""
    out = {name: shown(name, getattr(one, key.attribute)) for name, key in ROUTE_KEYS.items()}
    return {name: value for name, value in out.items() if value is not None}


class RoundTripTests(SynchronousTestCase):
    """check() and the trees, against PyYAML's writer."""

    @examples(30)
    @given(FILES, flags)
    def test_written_and_read(self, given: dict[str, Any], flow: bool) -> None:
        """As they were, whatever style a writer likes; and as the file said."""
        text = yaml.safe_dump(given, allow_unicode=True, default_flow_style=flow)
        found = check(parse(text, ".yaml"))
        self.assertEqual(found.idp_client_id, given["idp_client_id"])
        secret = needed(found.idp_client_secret, "idp_client_secret")
        self.assertEqual(secret.reveal().decode(), given["idp_client_secret"])
        again = yaml.safe_dump(
            written_out(found), allow_unicode=True, sort_keys=False, default_flow_style=not flow
        )
        self.assertEqual(check(parse(again, ".yaml")), found)

    @examples(30)
    @given(CLUSTERED)
    def test_clusters(self, given: dict[str, Any]) -> None:
        """The same for clusters with routes of their own."""
        found = check(parse(yaml.safe_dump(given), ".yaml"))
        self.assertEqual(
            [len(cluster.routes) for cluster in found.clusters],
            [len(cluster["routes"]) for cluster in given["clusters"]],
        )
        again = check(parse(yaml.safe_dump(written_out(found), sort_keys=False), ".yaml"))
        self.assertEqual(again, found)
        self.assertEqual(digest(again), digest(found))

    def test_every_key_is_tried(self) -> None:
        """No key is left out of the files that are tried."""
        routes = {"from", "to", *LISTS, *OPEN, "path", "prefix", "regex", *ROUTE_MORE, *VERIFIED}
        # Those of client certificates are tried by tests/settings/test_downstream.py.
        routes |= {"tls_downstream_client_ca", "tls_downstream_client_certificate"}
        routes |= {"tls_skip_verify", "allowed_client_certificates"}
        # Other words for what is tried; by tests/settings/test_check.py.
        routes |= {"tls_upstream_server_name", "tls_upstream_allow_renegotiation"}
        self.assertEqual(set(ROUTE_KEYS) - routes, set())
        tried = {*NEEDED, *MORE, *GRPC, *ELSEWHERE, "policy", "clusters", "use_proxy_protocol"}
        tried |= {"certificate", "certificate_key", "insecure_server", "grpc_client_ca"}
        tried |= {"client_ca", "client_crl", "downstream_mtls"}
        tried |= {*AUTOCERT, *BY_DNS, *WITH_ACCOUNT}
        tried |= {"grpc_client_certificate", "grpc_client_certificate_key"}
        self.assertEqual(set(GLOBAL_KEYS) - tried, {"routes", "certificates", "grpc_insecure"})
