"""Tests for pomeriumd.settings.unverified."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.check import check
from tests.support.settings_files import minimal, route, tree


class UnverifiedTests(SynchronousTestCase):
    """Whose certificates nobody looks at is said at each generation, in one line."""

    def test_one_line(self) -> None:
        """All routes with tls_skip_verify are one warning, which names ten of them."""
        routes = [
            route(prefix=f"/{number}", to="https://a.internal", tls_skip_verify=True)
            for number in range(12)
        ]
        [one] = map(str, check(tree(minimal(policy=[route(), *routes[:1]]))).warnings)
        [many] = map(str, check(tree(minimal(policy=routes))).warnings)
        self.assertEqual(
            one,
            "tls_skip_verify: certificates are not verified, so whoever stands between can be the "
            "application, at policy[1] (https://a.internal); set tls_custom_ca instead",
        )
        self.assertEqual(many.count("https://a.internal"), 10)
        self.assertIn(" and 2 more; ", many)

    def test_none(self) -> None:
        """Where everybody is verified, nothing is said."""
        self.assertEqual(check(tree(minimal(policy=[route()]))).warnings, ())
