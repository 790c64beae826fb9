"""pomeriumd.answers.policy: the policy of a page can be widened by origins alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.answers.policy import content_security_policy

PLAIN_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)


class PolicyTests(SynchronousTestCase):
    """content_security_policy() can be widened by origins, and by nothing else."""

    def test_origins(self) -> None:
        """Origins are added once each, without their paths."""
        self.assertEqual(
            content_security_policy(["https://a.example/x?y", "https://a.example", "/own"]),
            PLAIN_POLICY.replace(b"'self'; base", b"'self' https://a.example; base"),
        )

    @given(st.lists(st.text() | st.text(alphabet="htps:/.a;,'* \n")))
    def test_nothing_else(self, targets: list[str]) -> None:
        """No text can add a directive, a wildcard or a keyword."""
        policy = content_security_policy(targets).decode()
        directives = [part.split()[0] for part in policy.split("; ")]
        self.assertEqual(
            directives,
            ["default-src", "style-src", "img-src", "form-action", "base-uri", "frame-ancestors"],
        )
        self.assertEqual(policy.count("'self'"), 3)
        self.assertNotIn("*", policy)
