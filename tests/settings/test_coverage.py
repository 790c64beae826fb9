"""Promises of pomeriumd.settings.coverage: a host without a certificate is named."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.certificates import Beside
from pomeriumd.settings.check import check
from tests.support.certificates import NOW, leaf
from tests.support.settings_files import authorize, minimal, route, tree


def shown(*names: str) -> dict[str, Any]:
    """Return a certificate for these names, as settings have it."""
    one = leaf(*names)
    return {
        "insecure_server": None,
        "certificate": one.pem.decode(),
        "certificate_key": one.key_pem.decode(),
    }


def said(given: dict[str, Any]) -> list[str]:
    """Return what is said at a start, without lines; and see a reload warn of just that."""
    try:
        check(tree(given), Beside(now=NOW))
    except SettingsError as error:
        found = [f"{one.place.partition(' ')[0]}: {one.text}" for one in error.problems]
    else:
        found = []
    warned = check(tree(given), Beside(now=NOW, present=())).warnings
    # Where something is said of an address that was moved, that comes first.
    texts = [f"{one.place.partition(' ')[0]}: {one.text}" for one in warned]
    assert [text for text in texts if "certificate covers" in text] == found, texts
    return found


AUTH = "authenticate.example.com"


class CoverageTests(SynchronousTestCase):
    """Each host that is served with TLS here has to be covered."""

    def routes(self, *hosts: str, names: tuple[str, ...] = (AUTH,), **more: Any) -> list[str]:
        """Return what is said of routes with these hosts."""
        policy = [
            route(**{"from": f"https://{host}", "prefix": f"/{number}/"})
            for number, host in enumerate(hosts)
        ]
        return said(minimal(policy=policy, **{**shown(*names), **more}))

    def test_a_route(self) -> None:
        """The host's own name or a wildcard is wanted, once for each host."""
        missing = (
            "no certificate covers b.example.org; add one that has this name, or *.example.org"
        )
        self.assertEqual(
            self.routes("b.example.org", "b.example.org"), [f"policy[0].from: {missing}"]
        )
        self.assertEqual(self.routes("b.example.org", names=(AUTH, "B.Example.ORG.")), [])
        self.assertEqual(self.routes("b.example.org", names=(AUTH, "*.example.org")), [])
        self.assertEqual(len(self.routes("a.b.example.org", names=(AUTH, "*.example.org"))), 1)
        self.assertEqual(len(self.routes("example.org", names=(AUTH, "*.example.org"))), 1)

    def test_a_name_that_is_not_ascii(self) -> None:
        """Certificates have it in A-labels, and so is it said."""
        (text,) = self.routes("b\u00fccher.example.org")
        self.assertIn("covers xn--bcher-kva.example.org;", text)
        self.assertEqual(
            self.routes("b\u00fccher.example.org", names=(AUTH, "xn--bcher-kva.example.org")), []
        )

    def test_an_address(self) -> None:
        """It has to be in the first certificate, since nobody asks for it by name."""
        self.assertEqual(
            self.routes("10.1.2.3", "[::1]", names=(AUTH, "10.1.2.4")),
            [
                f"policy[{number}].from: no certificate covers {host}, which has to be in the "
                "first one: who calls an address asks for no name; add it there, or use a name"
                for number, host in enumerate(("10.1.2.3", "[::1]"))
            ],
        )
        self.assertEqual(self.routes("10.1.2.3", "[::1]", names=(AUTH, "10.1.2.3", "::1")), [])

    def test_the_sign_in(self) -> None:
        """The host of authenticate, too."""
        self.assertEqual(
            self.routes(names=("a.test",)),
            [
                (
                    f"authenticate_service_url: no certificate covers {AUTH}; add one that has "
                    "this name, or *.example.com"
                )
            ],
        )

    def test_what_proxies_look_for(self) -> None:
        """Authorize by itself needs the name of its URL, or the one that stands for it."""
        url = {"authorize_service_url": "https://authorize.internal:5443"}
        found = said(authorize(**{**shown("other.internal.test"), **url}))
        self.assertEqual(
            found,
            [
                (
                    "authorize_service_url: no certificate covers authorize.internal; add one that "
                    "has this name, or *.internal"
                )
            ],
        )
        self.assertEqual(said(authorize(**{**shown("authorize.internal"), **url})), [])
        self.assertEqual(said(authorize(**shown("whatever.test"))), [])

    def test_where_tls_ends_in_front(self) -> None:
        """A balancer shows its own certificate, and what it wants of ours is its affair."""
        host = "b.example.org"
        self.assertEqual(self.routes(host, trusted_proxies=["10.0.0.1"]), [])
        passed: dict[str, Any] = {"trusted_proxies": ["10.0.0.1"], "use_proxy_protocol": True}
        self.assertEqual(len(self.routes(host, **passed)), 1)
        self.assertEqual(said(minimal(policy=[route(**{"from": f"https://{host}"})])), [])

    def test_not_asked(self) -> None:
        """Who reads settings for another purpose is told of no host."""
        check(tree(minimal(policy=[route()], **shown("a.test"))))
