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

from pomeriumd.settings.check import check
from pomeriumd.settings.fields import ASYMMETRIC, written
from pomeriumd.settings.keys import GLOBAL_KEYS, ROUTE_KEYS
from pomeriumd.settings.model import RouteSettings, Settings
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
SERVING = st.sampled_from(
    [{"insecure_server": True}, {"certificate": CHAIN, "certificate_key": KEY}]
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
    "metrics_address": st.sampled_from([":9902", "127.0.0.1:9902", "[::1]:0"]),
    "trusted_proxies": st.lists(
        st.sampled_from(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"]), max_size=3
    ),
    "shared_secret": roots(b"s"),
    "shared_secret_previous": roots(b"t"),
    "cookie_secret_previous": roots(b"d"),
    "signing_key": st.just(SIGNING_KEY),
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
FILES = st.tuples(
    SERVING, st.fixed_dictionaries(NEEDED, optional=MORE), st.lists(ROUTES, max_size=3)
).map(
    lambda parts: {
        **parts[0],
        **parts[1],
        "policy": [
            {"from": f"https://r{place}.example.com", **one} for place, one in enumerate(parts[2])
        ],
    }
)


def shown(name: str, value: Any) -> Any:
    """Return a value as an operator would write it."""
    if isinstance(value, Secret):
        octets = value.reveal()
        root = name.removesuffix("_previous") in ("cookie_secret", "shared_secret")
        value = base64.b64encode(octets) if root else octets
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
        if key.attribute and name not in ("routes", "certificates")
    }
    for one in found.certificates:
        out["certificate"] = one.chain.decode()
        out["certificate_key"] = one.key.reveal().decode()
    out["policy"] = [route_out(one) for one in found.routes]
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
        self.assertEqual(found.idp_client_secret.reveal().decode(), given["idp_client_secret"])
        again = yaml.safe_dump(
            written_out(found), allow_unicode=True, sort_keys=False, default_flow_style=not flow
        )
        self.assertEqual(check(parse(again, ".yaml")), found)

    def test_every_key_is_tried(self) -> None:
        """No key is left out of the files that are tried."""
        routes = {"from", "to", *LISTS, *OPEN, "path", "prefix", "regex", *ROUTE_MORE, *VERIFIED}
        self.assertEqual(set(ROUTE_KEYS) - routes - {"tls_skip_verify"}, set())
        tried = {*NEEDED, *MORE, "policy", "insecure_server", "certificate", "certificate_key"}
        self.assertEqual(set(GLOBAL_KEYS) - tried, {"routes", "certificates"})
