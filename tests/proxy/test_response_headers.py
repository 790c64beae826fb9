"""Promises of the header fields of all answers: each host has its own, for routes and pages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.proxy.response_headers import ResponseHeaders

USUAL = (("X-Frame-Options", "DENY"), ("Strict-Transport-Security", "max-age=1"))
FIELDS = ((b"x-frame-options", b"DENY"), (b"strict-transport-security", b"max-age=1"))


class ResponseHeadersTests(SynchronousTestCase):
    """ResponseHeaders says the same of a host as text and as octets."""

    def test_by_default_every_host_sends_all(self) -> None:
        """Whatever the host, nothing is left out and nothing of applications is dropped."""
        headers = ResponseHeaders(USUAL)
        self.assertEqual(headers.pairs("any.test"), USUAL)
        self.assertEqual(headers.fields(b"any.test"), FIELDS)
        self.assertEqual(headers.drops("any.test"), frozenset())

    def test_only_hosts_that_insist_send_all(self) -> None:
        """The others send the rest, and their applications may not say it either."""
        headers = ResponseHeaders(USUAL, frozenset({"good.test"}))
        self.assertEqual(headers.fields(b"good.test"), FIELDS)
        self.assertEqual(headers.pairs("good.test"), USUAL)
        self.assertEqual(headers.pairs("other.test"), USUAL[:1])
        self.assertEqual(headers.fields(b"other.test"), FIELDS[:1])
        self.assertEqual(headers.drops("other.test"), {b"strict-transport-security"})

    def test_a_host_that_is_no_text_is_no_host_of_ours(self) -> None:
        """What could not be read may get an answer, too."""
        headers = ResponseHeaders(USUAL, frozenset({"good.test"}))
        self.assertEqual(headers.fields(b"\xff"), FIELDS[:1])
