"""Tests of pomeriumd.settings.values."""

from __future__ import annotations

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.values import Address, CertificatePair, Origin, Secret, UpstreamURL


class SecretTests(SynchronousTestCase):
    """A secret is known to those who reveal it, and to nobody else."""

    def test_reveals(self) -> None:
        """reveal() gives the octets back."""
        self.assertEqual(Secret(b"hunter2").reveal(), b"hunter2")

    def test_never_shown(self) -> None:
        """No way to make text of a secret shows it."""
        secret = Secret(b"hunter2")
        pair = CertificatePair(chain=b"chain", key=secret, place="certificate")
        for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{[secret]}"):
            self.assertNotIn("hunter2", text)
        self.assertNotIn("hunter2", repr(pair))

    @hypothesis.settings(deadline=None)
    @given(st.binary(max_size=8), st.binary(max_size=8))
    def test_equal_as_octets_are(self, one: bytes, other: bytes) -> None:
        """Secrets are equal, and hash equal, exactly when their octets are."""
        self.assertEqual(Secret(one) == Secret(other), one == other)
        self.assertEqual(hash(Secret(one)), hash(Secret(bytes(one))))
        self.assertEqual(bool(Secret(one)), bool(one))

    def test_is_not_its_octets(self) -> None:
        """A secret is not equal to plain octets."""
        self.assertNotEqual(Secret(b"a"), b"a")


class AddressTests(SynchronousTestCase):
    """Addresses, origins and upstreams are written as an operator would."""

    def test_texts(self) -> None:
        """IPv6 stands in brackets, default ports are left out."""
        texts = [
            Address("", 443).text,
            Address("::1", 8443).text,
            Origin("https", "a.example", 443).text,
            Origin("https", "a.example", 8443).text,
            Origin("http", "[::1]", 80).text,
            UpstreamURL("http", "::1", 8080, "/x").text,
            UpstreamURL("https", "b.example", 443).text,
        ]
        self.assertEqual(
            texts,
            [
                ":443",
                "[::1]:8443",
                "https://a.example",
                "https://a.example:8443",
                "http://[::1]",
                "http://[::1]:8080/x",
                "https://b.example",
            ],
        )

    def test_audience_names_the_port(self) -> None:
        """An audience always has a port."""
        self.assertEqual(Origin("https", "a.example", 443).audience, "a.example:443")

    def test_authority(self) -> None:
        """What the Host field says leaves the usual port out."""
        self.assertEqual(UpstreamURL("https", "::1", 443).authority, "[::1]")
        self.assertEqual(UpstreamURL("https", "a", 444).authority, "a:444")
