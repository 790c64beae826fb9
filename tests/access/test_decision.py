"""The words that a decision gives, in plain sentences."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access import decision
from pomeriumd.access.decision import PLAIN, explain


class ExplainTests(SynchronousTestCase):
    """explain() turns words into sentences."""

    def test_in_order(self) -> None:
        """There is one sentence for each word, in their order."""
        self.assertEqual(
            explain(("domain-unauthorized", "email-unverified")),
            [
                "The domain of your e-mail address is not on the list for this page.",
                PLAIN["email-unverified"],
            ],
        )

    def test_every_word_has_a_sentence(self) -> None:
        """Each word that a decision of ours can carry is explained, by a whole sentence."""
        words = {
            text for name, text in vars(decision).items() if name.isupper() and name != "PLAIN"
        }
        self.assertEqual(words, set(PLAIN))
        for sentence in PLAIN.values():
            self.assertRegex(sentence, r"\A[A-Z].*\.\Z")

    def test_a_word_of_somebody_else(self) -> None:
        """A word that we do not know is shown, not hidden and not an error."""
        self.assertEqual(explain(["mcp-no\nmatch"]), ["The policy answered 'mcp-no\\nmatch'."])

    def test_nothing(self) -> None:
        """No words, no sentences."""
        self.assertEqual(explain(()), [])

    def test_every_word_is_in_the_manual(self) -> None:
        """An operator who reads a word in the log finds it in docs/policy.md."""
        manual = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
        self.assertEqual([word for word in PLAIN if f"`{word}`" not in manual], [])
