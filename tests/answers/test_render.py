"""pomeriumd.answers.render: what an error becomes for a reader."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd import errors
from pomeriumd.answers.render import EXPLANATION_LIMIT, REASONS, WORDING, render
from pomeriumd.errors import (
    Denied,
    LoginFailed,
    PomeriumError,
    SettingsError,
    UpstreamUnreachable,
)

SECRET = "10.1.2.3:8080 refused"


def classes(root: type[PomeriumError] = PomeriumError) -> Iterator[type[PomeriumError]]:
    """Give every error class of ``errors.py``, the root first."""
    if root.__module__ == errors.__name__:
        yield root
    for kind in root.__subclasses__():
        yield from classes(kind)


def one(kind: type[PomeriumError]) -> PomeriumError:
    """Make an error of a class; its text is nothing for a reader."""
    if issubclass(kind, Denied):
        return kind(SECRET, ["You are not on the list."])
    if issubclass(kind, LoginFailed):
        return kind(SECRET, "state-cookie", "The cookie did not come back.")
    if issubclass(kind, SettingsError):
        return kind([errors.Problem("policy[3].to", SECRET)])
    return kind(SECRET)


class RenderTests(SynchronousTestCase):
    """render() takes status and sentence from the class, and nothing from the text."""

    def test_every_class(self) -> None:
        """Each class gives its own status and its own sentence."""
        for kind in classes():
            shown = render(one(kind))
            self.assertEqual(shown.status, kind.status)
            self.assertEqual(shown.public, kind.public or PomeriumError.public)

    def test_every_class_has_its_words(self) -> None:
        """No class of errors.py is left to its parent's title, but for settings' problems."""
        self.assertEqual(set(classes()) - set(WORDING), {SettingsError})

    def test_titles_differ(self) -> None:
        """A title tells which error it is: unreachable, broken, busy and late are four."""
        titles = [wording.title for wording in WORDING.values()]
        self.assertEqual(len(set(titles)), len(titles))

    def test_text_stays_inside(self) -> None:
        """The error's own text, which may name an upstream, is nowhere in what is shown."""
        for kind in classes():
            self.assertNotIn(SECRET, repr(render(one(kind))))

    def test_a_subclass_speaks_as_its_parent(self) -> None:
        """A class from elsewhere has the words of its nearest parent here."""

        class Closer(UpstreamUnreachable):
            public = "It is closed."

        shown = render(Closer(SECRET))
        self.assertEqual((shown.status, shown.title), (502, "Application not reachable"))
        self.assertEqual(shown.public, "It is closed.")

    def test_not_ours(self) -> None:
        """Any other exception is a 500 that says no more than that."""
        for error in (RuntimeError(SECRET), KeyError(SECRET), MemoryError(), OSError(2, SECRET)):
            shown = render(error)
            self.assertEqual(shown, render(PomeriumError()))
            self.assertEqual(shown.status, 500)

    def test_when_to_come_back(self) -> None:
        """Every 503, and nothing else, says when to come back."""
        for kind in classes():
            shown = render(one(kind))
            self.assertEqual(shown.retry_after is not None, shown.status == 503)

    def test_reasons_are_bounded(self) -> None:
        """A policy's flood of reasons does not flood the page."""
        shown = render(Denied("x", ["y" * 10_000] * 1_000))
        self.assertEqual(len(shown.reasons), REASONS)
        self.assertEqual({len(reason) for reason in shown.reasons}, {300})

    def test_explanation_is_bounded(self) -> None:
        """An explanation that quotes a provider at length is cut."""
        shown = render(LoginFailed("x", "y" * 10_000, "z" * 10_000))
        self.assertEqual(len(shown.explain or ""), EXPLANATION_LIMIT)
        self.assertEqual(len(shown.check or ""), 300)
