"""Promises of OCSP answers: what is asked, and which answer may be shown."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.ocsp import (
    LARGEST,
    SKEW,
    UNTIL_NEWER,
    Revoked,
    Staple,
    must_staple,
    read,
    responder,
    subject_of,
    until,
)
from tests.support.certificates import BEGIN, NOW, authority, days, issue
from tests.support.stapled import WEEK, Says, stapled

HOST = "app.example.test"
REVOKED, UNKNOWN = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


def refused(url: str) -> str:
    """Return what is said of a certificate with this URL."""
    chain = [stapled(HOST, url=url).certificate, authority().certificate]
    try:
        subject_of(chain)
    except ValueError as error:
        return str(error)
    return ""


class SubjectTests(SynchronousTestCase):
    """subject_of() says what is to be asked, and why not."""

    def test_a_certificate_without_responder_is_not_asked_about(self) -> None:
        """Who names no responder has nothing to be stapled."""
        chain = [issue(HOST, by=authority()).certificate, authority().certificate]
        self.assertEqual((subject_of(chain), responder(chain[0])), (None, None))

    def test_the_question_is_about_this_certificate_and_its_issuer(self) -> None:
        """The question has the serial number, and the issuer that is in the chain."""
        one = stapled(HOST)
        stranger = issue(authority=True, title="stranger")
        subject = subject_of([one.certificate, stranger.certificate, authority().certificate])
        assert subject is not None
        asked = ocsp.load_der_ocsp_request(subject.request)
        self.assertEqual(asked.serial_number, one.certificate.serial_number)
        self.assertEqual(
            asked.issuer_key_hash,
            x509.SubjectKeyIdentifier.from_public_key(authority().key.public_key()).digest,
        )
        self.assertEqual(subject.url, "http://ocsp.example.test/")

    def test_without_its_issuer_the_chain_is_told_to_be_completed(self) -> None:
        """A chain that lacks the issuer is refused with what to do."""
        with self.assertRaises(ValueError) as caught:
            subject_of([stapled(HOST).certificate])
        self.assertEqual(
            str(caught.exception),
            "names an OCSP responder, but its issuer's certificate does not follow it; put the "
            "whole chain into the file",
        )

    def test_only_plain_http_is_asked(self) -> None:
        """No other scheme, no user, no missing host: the text shows what stands there."""
        for url in (
            "https://ocsp.example.test/",
            "ldap://ocsp.example.test/",
            "file:///etc/passwd",
            "http:///nobody",
            "http://user:pw@ocsp.example.test/",
            "http://ocsp.example.test:99999/",
            "http://[::1/",
        ):
            self.assertEqual(
                refused(url), f"names the OCSP responder {url!r}, want http://HOST/..."
            )

    def test_a_line_break_never_reaches_a_request(self) -> None:
        """A URL with a control character or a space is refused."""
        self.assertIn("want http://HOST", refused("http://a.test/\r\nx: y"))
        self.assertIn("want http://HOST", refused("http://a.test/ HTTP/1.1"))

    def test_must_staple_is_read_from_the_certificate(self) -> None:
        """RFC 7633's feature is seen, and not where it is not."""
        self.assertTrue(must_staple(stapled(HOST, must=True).certificate))
        self.assertFalse(must_staple(stapled(HOST).certificate))


class ReadTests(SynchronousTestCase):
    """read() lets only what is right be shown."""

    def setUp(self) -> None:
        """Have a certificate that is asked about."""
        self.one = stapled(HOST)
        subject = subject_of([self.one.certificate, authority().certificate])
        assert subject is not None
        self.subject = subject

    def said(self, now: float = NOW, **how: Any) -> Staple:
        """Return what is made of such an answer, given at NOW."""
        return read(Says(**how).answer(self.one.certificate, NOW), self.subject, now)

    def why(self, now: float = NOW, **how: Any) -> str:
        """Return why such an answer is not shown."""
        with self.assertRaises(ValueError) as caught:
            self.said(now, **how)
        return str(caught.exception)

    def delegate(self, **how: Any) -> dict[str, Any]:
        """Return that somebody else signs, and is in the answer."""
        one = stapled(url=None, **how)
        return {"signer": one, "shown": (one,)}

    def test_a_good_answer_is_shown_as_it_came(self) -> None:
        """The octets are the responder's, the times are the answer's."""
        der = Says().answer(self.one.certificate, NOW)
        staple = read(der, self.subject, NOW)
        self.assertEqual(staple, Staple(der, NOW - 3_600, NOW - 3_600 + WEEK))
        self.assertEqual(until(der), staple.until)

    def test_a_responder_may_be_named_by_its_key(self) -> None:
        """The responder's name is its key's digest as well."""
        self.assertTrue(self.said(by_key=True))

    def test_one_whom_the_issuer_delegated_may_sign(self) -> None:
        """A certificate of the issuer for this use is enough."""
        self.assertTrue(self.said(**self.delegate(delegate=True)))
        self.assertTrue(self.said(by_key=True, **self.delegate(delegate=True)))

    def test_nobody_else_may_sign(self) -> None:
        """Neither a stranger, nor another certificate of the issuer, nor a stranger's delegate."""
        stranger = issue(authority=True, title="test authority")
        for how in (
            {"signer": stranger},
            {"signer": stranger, "shown": (stranger,)},
            {"signer": self.one, "shown": (self.one,)},
            self.delegate(),
            self.delegate(delegate=True, by=stranger),
            self.delegate(delegate=True, end=BEGIN + days(1)),
        ):
            self.assertEqual(
                self.why(**how),
                "neither the certificate's issuer signed the answer nor one it delegated",
            )

    def test_an_answer_of_another_issuer_is_about_another_certificate(self) -> None:
        """The same serial number at another issuer is not ours."""
        stranger = issue(authority=True, title="stranger")
        self.assertEqual(
            self.why(issuer=stranger, signer=stranger), "the answer is about another certificate"
        )

    def test_an_answer_about_another_certificate_is_refused(self) -> None:
        """The serial number counts."""
        self.assertEqual(self.why(about=stapled(HOST)), "the answer is about another certificate")

    def test_a_signature_over_a_short_digest_does_not_count(self) -> None:
        """SHA-256 is the least; cryptography signs nothing with SHA-1 that this could try."""
        self.assertEqual(
            self.why(digest=hashes.SHA224()),
            "the answer is signed with sha224, want sha256 or better",
        )

    def test_one_that_was_changed_is_refused(self) -> None:
        """Whatever octet under the signature is another one, it is refused as any other fault."""
        der = bytearray(Says().answer(self.one.certificate, NOW))
        signed = ocsp.load_der_ocsp_response(bytes(der)).tbs_response_bytes
        first = der.index(signed)
        for place in range(first, first + len(signed)):
            der[place] ^= 0x01
            with self.assertRaises(ValueError):
                read(bytes(der), self.subject, NOW)
            der[place] ^= 0x01

    def test_one_that_was_cut_is_refused(self) -> None:
        """A part of an answer is none."""
        der = Says().answer(self.one.certificate, NOW)
        for size in range(len(der)):
            with self.assertRaises(ValueError):
                read(der[:size], self.subject, NOW)

    def test_it_holds_until_it_says_and_not_a_second_longer(self) -> None:
        """At its end it is over."""
        end = NOW - 3_600 + WEEK
        self.assertTrue(self.said(end - 1))
        self.assertEqual(self.why(end), "the answer expired at 2026-11-07 23:00 UTC")

    def test_without_an_end_it_holds_a_day(self) -> None:
        """Where nothing is said of a newer one, a day is what browsers give."""
        self.assertEqual(self.said(life=None).until, NOW - 3_600 + UNTIL_NEWER)

    def test_a_clock_may_be_ahead_by_minutes(self) -> None:
        """The responder's clock may be ahead, but not far."""
        self.assertTrue(self.said(age=-SKEW))
        self.assertEqual(
            self.why(age=-SKEW - 60),
            "the answer is from the future (2026-11-01 00:06 UTC); compare the clocks",
        )

    def test_a_revoked_certificate_is_told_apart(self) -> None:
        """It has an error of its own, with the time."""
        with self.assertRaises(Revoked) as caught:
            self.said(status=REVOKED)
        self.assertEqual(str(caught.exception), "revoked at 2026-10-31 23:00 UTC")

    def test_a_forged_revocation_is_none(self) -> None:
        """Who may not sign cannot revoke either."""
        stranger = issue(authority=True, title="test authority")
        try:
            self.said(status=REVOKED, signer=stranger)
        except Revoked:
            self.fail("believed")
        except ValueError:
            pass

    def test_an_unknown_certificate_is_not_good(self) -> None:
        """Unknown is no good answer."""
        self.assertEqual(self.why(status=UNKNOWN), "the responder does not know the certificate")

    def test_an_error_of_the_responder_is_shown_in_its_words(self) -> None:
        """Its status is named."""
        der = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        with self.assertRaises(ValueError) as caught:
            read(der.public_bytes(Encoding.DER), self.subject, NOW)
        self.assertEqual(str(caught.exception), "the responder says: try later")

    def test_what_is_no_answer_at_all_is_refused(self) -> None:
        """A page of a captive portal is no OCSP response."""
        with self.assertRaises(ValueError) as caught:
            read(b"<html>", self.subject, NOW)
        self.assertEqual(str(caught.exception), "the answer is no OCSP response")

    def test_an_answer_has_a_bound(self) -> None:
        """What is too large is not even read."""
        with self.assertRaises(ValueError) as caught:
            read(bytes(LARGEST + 1), self.subject, NOW)
        self.assertEqual(str(caught.exception), f"the answer has over {LARGEST} bytes")
