"""Tests of pomeriumd.settings.changes: what is told of new settings, and what is never told."""

from __future__ import annotations

import base64
from typing import Any

import attrs
import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.canonical import digest
from pomeriumd.settings.changes import AT_START, MOST_SENTENCES, changes, needs_restart
from pomeriumd.settings.check import check
from pomeriumd.settings.keys import GLOBAL_KEYS, LISTS_OF_MAPS, ROUTE_KEYS
from pomeriumd.settings.model import CertificatePair, Secret, Settings
from tests.support.settings_files import (
    authorize,
    pair,
    pem_key,
    proxy,
    route,
    settings,
    tree,
)

MARK = "MARKEDSECRETMARKEDSECRETMARKEDSE"
"""Thirty-two characters that stand in every secret of these settings."""

SECRETS = st.sampled_from([MARK, MARK[::-1] + "MARKED"]).map(lambda text: text[-32:])
ROOTS = SECRETS.map(lambda text: base64.b64encode(text.encode()).decode())
NAMES = st.sampled_from(["ann@example.com", "bob@example.com", "cy@example.com"])
CHAIN, KEY = (octets.decode() for octets in pair())
ROUTES = st.fixed_dictionaries(
    {"from": st.sampled_from([f"https://{name}.example.com" for name in "abc"])},
    optional={
        "prefix": st.sampled_from(["/a", "/b"]),
        "to": st.sampled_from(["http://10.0.0.1", "https://b.internal"]),
        "allowed_users": st.lists(NAMES, max_size=2),
        "timeout": st.sampled_from(["0s", "30s", "1m", "60s"]),
        "set_request_headers": st.dictionaries(
            st.sampled_from(["Authorization", "X-Key"]), SECRETS.map("Bearer {}".format)
        ),
    },
).map(lambda more: route(**more))
FILES = st.fixed_dictionaries(
    {
        "policy": st.lists(
            ROUTES, max_size=4, unique_by=lambda one: (one["from"], one.get("prefix"))
        )
    },
    optional={
        "cookie_secret": ROOTS,
        "idp_client_secret": SECRETS,
        "log_level": st.sampled_from(["debug", "info"]),
        "headers": st.sampled_from([{"X-A": "b", "X-C": "d"}, {"X-C": "d", "X-A": "b"}, {}]),
        "trusted_proxies": st.lists(st.ip_addresses().map(str), max_size=3),
        "workers": st.integers(1, 3),
        "cookie_expire": st.sampled_from(["14h", "840m", "20h"]),
    },
)


def told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what is told of two settings, each the least good ones and more."""
    return list(changes(settings(**before), settings(**after)))


def altered(of: Any, **more: Any) -> Any:
    """Return settings, or a route, with another value of some attributes, of any type."""
    return attrs.evolve(of, **more)


def other(of: object, attribute: str) -> Any:
    """Return another value than that of an attribute; its type is of no account here."""
    value = getattr(of, attribute)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, ("x", "y"))
    return "x"


class LawTests(SynchronousTestCase):
    """What holds for any two settings."""

    @hypothesis.settings(max_examples=300)
    @given(FILES, FILES)
    def test_told_if_different(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Something is told if, and only if, the digests differ; in both directions."""
        old, new = settings(**before), settings(**after)
        different = digest(old) != digest(new)
        self.assertEqual((bool(changes(old, new)), bool(changes(new, old))), (different,) * 2)
        self.assertEqual((changes(old, old), changes(new, new)), ((), ()))

    @hypothesis.settings(max_examples=300)
    @given(FILES, FILES)
    def test_no_secret(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """No secret is in any sentence, in no form."""
        text = "\n".join(told(before, after))
        for octets in (MARK.encode(), MARK[::-1].encode()):
            for form in (octets.decode(), base64.b64encode(octets).decode()[:12], octets.hex()):
                self.assertNotIn(form[:12], text)

    def test_every_key(self) -> None:
        """A change of any key of the process is told under its name; a secret's value is not."""
        before = settings()
        for name, key in GLOBAL_KEYS.items():
            if not key.attribute or name in LISTS_OF_MAPS:
                continue
            value = Secret(MARK.encode()) if key.secret else other(before, key.attribute)
            (sentence,) = changes(before, altered(before, **{key.attribute: value}))
            self.assertTrue(sentence.startswith(f"{name} changed"), sentence)
            self.assertNotIn(MARK, sentence)

    def test_every_key_of_a_route(self) -> None:
        """A change of any key of a route is told by its name."""
        before = settings(policy=[route(prefix="/a")])
        for name, key in ROUTE_KEYS.items():
            if name in ("from", "path", "prefix", "regex"):
                continue
            one = before.routes[0]
            secret = name == "tls_client_key"
            value = Secret(MARK.encode()) if secret else other(one, key.attribute)
            after = altered(before, routes=(altered(one, **{key.attribute: value}),))
            self.assertEqual(
                changes(before, after),
                (f"route https://wiki.example.com (prefix /a) changed: {name}",),
            )


class SentenceTests(SynchronousTestCase):
    """The sentences themselves."""

    def test_keys(self) -> None:
        """Values as an operator writes them; secrets by name alone; of maps the names."""
        self.assertEqual(
            told(
                {"headers": {"X-A": "b", "X-C": "d"}, "cookie_secure": True},
                {
                    "address": ":8443",
                    "cookie_domain": "example.com",
                    "cookie_http_only": False,
                    "session_idle": "90m",
                    "trusted_proxies": ["192.0.2.1", "2001:db8::/32"],
                    "idp_client_secret": "another",
                    "headers": {"X-A": "b", "X-C": "e"},
                    "authorize_service_urls": ["https://a.internal", "https://b.internal:1"],
                    "certificate_authority": pair()[0].decode(),
                },
            ),
            [
                "address changed from :443 to :8443",
                "trusted_proxies changed from none to [192.0.2.1/32, 2001:db8::/32]",
                "cookie_domain changed from the default to example.com",
                "cookie_http_only changed from true to false",
                "session_idle changed from 1h to 1h30m",
                "idp_client_secret changed",
                (
                    "authorize_service_urls changed from none to [https://a.internal, "
                    "https://b.internal:1]"
                ),
                "certificate_authority changed",
                "headers changed: X-C",
            ],
        )

    def test_routes(self) -> None:
        """Routes that came, went or changed; one whose matcher changed is another one."""
        a, b = route(prefix="/a"), route(prefix="/b", allowed_users=["ann@example.com"])
        self.assertEqual(
            told(
                {"policy": [a, b]},
                {"policy": [{**b, "allowed_users": [], "timeout": "9s"}, {**a, "prefix": "/c"}]},
            ),
            [
                "route https://wiki.example.com (prefix /b) changed: allowed_users, timeout",
                "route https://wiki.example.com (prefix /c) added",
                "route https://wiki.example.com (prefix /a) removed",
            ],
        )
        self.assertEqual(
            told({"policy": [a, b]}, {"policy": [b, a]}), ["the order of the routes changed"]
        )
        self.assertEqual(told({"policy": [a, b]}, {"policy": [a], "routes": [b]}), [])

    def test_bounded(self) -> None:
        """Many changes are told in part, with how many more there are; and so are long ones."""
        routes = [route(prefix=f"/{'x' * 500}{number}") for number in range(200)]
        found = told({}, {"policy": routes, "log_level": "warn"})
        self.assertEqual(len(found), MOST_SENTENCES)
        self.assertEqual(found[0], "log_level changed from info to warn")
        self.assertEqual(found[-1], f"and {201 - MOST_SENTENCES + 1} more")
        self.assertLess(max(map(len, found)), 200)

    def test_nothing_but_ascii(self) -> None:
        """What an operator wrote in other letters is shown escaped: no line can be forged."""
        (sentence,) = told({}, {"idp_client_id": "p\u00f6m\u4e2d"})
        self.assertEqual(sentence, "idp_client_id changed from pomerium to p\\xf6m\\u4e2d")


class CertificateTests(SynchronousTestCase):
    """What is told of certificates: whose, and until when."""

    def of(self, *pairs: tuple[bytes, bytes]) -> Settings:
        """Return settings with these certificates."""
        return attrs.evolve(
            settings(),
            certificates=tuple(
                CertificatePair(chain=chain, key=Secret(key), place="") for chain, key in pairs
            ),
        )

    def test_added_and_removed(self) -> None:
        """One that came with its end, one that went."""
        (sentence,) = changes(self.of(), self.of(pair()))
        self.assertEqual(sentence, "certificate of CN=example.com added, good until 2027-01-01")
        self.assertEqual(
            changes(self.of(pair()), self.of()), ("certificate of CN=example.com removed",)
        )

    def test_changed(self) -> None:
        """A renewed one has its new end and the former one; another key is a change, too."""
        chain, key = pair()
        other = (chain, pem_key())
        self.assertEqual(
            changes(self.of((chain, key)), self.of(other)),
            (
                (
                    "certificate of CN=example.com changed, good until 2027-01-01; the one "
                    "before until 2027-01-01"
                ),
            ),
        )

    def test_order(self) -> None:
        """The first one counts where no name fits, so their order is told of."""
        chain, key = pair()
        one, two = (chain, key), (chain, pem_key())
        self.assertEqual(
            changes(self.of(one, two), self.of(two, one)),
            ("the order of the certificates changed",),
        )


class RestartTests(SynchronousTestCase):
    """needs_restart() names what a running daemon cannot change."""

    def test_which(self) -> None:
        """Each such key is a problem with both values and what to do; others are none."""
        before = settings()
        for name in AT_START:
            after = altered(before, **{name: 7})
            (problem,) = needs_restart(before, after)
            self.assertEqual(problem.place, name)
        self.assertEqual(
            [str(one) for one in needs_restart(settings(), settings(workers=2, log_level="warn"))],
            [
                (
                    "workers: changed from the default to 2, which needs a restart: restart "
                    "pomeriumd, or take the change back"
                )
            ],
        )
        self.assertEqual(needs_restart(before, settings(log_level="warn", policy=[route()])), ())

    def test_a_grpc_listener(self) -> None:
        """What is bound to authorize's listener needs a restart there, and not at a proxy."""
        more: dict[str, Any] = {
            "grpc_address": ":9443",
            "grpc_client_ca": pair()[0].decode(),
            "grpc_server_max_connection_age": "1m",
            "grpc_server_max_connection_age_grace": "1m",
        }
        before, after = (check(tree(authorize(**given))) for given in ({}, more))
        self.assertEqual({problem.place for problem in needs_restart(before, after)}, set(more))
        before, after = (check(tree(proxy(**given))) for given in ({}, more))
        self.assertEqual(needs_restart(before, after), ())

    def test_a_listener_that_loses_tls(self) -> None:
        """On loopback nothing but the certificates says whether gRPC has TLS."""
        with_tls = check(tree(authorize(grpc_address="127.0.0.1:5443")))
        without = attrs.evolve(with_tls, certificates=())
        for before, after in ((with_tls, without), (without, with_tls)):
            (problem,) = needs_restart(before, after)
            self.assertEqual(problem.place, "certificates")
        self.assertEqual(needs_restart(with_tls, with_tls), ())

    def test_roles(self) -> None:
        """Roles are told as a list, and need a restart."""
        shared = {"shared_secret": proxy()["shared_secret"]}
        before, after = settings(**shared), settings(services=["proxy", "authorize"], **shared)
        self.assertEqual(
            [str(one) for one in needs_restart(before, after)],
            [
                (
                    "services: changed from [proxy, authenticate, authorize] to [proxy, "
                    "authorize], which needs a restart: restart pomeriumd, or take the change back"
                )
            ],
        )
