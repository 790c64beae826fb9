"""docs/security.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.tokens import LEEWAY
from pomeriumd.rpc import tokens

TEXT = (Path(__file__).parent.parent.parent / "docs" / "security.md").read_text()
FLOWING = " ".join(TEXT.split())


class SecurityTests(SynchronousTestCase):
    """What the manual names is what there is."""

    def test_every_refusal_is_explained(self) -> None:
        """Each word that a refusal can have has a row."""
        for word in (tokens.MISSING, tokens.ANOTHER_KIND, tokens.SECRET, tokens.CLOCK):
            self.assertIn(f"\n| `{word}` | ", TEXT)

    def test_the_fields(self) -> None:
        """The trailers are named as they are."""
        for field in (tokens.REFUSED_FIELD, tokens.TIME_FIELD):
            self.assertIn(f"`{field}`", TEXT)

    def test_the_times(self) -> None:
        """So are the life of a token, and for how long one that was read is good."""
        self.assertIn(f"a token that lives for {tokens.LIFE} seconds", FLOWING)
        self.assertEqual(tokens.LIFE + LEEWAY, 90)
        self.assertIn("is good for a minute and a half at the most", FLOWING)
