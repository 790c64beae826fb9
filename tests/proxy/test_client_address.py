"""Who the client is, when there are proxies in front and when there are none."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.events import Field
from pomeriumd.proxy.client_address import Came, TrustedProxies

BALANCER = TrustedProxies((ip_network("192.0.2.0/28"),))


def forwarded(*values: bytes) -> list[Field]:
    """Return X-Forwarded-For fields with these values."""
    return [(b"x-forwarded-for", value) for value in values]


class CameTests(SynchronousTestCase):
    """came() believes the socket, and listed hops counted from the right."""

    def test_nobody_is_believed_by_default(self) -> None:
        """Without a list, a stranger's fields change nothing."""
        came = TrustedProxies().came(
            "203.0.113.9",
            [*forwarded(b"10.0.0.1"), (b"x-forwarded-proto", b"https")],
            secure=False,
        )
        self.assertEqual(came, Came("203.0.113.9", "203.0.113.9", https=False))

    def test_a_stranger_is_not_believed(self) -> None:
        """A peer that is not listed is the client, whatever it writes."""
        came = BALANCER.came("203.0.113.9", forwarded(b"10.0.0.1"), secure=True)
        self.assertEqual(came.client, "203.0.113.9")

    def test_a_listed_hop_is_believed(self) -> None:
        """The address that the listed balancer saw is the client's."""
        came = BALANCER.came("192.0.2.1", forwarded(b"203.0.113.9"), secure=True)
        self.assertEqual(came, Came("203.0.113.9", "203.0.113.9, 192.0.2.1", https=True))

    def test_what_the_client_wrote_itself_is_left_out(self) -> None:
        """Left of the first address that no listed hop vouches for nothing counts."""
        came = BALANCER.came("192.0.2.1", forwarded(b"127.0.0.1, 203.0.113.9"), secure=True)
        self.assertEqual(came.client, "203.0.113.9")
        self.assertEqual(came.chain, "203.0.113.9, 192.0.2.1")

    def test_several_fields_are_one_list(self) -> None:
        """Two fields mean the same as one with a comma."""
        one = BALANCER.came("192.0.2.1", forwarded(b"203.0.113.9, 192.0.2.2"), secure=True)
        two = BALANCER.came("192.0.2.1", forwarded(b"203.0.113.9", b"192.0.2.2"), secure=True)
        self.assertEqual(one, two)

    def test_garbage_is_no_address(self) -> None:
        """What cannot be read ends the chain: it never makes an exception or a client."""
        for garbage in (
            b"",
            b"garbage",
            b"10.0.0.1:80",
            b"\xff",
            b"unknown",
            b"<script>",
            b"1" * 999,
            b"fe80::1%eth0",
            b"fe80::1%<b>",
            b"fe80::1%\xc3\xa9",
        ):
            came = BALANCER.came("192.0.2.1", forwarded(garbage), secure=True)
            self.assertEqual(came, Came("192.0.2.1", "192.0.2.1", https=True), garbage)

    def test_a_mapped_address_is_its_ipv4_address(self) -> None:
        """::ffff:192.0.2.1 is the listed 192.0.2.1, on a dual-stack socket."""
        self.assertTrue(BALANCER.trusts("::ffff:192.0.2.1"))
        self.assertFalse(BALANCER.trusts("::ffff:203.0.113.9"))

    def test_the_scheme_of_a_listed_hop_counts(self) -> None:
        """A balancer that ended TLS says so, once; twice is not believed."""
        https = (b"x-forwarded-proto", b"https")
        one = BALANCER.came("192.0.2.1", [https], secure=False)
        two = BALANCER.came("192.0.2.1", [https, (b"x-forwarded-proto", b"http")], secure=False)
        self.assertEqual((one.https, two.https), (True, False))
