"""Tests for pomeriumd.http.notes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.notes import MOST, Notes


class NotesTests(SynchronousTestCase):
    """What was worked out of one block of fields."""

    def test_kept(self) -> None:
        """Each finds what it kept itself, and nobody else's."""
        notes, keys = Notes(), [object() for _ in range(MOST)]
        self.assertEqual([notes.keep(key, number) for number, key in enumerate(keys)], [0, 1, 2, 3])
        self.assertEqual([notes.get(key) for key in (*keys, object())], [0, 1, 2, 3, None])

    def test_bounded(self) -> None:
        """A host with any number of routes does not make a block any larger."""
        notes = Notes()
        for _ in range(100):
            key = object()
            notes.keep(key, "lines")
            self.assertEqual(notes[key], "lines")
            self.assertLessEqual(len(notes), MOST)

    def test_no_credential_in_its_text(self) -> None:
        """Cookies and tokens are kept here, and shown nowhere (A4)."""
        notes = Notes()
        notes.keep(self, b"cookie: secret")
        self.assertEqual(repr(notes), "Notes(1)")
