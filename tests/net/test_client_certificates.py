"""Promises about clients' certificates: who is asked, what counts, and why something does not."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access import decision as why
from pomeriumd.net.client_certificates import (
    NAMES_SIZE,
    NOBODY_ASKED,
    Ask,
    Asks,
    ClientRule,
    Shown,
    Unproved,
    Verdict,
    shown,
)
from pomeriumd.net.contexts import CertificateStore, Terms
from pomeriumd.settings.pem import split_lists
from tests.support.certificates import NOW, Issued, days, issue, leaf
from tests.support.clients import (
    MAIL,
    SERVERS,
    ann,
    between,
    client,
    others,
    people,
    revoking,
    shake_hands,
    upn,
    weak,
    x509_of,
)

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
TODAY = datetime.fromtimestamp(NOW, UTC)


def rule(*anchors: Issued, crl: bytes = b"", **more: Any) -> ClientRule:
    """Return a rule that trusts these, or people()."""
    trusted = tuple(one.certificate for one in anchors or (people(),))
    return ClientRule(trusted, split_lists(crl), **more)


class VerdictTests(SynchronousTestCase):
    """Each way to be no good has its own word."""

    def says(self, its: ClientRule, one: Issued, *chain: Issued, now: float = NOW) -> Verdict:
        """Return what a rule says of a certificate."""
        return its.verify(x509_of(one), [x509_of(link) for link in chain], now)

    def test_good(self) -> None:
        """One of a trusted issuer counts, with what it says, until it expires."""
        found = self.says(rule(), ann())
        assert found.certificate is not None
        self.assertEqual(found.certificate.subject, "CN=ann")
        self.assertEqual(found.certificate.issuer, "CN=people")
        self.assertEqual(found.certificate.names, (("email", "ann@example.com"),))
        self.assertEqual(found.until, ann().certificate.not_valid_after_utc.timestamp())

    def test_each_fault_has_its_word(self) -> None:
        """Whatever is wrong, the word says what."""
        pinned = client(title="pinned", by=others())
        for word, its, one, chain in (
            (why.CERTIFICATE_UNTRUSTED, rule(), client(by=others()), ()),
            (why.CERTIFICATE_UNTRUSTED, rule(), client(by=others()), (others(),)),
            (why.CERTIFICATE_UNTRUSTED, rule(), client(by=between()), ()),
            (why.CERTIFICATE_UNTRUSTED, rule(), issue(title="self"), ()),
            # Of the issuer's name, and not its key.
            (
                why.CERTIFICATE_UNTRUSTED,
                rule(),
                client(by=issue(authority=True, title="people")),
                (),
            ),
            # A client is no authority.
            (why.CERTIFICATE_UNTRUSTED, rule(depth=0), client(by=ann()), (ann(),)),
            (why.CERTIFICATE_EXPIRED, rule(), client(end=TODAY - days(1)), ()),
            (why.CERTIFICATE_NOT_YET, rule(), client(begin=TODAY + days(1)), ()),
            (why.CERTIFICATE_NOT_FOR_CLIENTS, rule(), client(usages=(SERVERS,)), ()),
            (why.CERTIFICATE_TOO_DEEP, rule(), client(by=between()), (between(),)),
            (why.CERTIFICATE_WEAK, rule(), weak(), ()),
            (why.CERTIFICATE_REVOKED, rule(crl=revoking(ann())), ann(), ()),
            (why.CERTIFICATE_LIST, rule(crl=revoking(due=TODAY - days(1))), ann(), ()),
            (why.CERTIFICATE_LIST, rule(crl=revoking(signed_by=others())), ann(), ()),
            (why.CERTIFICATE_NAME, rule(matchers=[("email", "bob@.*")]), ann(), ()),
            (why.CERTIFICATE_MALFORMED, rule(), client(_other_upn()), ()),
        ):
            found = self.says(its, one, *chain)
            self.assertEqual((found.certificate, found.word), (None, word))
        self.assertIsNotNone(self.says(rule(pinned), pinned).certificate)

    def test_depth(self) -> None:
        """Issuers are counted up to a trusted one; 0 counts none."""
        deep = client(by=between())
        self.assertIsNotNone(self.says(rule(depth=2), deep, between()).certificate)
        self.assertIsNotNone(self.says(rule(depth=0), deep, between()).certificate)
        # An intermediate that is trusted itself is the end of the way, root or not.
        self.assertIsNotNone(self.says(rule(between()), deep).certificate)
        self.assertIsNotNone(self.says(rule(people(), between()), deep).certificate)
        # Trusting an intermediate is not to trust its root.
        self.assertEqual(self.says(rule(between()), ann()).word, why.CERTIFICATE_UNTRUSTED)

    def test_what_cannot_be_read(self) -> None:
        """Extensions that no reader knows what to make of make it no certificate, and no crash."""
        names = x509.SubjectAlternativeName.oid
        for octets in (b"\x30\x02\xa3\x00", b"\x30\x02\xa5\x00", b"\x30\x05\x82", b"", b"\x05\x00"):
            one = client(more=(x509.UnrecognizedExtension(names, octets),))
            self.assertIsNone(self.says(rule(), one).certificate, octets)
            self.assertEqual(Shown(None, x509_of(one)).title, "CN=ann")

    def test_no_usage_is_any(self) -> None:
        """A certificate that says nothing of its use may be used."""
        self.assertIsNotNone(self.says(rule(), client(usages=())).certificate)

    def test_names_of_each_kind(self) -> None:
        """An expression matches the whole of a name of its kind, and of no other."""
        names = (
            ("dns", x509.DNSName("laptop.example.com"), r"[^.]+\.example\.com"),
            ("email", MAIL, r"[^@]+@example\.com"),
            ("ip_address", x509.IPAddress(ipaddress.ip_address("192.0.2.7")), r"192\.0\.2\.[0-9]+"),
            ("uri", x509.UniformResourceIdentifier("spiffe://example/ann"), "spiffe://example/.*"),
            ("user_principal_name", upn("ann@corp.example"), r"[^@]+@corp\.example"),
        )
        for kind, name, pattern in names:
            its = rule(matchers=[("dns", "never"), (kind, pattern)])
            self.assertIsNotNone(self.says(its, client(name)).certificate, kind)
            for other, another, _ in names:
                if other != kind:
                    found = self.says(its, client(another))
                    self.assertEqual(found.word, why.CERTIFICATE_NAME, (kind, other))
        its = rule(matchers=[("email", r"[^@]+@example\.com")])
        for near in ("ann@example.com.evil.org", "ann@example.comx"):
            found = self.says(its, client(x509.RFC822Name(near)))
            self.assertEqual(found.word, why.CERTIFICATE_NAME, near)
        self.assertEqual(self.says(its, client()).word, why.CERTIFICATE_NAME)

    def test_only_the_list_of_the_issuer_counts(self) -> None:
        """Another issuer's list revokes nothing, and an own one only what it lists."""
        self.assertIsNotNone(self.says(rule(crl=revoking(ann(), by=others())), ann()).certificate)
        self.assertIsNotNone(self.says(rule(crl=revoking(client())), ann()).certificate)
        # The intermediate is revoked by the root, which is not asked about the leaf.
        deep = client(by=between())
        its = rule(depth=2, crl=revoking(between()))
        self.assertIsNotNone(self.says(its, deep, between()).certificate)
        its = rule(depth=2, crl=revoking(deep, by=between()))
        self.assertEqual(self.says(its, deep, between()).word, why.CERTIFICATE_REVOKED)

    def test_the_newest_list_counts(self) -> None:
        """Of two lists of one issuer the later one is asked, in whatever order they stand."""
        old, new = revoking(due=TODAY - days(9)), revoking(ann(), begin=TODAY - days(9))
        for crl in (old + new, new + old):
            self.assertEqual(self.says(rule(crl=crl), ann()).word, why.CERTIFICATE_REVOKED)

    def test_a_verdict_ends_with_the_list(self) -> None:
        """What a list allowed is looked at again when the list is due."""
        due = TODAY + days(1)
        found = self.says(rule(crl=revoking(due=due)), ann())
        self.assertEqual(found.until, due.timestamp())
        its = rule(crl=revoking(due=due))
        self.assertEqual(self.says(its, ann(), now=due.timestamp() + 1).word, why.CERTIFICATE_LIST)

    def test_stale_lists_are_named(self) -> None:
        """The log can say whose list is out of date."""
        its = rule(crl=revoking(due=TODAY - days(1)) + revoking(by=others()))
        self.assertEqual(
            its.stale(NOW), [f"CN=people (due since {TODAY - days(1):%Y-%m-%d %H:%M} UTC)"]
        )


def _other_upn() -> x509.OtherName:
    """Return a user principal name that is no UTF8String."""
    return x509.OtherName(upn("x").type_id, b"\x16\x01x")


class ShownTests(SynchronousTestCase):
    """What a connection showed is looked at once for each rule, for as long as that holds."""

    def test_kept_while_it_holds(self) -> None:
        """The same verdict is given until its time is over."""
        its, it = rule(), Shown(b"a.test", x509_of(ann()))
        first = it.verdict(its, NOW)
        self.assertIs(it.verdict(its, NOW + 60), first)
        end = ann().certificate.not_valid_after_utc.timestamp()
        self.assertEqual(it.verdict(its, end + 1).word, why.CERTIFICATE_EXPIRED)

    def test_nothing_shown(self) -> None:
        """Who showed nothing is told that something is wanted."""
        self.assertEqual(Shown(b"a.test", None).verdict(rule(), NOW).word, why.CERTIFICATE_REQUIRED)

    def test_few_are_kept(self) -> None:
        """A connection that lives through many reloads does not gather verdicts."""
        it = Shown(b"a.test", x509_of(ann()))
        for _ in range(20):
            it.verdict(rule(), NOW)
        self.assertLessEqual(len(it._verdicts), 8)


ASKED, OTHER, FREE = b"asked.test", b"other.test", b"free.test"


def store(asks: Asks) -> CertificateStore:
    """Return a store for three hosts; two of them have one certificate."""
    pairs = [leaf("free.test").pair(), leaf("asked.test", "other.test").pair()]
    return CertificateStore.of(pairs, NOW, Terms(asks=asks))


def some(**more: Any) -> Asks:
    """Return what asks at two hosts, each by its own authority."""
    hosts = {
        ASKED: Ask((rule(people()),), **more),
        OTHER: Ask((rule(others()),), **more),
    }
    return Asks(hosts, now=lambda: NOW)


class HandshakeTests(SynchronousTestCase):
    """Who is asked is a matter of the name alone, and nobody is turned away for what they show."""

    def test_only_hosts_that_want_one_ask(self) -> None:
        """A browser is asked at the hosts of such routes, in any spelling, and nowhere else."""
        its = store(some())
        for version in VERSIONS:
            for name in (ASKED, b"ASKED.Test", b"asked.test.", OTHER):
                self.assertTrue(shake_hands(its, name, ann(), version=version).asked, name)
            for other in (FREE, b"x.asked.test", b"unknown.test", None):
                met = shake_hands(its, other, ann(), version=version)
                self.assertFalse(met.asked, other)
                self.assertIsNone(met.server.get_peer_certificate())
                self.assertIsNone(met.shown)

    def test_whatever_is_shown_is_taken(self) -> None:
        """One that does not count does not end the handshake: the answer says what is wrong."""
        its = store(some())
        for version in VERSIONS:
            for one in (ann(), client(by=others()), issue(title="self"), None):
                met = shake_hands(its, ASKED, one, version=version)
                assert met.shown is not None
                self.assertEqual(met.shown.leaf is None, one is None)
                word = met.shown.verdict(its.terms.asks.of(ASKED).rules[0], NOW).word  # type: ignore[union-attr]
                self.assertEqual(word == "", one is ann())

    def test_what_leads_there_is_taken_along(self) -> None:
        """Certificates between are those that the client sent."""
        its = store(Asks({ASKED: Ask((rule(depth=2),))}, now=lambda: NOW))
        for version in VERSIONS:
            met = shake_hands(its, ASKED, client(by=between()), between(), version=version)
            assert met.shown is not None
            found = met.shown.verdict(its.terms.asks.of(ASKED).rules[0], NOW)  # type: ignore[union-attr]
            self.assertIsNotNone(found.certificate)

    def test_only_so_many_are_taken_along(self) -> None:
        """A chain without a bound is none: ten may come with the client's own."""
        for count in (9, 10):
            links = [people()]
            for number in range(count):
                links.append(issue(authority=True, title=f"link {number}", by=links[-1]))
            chain = links[:0:-1]
            one = client(by=chain[0])
            for reject in (False, True):
                its = store(Asks({}, Ask((rule(depth=0),), reject=reject), now=lambda: NOW))
                met = shake_hands(its, ASKED, one, *chain)
                assert met.shown is not None
                found = met.shown.verdict(its.terms.asks.of(ASKED).rules[0], NOW)  # type: ignore[union-attr]
                self.assertIsNotNone(found.certificate, (count, reject))
        more = issue(authority=True, title="one more", by=chain[0])
        its = store(Asks({}, Ask((rule(depth=0),)), now=lambda: NOW))
        met = shake_hands(its, ASKED, client(by=more), more, *chain)
        assert met.shown is not None
        found = met.shown.verdict(its.terms.asks.of(ASKED).rules[0], NOW)  # type: ignore[union-attr]
        self.assertEqual(found.word, why.CERTIFICATE_UNTRUSTED)

    def test_the_issuers_are_named(self) -> None:
        """A browser is told whose certificates are wanted, and so offers no others."""
        met = shake_hands(store(some()), ASKED, ann())
        self.assertEqual(set(met.issuers), {"people", "others"})

    def test_too_many_issuers_are_not_named(self) -> None:
        """A handshake stays small, whatever is trusted."""
        long = tuple(issue(authority=True, title=f"{i:064d}") for i in range(NAMES_SIZE // 70))
        its = store(Asks({ASKED: Ask((rule(*long),))}, now=lambda: NOW))
        met = shake_hands(its, ASKED, ann())
        self.assertEqual((met.asked, met.issuers), (True, ()))

    def test_reject_ends_the_handshake(self) -> None:
        """With reject_connection nobody gets through without one that counts, at any name."""
        bad = (None, client(by=others()), issue(title="self"), client(end=TODAY - days(1)))
        asks = Asks({}, Ask((rule(crl=revoking(gone := client())),), reject=True), now=lambda: NOW)
        its = store(asks)
        for version in VERSIONS:
            for name in (ASKED, FREE, b"unknown.test", None):
                met = shake_hands(its, name, ann(), version=version)
                self.assertIsNotNone(met.shown)
            for one in (*bad, gone):
                with self.assertRaises(SSL.Error):
                    shake_hands(its, ASKED, one, version=version)

    def test_reject_takes_what_leads_there(self) -> None:
        """A chain counts in the handshake as it does after it."""
        its = store(Asks({}, Ask((rule(depth=2),), reject=True), now=lambda: NOW))
        for version in VERSIONS:
            deep = client(by=between())
            self.assertIsNotNone(shake_hands(its, FREE, deep, between(), version=version).shown)
            with self.assertRaises(SSL.Error):
                shake_hands(its, FREE, deep, version=version)

    def test_reject_by_any_rule_of_the_host(self) -> None:
        """Routes of one host may trust different issuers; each gets in, and nobody else."""
        ask = Ask((rule(people()), rule(others())), reject=True)
        its = store(Asks({ASKED: ask}, now=lambda: NOW))
        for one in (ann(), client(by=others())):
            self.assertIsNotNone(shake_hands(its, ASKED, one).shown)
        with self.assertRaises(SSL.Error):
            shake_hands(its, ASKED, issue(title="self"))

    def test_a_handshake_that_was_not_looked_at_admits_nobody(self) -> None:
        """Were OpenSSL ever to finish without asking us, the connection would end all the same."""
        its = store(Asks({}, Ask((rule(),), reject=True), now=lambda: NOW))
        met = shake_hands(its, FREE, ann())
        met.server.admitted = False
        self.assertRaises(Unproved, shown, met.server)


class ResumptionTests(SynchronousTestCase):
    """Where anybody is asked, no session resumes: it would resume past the question."""

    def test_nothing_resumes(self) -> None:
        """A session of a host that asks nothing is none at one that asks, nor is any other."""
        its = store(some())
        for version in VERSIONS:
            for first in (FREE, ASKED, OTHER, None):
                before = shake_hands(its, first, ann(), version=version).client
                for name in (FREE, ASKED, OTHER):
                    met = shake_hands(its, name, version=version, before=before)
                    self.assertFalse(_reused(met.client), (first, name))
                    self.assertEqual(met.asked, name != FREE)

    def test_nor_across_a_reload(self) -> None:
        """A ticket of a generation that asked nobody is none in one that does."""
        before, after = store(NOBODY_ASKED), store(some())
        for version in VERSIONS:
            first = shake_hands(before, ASKED, version=version).client
            self.assertTrue(
                _reused(shake_hands(before, ASKED, version=version, before=first).client)
            )
            met = shake_hands(after, ASKED, version=version, before=first)
            self.assertFalse(_reused(met.client))
            self.assertTrue(met.asked)


def _reused(connection: SSL.Connection) -> bool:
    return bool(lib.SSL_session_reused(connection._ssl))
