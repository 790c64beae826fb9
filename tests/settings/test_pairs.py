"""Tests of pomeriumd.settings.pairs: the certificate that proxies are shown."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.model import CertificatePair, Origin, Secret, Settings
from pomeriumd.settings.pairs import covers, grpc_pair
from tests.support.settings_files import pair, settings


def certificate(*names: str) -> CertificatePair:
    """Return a certificate for these names."""
    chain, key = pair(*names)
    return CertificatePair(chain=chain, key=Secret(key), place=", ".join(names))


BROWSERS = certificate("*.example.com")
INTERNAL = certificate("authorize.internal", "10.0.0.1", "fd00::1")


def of(url: str = "", **more: Any) -> Settings:
    """Return settings with two certificates and where proxies ask."""
    given: dict[str, Any] = {"certificates": (BROWSERS, INTERNAL), "insecure_server": False}
    if url:
        given["authorize_service_urls"] = (Origin("https", url, 443),)
    return attrs.evolve(settings(), **(given | more))


class PairTests(SynchronousTestCase):
    """grpc_pair() and covers()."""

    def test_the_one_that_covers(self) -> None:
        """The first that covers the name that proxies use; else the first of all."""
        for host, wanted in (
            ("authorize.internal", INTERNAL),
            ("10.0.0.1", INTERNAL),
            ("[fd00::1]", INTERNAL),
            ("authorize.example.com", BROWSERS),
            ("elsewhere.internal", BROWSERS),
            ("", BROWSERS),
        ):
            self.assertIs(grpc_pair(of(host)), wanted, host)

    def test_without_tls(self) -> None:
        """There is none where gRPC has no TLS."""
        self.assertIsNone(grpc_pair(of("authorize.internal", grpc_insecure=True)))
        self.assertIsNone(grpc_pair(of("authorize.internal", certificates=())))

    def test_wildcards(self) -> None:
        """A wildcard is one whole label; the common name of a subject is no name."""
        for host, wanted in (
            ("a.example.com", True),
            ("a.b.example.com", False),
            ("example.com", False),
            ("xexample.com", False),
        ):
            self.assertEqual(covers(BROWSERS, host), wanted, host)
        self.assertFalse(covers(certificate(), "example.com"))

    @given(st.sampled_from(["a", "b-1", "xn--bcher-kva"]), st.sampled_from(["c.example", "d"]))
    def test_what_is_named_is_covered(self, label: str, domain: str) -> None:
        """A certificate for a name covers it, and so does one for its siblings."""
        host = f"{label}.{domain}"
        self.assertTrue(covers(certificate(host), host))
        self.assertTrue(covers(certificate(f"*.{domain}"), host))
        self.assertFalse(covers(certificate(f"{label}.e{domain}"), host))
