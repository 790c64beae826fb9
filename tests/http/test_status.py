"""Tests for pomeriumd.http.status."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.status import STATUS_LINES


class StatusTests(SynchronousTestCase):
    """STATUS_LINES has every status that an answer can have."""

    def test_lines(self) -> None:
        """Standard phrases; none, but the space before it, for a status without one."""
        self.assertEqual(
            [STATUS_LINES[code] for code in (200, 421, 499, 505, 599)],
            [
                b"HTTP/1.1 200 OK",
                b"HTTP/1.1 421 Misdirected Request",
                b"HTTP/1.1 499 Client Closed Request",
                b"HTTP/1.1 505 HTTP Version Not Supported",
                b"HTTP/1.1 599 ",
            ],
        )
        self.assertEqual(set(STATUS_LINES), set(range(100, 1000)))
