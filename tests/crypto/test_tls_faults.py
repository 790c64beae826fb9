"""Promises of the words in which failures of TLS are told apart."""

from __future__ import annotations

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, verify_service_identity
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.tls_faults import (
    NAMES,
    TEXT_SIZE,
    CertificateRefused,
    Fault,
    broken_off,
    judged,
    misnamed,
    shown,
    unreadable,
)
from tests.support.certificates import authority, issue, leaf

LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).filter(
    lambda label: label[0] != "-" and label[-1] != "-" and not label.isdigit()
)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)


class ChainTests(SynchronousTestCase):
    """What OpenSSL says of a chain, by its number."""

    def test_each_number_has_its_fault(self) -> None:
        """Those that operators meet are told apart; the others are invalid, in OpenSSL's words."""
        server = leaf("up.test").certificate
        faults = {
            Fault.UNTRUSTED: (2, 7, 19, 20, 21, 27, 28, 33),
            Fault.SELF_SIGNED: (18,),
            Fault.NOT_YET: (9,),
            Fault.EXPIRED: (10,),
            Fault.TOO_DEEP: (22, 25),
            Fault.PURPOSE: (26,),
            Fault.WEAK: (66, 67, 68),
            Fault.INVALID: (1, 13, 24, 34, 79, 999),
        }
        for fault, numbers in faults.items():
            for number in numbers:
                found = judged(number, 0, server, "OpenSSL's words")
                self.assertIs(found.fault, fault, number)
                self.assertNotIn("\n", found.text)
        self.assertEqual(
            judged(24, 0, server, "invalid CA").text, "its certificate is not valid (invalid CA)"
        )

    def test_the_one_at_fault_is_named(self) -> None:
        """Of a chain, what has expired is not the server's own, and the line says so."""
        found = judged(10, 1, authority().certificate, "")
        self.assertEqual(
            found.text,
            'the certificate of "test authority" has expired, at 2046-01-01 00:00 UTC',
        )

    def test_a_stranger_writes_no_lines(self) -> None:
        """What stands in a certificate is one short line of ASCII, whatever it was."""
        title = "x\r\nlevel: info \u202e\u00fc" + "y" * 30
        found = judged(18, 0, issue("up.test", title=title).certificate, "")
        self.assertTrue(found.text.isascii() and found.text.isprintable())
        self.assertIn(r"x level: info \u202e\xfcyyy".replace(r"\u202e", ""), found.text)

    def test_it_is_an_error_that_says_so(self) -> None:
        """What is raised carries what was found, and its text."""
        refused = CertificateRefused(unreadable())
        self.assertEqual(str(refused), "its certificate cannot be read")
        self.assertIs(refused.found.fault, Fault.INVALID)


class NameTests(SynchronousTestCase):
    """A certificate that is another's."""

    def test_no_name_is_another_thing_than_a_wrong_one(self) -> None:
        """A common name is none, and neither is an e-mail address."""
        none = misnamed("up.test", issue(by=authority(), title="up.test").certificate)
        self.assertIs(none.fault, Fault.NO_NAME)
        other = misnamed("up.test", leaf("a.test", "10.0.0.1", "::1").certificate)
        self.assertIs(other.fault, Fault.WRONG_NAME)
        self.assertEqual(
            other.text, "its certificate is for a.test, 10.0.0.1, ::1, not for up.test"
        )

    def test_a_hundred_names_are_not_shown(self) -> None:
        """Few are, and how many more there are."""
        names = [f"h{number}.test" for number in range(100)]
        found = misnamed("up.test", issue(*names, by=authority()).certificate)
        self.assertEqual(found.text.count("h"), NAMES + len("h") + found.text.count("th") - 1)
        self.assertIn(f"and {100 - NAMES} more, not for up.test", found.text)

    @given(HOSTS, HOSTS, st.booleans())
    def test_a_name_fits_itself_and_a_star_one_label(
        self, name: str, other: str, starred: bool
    ) -> None:
        """A certificate fits its own name; with a star, any one label in its place; no other's."""
        pattern = f"*.{name}" if starred else name
        certificate = _bearing(pattern)
        fitting = f"www.{name}" if starred else name
        self.assertTrue(_fits(certificate, fitting))
        for wanted in (f"a.b.{name}", f"{name}.{other}", f"x{name}" if starred else f"www.{name}"):
            self.assertFalse(_fits(certificate, wanted), (pattern, wanted))
        if other.partition(".")[2] != name and other != name:
            self.assertFalse(_fits(certificate, other), (pattern, other))

    @given(st.text(max_size=1000))
    def test_whatever_is_shown_is_a_line(self, text: str) -> None:
        """Printable ASCII, bounded."""
        line = shown(text)
        self.assertTrue(line.isascii() and (line.isprintable() or not line))
        self.assertLessEqual(len(line), TEXT_SIZE * len(r"\U0001f600"))


class AlertTests(SynchronousTestCase):
    """What OpenSSL says when a handshake ends."""

    def test_the_words_of_each_version(self) -> None:
        """OpenSSL 1.1 to 4 call the same things by different names."""
        for words, fault in (
            ("wrong version number", Fault.NOT_TLS),
            ("http request", Fault.NOT_TLS),
            ("packet length too long", Fault.NOT_TLS),
            ("tlsv1 alert protocol version", Fault.VERSION),
            ("tls alert protocol version", Fault.VERSION),
            ("unsupported protocol", Fault.VERSION),
            ("unsafe legacy renegotiation disabled", Fault.VERSION),
            ("tlsv13 alert certificate required", Fault.OURS_WANTED),
            ("sslv3 alert handshake failure", Fault.CIPHERS),
            ("ssl/tls alert handshake failure", Fault.CIPHERS),
            ("tlsv1 alert insufficient security", Fault.CIPHERS),
            ("wrong cipher returned", Fault.CIPHERS),
            ("tlsv1 unrecognized name", Fault.NAME_UNKNOWN),
            ("tlsv1 alert no application protocol", Fault.HTTP_VERSION),
            ("dh key too small", Fault.WEAK),
            ("excessive message size", Fault.TOO_DEEP),
            ("tlsv1 alert internal error", Fault.OTHER),
            ("", Fault.OTHER),
        ):
            self.assertIs(broken_off([words], asked=False, shows=False).fault, fault, words)

    def test_what_it_says_of_our_certificate(self) -> None:
        """Of one that was shown it is a refusal; where none was, one is wanted."""
        for words in ("tlsv1 alert unknown ca", "sslv3 alert bad certificate"):
            shown_one = broken_off([words], asked=True, shows=True)
            self.assertIs(shown_one.fault, Fault.OURS_REFUSED)
            none = broken_off([words], asked=True, shows=False)
            self.assertIs(none.fault, Fault.OURS_WANTED)
        failed = ["sslv3 alert handshake failure"]
        self.assertIs(broken_off(failed, asked=True, shows=False).fault, Fault.OURS_WANTED)
        self.assertIs(broken_off(failed, asked=True, shows=True).fault, Fault.OURS_REFUSED)

    @given(st.lists(st.text(max_size=200), max_size=5), st.booleans(), st.booleans())
    def test_anything_gives_a_word(self, words: list[str], asked: bool, shows: bool) -> None:
        """Whatever stands there, there is a fault of the list and a line of text."""
        found = broken_off(words, asked=asked, shows=shows)
        self.assertIn(found.fault, Fault)
        self.assertTrue(found.text.isascii() and found.text.isprintable() and found.text)


def _bearing(name: str) -> x509.Certificate:
    """Return a certificate for a name; one key does for all of them."""
    return issue(name, by=authority(), key=leaf("up.test").key).certificate


def _fits(certificate: x509.Certificate, name: str) -> bool:
    """Tell whether the check that we use takes it, by way of OpenSSL's own object."""
    read = crypto.X509.from_cryptography(certificate).to_cryptography()
    try:
        verify_service_identity(extract_patterns(read), [DNS_ID(name)], [])
    except Exception:  # noqa: BLE001  # as in net.verify
        return False
    return True
