"""Tests for the words and sentences of a sign-in that fails."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pomeriumd.oidc
from pomeriumd.oidc.refusals import EXPLANATIONS, refusal


class RefusalTests(SynchronousTestCase):
    """Each check has its word, and each word its sentences."""

    def test_sentences_end_and_words_are_plain(self) -> None:
        """A word can stand in a URL, a log and a manual; the sentences on a page."""
        for check, explain in EXPLANATIONS.items():
            self.assertRegex(check, r"\A[a-z]+(-[a-z]+)*\Z")
            self.assertRegex(explain, r"\A[A-Z].*\.\Z")
            failed = refusal(check, "id token: x")
            self.assertEqual((failed.check, failed.explain), (check, explain))
            self.assertEqual(str(failed), "id token: x")

    def test_every_word_is_used(self) -> None:
        """The table lists what can happen, and nothing else."""
        (place,) = pomeriumd.oidc.__path__
        texts = [
            path.read_text() for path in Path(place).glob("*.py") if path.name != "refusals.py"
        ]
        used = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', "\n".join(texts)))
        self.assertEqual(EXPLANATIONS.keys() - used, set())
