"""Which certificate each host shows, and how the table says it."""

from __future__ import annotations

from typing import Any

import orjson
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.tls.facts import KeptIn, Severity, Trust
from pomeriumd.cli.tls.rows import Row, rows, worst
from pomeriumd.cli.tls.shown import document, table
from pomeriumd.settings.model import Address, Origin
from tests.cli.tls.test_facts import trust
from tests.support.certificates import NOW, authority, issue, leaf
from tests.support.settings import make_settings, route

FILE = KeptIn("config.yaml", 0o100600, b"")


def rows_of(*pairs: Any, trusts: list[Trust] | None = None, **more: Any) -> list[Row]:
    """Return the rows of settings with a route, and the sign-in at auth.example.com."""
    settings = make_settings(
        route(), **{"insecure_server": False, "certificates": tuple(pairs), **more}
    )
    return rows(settings, NOW, [trust()] if trusts is None else trusts, {}, FILE)


def brief(found: list[Row]) -> list[tuple[str, str, str]]:
    """Return host, place of the certificate, and the worst of each row."""
    return [(row.host, row.certificate.pair.place, row.worst.name) for row in found]


class RowTests(SynchronousTestCase):
    """The rows."""

    def test_hosts_once_each(self) -> None:
        """Those of routes and the one of authenticate."""
        self.assertEqual(
            brief(rows_of(leaf("*.example.com").pair("one"))),
            [("app.example.com", "one", "NOTE"), ("auth.example.com", "one", "NOTE")],
        )

    def test_chosen_as_in_a_handshake(self) -> None:
        """By the exact name, then by a wildcard, then the first; what is shown nowhere is last."""
        pairs = (
            leaf("other.example.com").pair("first"),
            leaf("*.example.com").pair("wild"),
            leaf("auth.example.com").pair("exact"),
        )
        self.assertEqual(
            brief(rows_of(*pairs)),
            [
                ("app.example.com", "wild", "NOTE"),
                ("auth.example.com", "exact", "NOTE"),
                ("", "first", "NOTE"),
            ],
        )

    def test_a_host_that_is_not_covered(self) -> None:
        """It is shown the first one, and that is an error."""
        found = rows_of(leaf("auth.example.com").pair("one"))
        self.assertEqual(
            brief(found), [("app.example.com", "one", "ERROR"), ("auth.example.com", "one", "NOTE")]
        )
        self.assertEqual(
            found[0].missing[0].text,
            "app.example.com is not covered: have it issued for this name, too",
        )

    def test_authorize(self) -> None:
        """Proxies come by the names of authorize_service_urls, or by one that we do not know."""
        given: dict[str, Any] = {
            "services": ("authorize",),
            "grpc_address": Address("", 443),
            "insecure_server": True,
        }
        one = leaf("authorize.internal").pair("one")
        urls = tuple(Origin("https", f"{name}.internal", 443) for name in ("authorize", "other"))
        found = rows_of(one, **given, authorize_service_urls=urls)
        self.assertEqual(
            brief(found),
            [("authorize.internal", "one", "NOTE"), ("other.internal", "one", "ERROR")],
        )
        self.assertEqual(brief(rows_of(one, **given)), [("(gRPC)", "one", "NOTE")])

    def test_roles(self) -> None:
        """A proxy shows nothing for authenticate, authenticate nothing for routes."""
        one = leaf("*.example.com").pair("one")
        for role, host in (("proxy", "app"), ("authenticate", "auth")):
            found = rows_of(one, services=(role,))
            self.assertEqual([row.host for row in found], [f"{host}.example.com"])

    def test_without_tls(self) -> None:
        """Behind a balancer that ends TLS there is nothing to show."""
        self.assertEqual(rows_of(insecure_server=True), [])

    def test_one_of_our_own(self) -> None:
        """Browsers do not trust it, which may be right: a note. Proxies are told nothing."""
        own = issue(authority=True, title="own")
        one = issue("*.example.com", by=own).pair("one")
        found = rows_of(one, trusts=[trust(own, label="whoever has own.crt", is_system=False)])
        self.assertEqual(
            [(row.worst.name, len(row.missing)) for row in found], [("NOTE", 1), ("NOTE", 1)]
        )

    def test_the_worst(self) -> None:
        """It is that of the worst row; of none it is a note."""
        self.assertEqual(worst([]), Severity.NOTE)
        self.assertEqual(worst(rows_of(leaf("x.test").pair("one"))), Severity.ERROR)


class TableTests(SynchronousTestCase):
    """What is printed."""

    def test_a_good_one(self) -> None:
        """Columns under their headings, and one line that nothing is missing."""
        self.assertEqual(
            table(rows_of(leaf("*.example.com").pair("certificates[0]"))).splitlines(),
            [
                "host              certificate      issuer          days  trusted by",
                "app.example.com   certificates[0]  test authority  7001  system roots",
                "auth.example.com  certificates[0]  test authority  7001  system roots",
                "",
                "Nothing is missing",
            ],
        )

    def test_what_is_missing_stands_below(self) -> None:
        """Each with how bad it is; the last line counts."""
        text = table(rows_of(leaf("auth.example.com").pair("one"), trusts=[]))
        self.assertIn("  \x1b[31merror\x1b[0m: app.example.com is not covered", text)
        self.assertIn("nobody known here", text)
        self.assertEqual(text.splitlines()[-1], "1 error, 2 warnings")

    def test_nothing_that_a_terminal_obeys(self) -> None:
        """What stands in a certificate is made printable, and cut."""
        own = issue(authority=True, title="a\x1b[2J\n" + "b" * 50)
        text = table(rows_of(issue("*.example.com", by=own).pair("one"), trusts=[]))
        self.assertNotIn("\x1b[2J", text)
        self.assertIn("...", text)

    def test_json(self) -> None:
        """The same for a program, and no key in it."""
        made = leaf("*.example.com")
        found = document(rows_of(made.pair("one")))
        self.assertEqual(found["worst"], "note")
        self.assertEqual(
            found["rows"][0],
            {
                "host": "app.example.com",
                "for": "browsers",
                "certificate": {"place": "one", "file": "", "subject": "*.example.com"},
                "issuer": authority().certificate.subject.rfc4514_string().removeprefix("CN="),
                "good_until": "2046-01-01T00:00:00+00:00",
                "days_left": 7001,
                "trusted_by": ["system roots"],
                "missing": [],
            },
        )
        self.assertNotIn(made.key_pem.splitlines()[1], orjson.dumps(found))
