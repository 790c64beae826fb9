"""Tests for pomeriumd.http.negotiate: which kind of answer a request wants."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.events import Request
from pomeriumd.http.negotiate import first, is_navigation, wants_json

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


def asked(method: bytes = b"GET", upgrade: bytes | None = None, **fields: str) -> Request:
    """Return a request with these fields; an underscore in a name stands for a hyphen."""
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in fields.items()]
    return Request(method, b"a", None, b"/", None, pairs, 0, upgrade)


class NavigationTests(SynchronousTestCase):
    """is_navigation() tells a person's click from a script's call."""

    def test_a_person(self) -> None:
        """What the browser says counts first, then what is accepted."""
        requests = [
            asked(sec_fetch_mode="navigate", sec_fetch_dest="document"),
            asked(sec_fetch_mode="navigate", sec_fetch_dest="iframe"),
            asked(sec_fetch_mode="navigate"),
            asked(sec_fetch_mode="navigate", accept="*/*", x_requested_with="app.example"),
            asked(b"HEAD", accept=HTML),
            asked(accept=HTML),
            asked(accept="TEXT/HTML"),
        ]
        self.assertEqual([is_navigation(request) for request in requests], [True] * 7)

    def test_not_a_person(self) -> None:
        """Scripts, images, forms, sockets and curl."""
        requests = [
            asked(),
            asked(accept="*/*"),
            asked(accept="application/json"),
            asked(accept="text/html;q=0, */*"),
            asked(accept=HTML, x_requested_with="XMLHttpRequest"),
            asked(accept=HTML, sec_fetch_mode="cors", sec_fetch_dest="empty"),
            asked(accept=HTML, sec_fetch_mode="no-cors", sec_fetch_dest="image"),
            asked(accept=HTML, sec_fetch_mode="navigate", sec_fetch_dest="object"),
            asked(accept=HTML, sec_fetch_dest="empty"),
            asked(b"POST", sec_fetch_mode="navigate", sec_fetch_dest="document"),
            asked(accept=HTML, upgrade=b"websocket"),
        ]
        self.assertEqual([is_navigation(request) for request in requests], [False] * 11)


class JSONTests(SynchronousTestCase):
    """wants_json() ranks what Accept names."""

    def test_json(self) -> None:
        """Named higher than HTML, or a script that names nothing."""
        requests = [
            asked(accept="application/json"),
            asked(accept="application/json, text/plain, */*"),
            asked(accept="text/html;q=0.5, Application/JSON;q=0.9"),
            asked(accept="*/*", sec_fetch_mode="cors"),
            asked(accept="*/*", x_requested_with="XMLHttpRequest"),
        ]
        self.assertEqual([wants_json(request) for request in requests], [True] * 5)

    def test_html(self) -> None:
        """Everybody else, and who wants both as much."""
        requests = [
            asked(),
            asked(accept="*/*"),
            asked(accept=HTML),
            asked(accept="text/html, application/json"),
            asked(accept="application/json;q=0.2, text/html;q=0.3"),
            asked(accept="application/json;q=0"),
            asked(accept="*/*", sec_fetch_mode="navigate"),
        ]
        self.assertEqual([wants_json(request) for request in requests], [False] * 7)


class FirstTests(SynchronousTestCase):
    """first() looks a field up."""

    def test_first(self) -> None:
        """The first of two, or None."""
        fields = [(b"a", b"1"), (b"a", b"2")]
        self.assertEqual([first(fields, b"a"), first(fields, b"b")], [b"1", None])
