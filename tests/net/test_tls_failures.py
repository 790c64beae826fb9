"""Promises of what a failed handshake says to whoever wrote the route."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.tls_faults import CertificateRefused, Fault, Found
from pomeriumd.net.peer import TLSPolicy
from pomeriumd.net.tls_failures import late, refused

BARE = TLSPolicy(server_name="up.test")
FULL = TLSPolicy(server_name="up.test", custom_ca=b"x", client_cert=b"x", client_key=b"x")


class RefusedTests(SynchronousTestCase):
    """refused() names the fault and the key."""

    def test_every_fault_has_a_remedy(self) -> None:
        """Whatever it is and whatever the route says, there is something to do, in one sentence."""
        for fault in Fault:
            for tls in (BARE, FULL):
                error = refused(
                    CertificateRefused(Found(fault, "seen")), tls, shaken=False, asked=False
                )
                assert error is not None
                self.assertEqual(str(error), f"TLS with the upstream failed ({fault.value}): seen")
                self.assertEqual(error.tls, fault.value)
                self.assertTrue(error.remedy)
                self.assertNotIn("{", error.remedy)

    def test_the_remedy_knows_the_route(self) -> None:
        """A route that has its own authorities is told to add to them, not to set them."""
        for fault in (Fault.UNTRUSTED, Fault.SELF_SIGNED):
            seen = CertificateRefused(Found(fault, "seen"))
            for tls, begin in ((BARE, "set tls_custom_ca to"), (FULL, "add to tls_custom_ca")):
                error = refused(seen, tls, shaken=False, asked=False)
                assert error is not None
                self.assertTrue(error.remedy.startswith(begin), error.remedy)

    def test_what_we_show_counts(self) -> None:
        """The same alert says another thing to a route with a certificate of its own."""
        alert = SSL.Error([("SSL routines", "", "tlsv1 alert unknown ca")])
        words = []
        for tls in (BARE, FULL):
            error = refused(alert, tls, shaken=True, asked=True)
            assert error is not None
            words.append(error.tls)
        self.assertEqual(words, ["client-certificate-wanted", "client-certificate-refused"])

    def test_a_connection_that_just_ends(self) -> None:
        """In the handshake it is one that TLS ended; after it, TLS is not to blame."""
        for end in (ConnectionDone(), ConnectionLost()):
            error = refused(end, BARE, shaken=False, asked=False)
            assert error is not None
            self.assertEqual(error.tls, "closed")
            self.assertIsNone(refused(end, BARE, shaken=True, asked=False))

    def test_late_is_a_timeout(self) -> None:
        """It is answered 504, and counted with the others."""
        self.assertEqual((late(BARE).status, late(BARE).tls), (504, "timeout"))
