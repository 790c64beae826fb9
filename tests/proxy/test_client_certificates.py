"""Promises about requests on routes that want a client certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from cryptography import x509
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access import decision as why
from pomeriumd.access.client_certificate import facts
from pomeriumd.access.decision import Deny
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, SESSION
from pomeriumd.settings.model import RouteSettings
from tests.support.asking import ANSWER, AskingRig, mtls
from tests.support.certificates import Issued, days, issue
from tests.support.clients import (
    MAIL,
    SERVERS,
    ann,
    between,
    client,
    others,
    people,
    revoking,
    upn,
)
from tests.support.elsewhere import YES, ElsewhereRig
from tests.support.rig import NAVIGATION, NOW, Got, parse, request
from tests.support.settings import route

APP = b"app.example.com"
TODAY = datetime.fromtimestamp(NOW, UTC)


def public(**more: Any) -> RouteSettings:
    """Return a route that lets in everybody who has the certificate that it wants."""
    return route(allow_public_unauthenticated_access=True, **more)


class CertificateCase(SynchronousTestCase):
    """A daemon with one route, and what it says of a request."""

    def got(self, rig: AskingRig, showing: Issued | None, *chain: Issued, at: bytes = b"/") -> Got:
        """Return the answer to one request on a connection of its own."""
        return rig.ask(rig.meet(APP, showing, *chain), request(at, *NAVIGATION))


class RefusedTests(CertificateCase):
    """495 says what is wrong: to the person, and to the log."""

    def test_each_fault(self) -> None:
        """Each fault has its own word in the log and its own sentence on the page."""
        gone = client()
        rig = AskingRig(
            public(),
            downstream_mtls=mtls(
                crl=revoking(gone) + revoking(by=between(), due=TODAY - days(1)),
                max_verify_depth=2,
                match_subject_alt_names=((("email", ".*@example.com"),),),
            ),
        )
        deepest = issue(authority=True, title="deepest", by=between())
        for word, one, chain in (
            (why.CERTIFICATE_UNTRUSTED, client(MAIL, by=others()), ()),
            (why.CERTIFICATE_UNTRUSTED, client(MAIL, by=between()), ()),
            (why.CERTIFICATE_EXPIRED, client(MAIL, end=TODAY - days(1)), ()),
            (why.CERTIFICATE_NOT_YET, client(MAIL, begin=TODAY + days(1)), ()),
            (why.CERTIFICATE_REVOKED, gone, ()),
            (why.CERTIFICATE_LIST, client(MAIL, by=between()), (between(),)),
            (why.CERTIFICATE_NOT_FOR_CLIENTS, client(MAIL, usages=(SERVERS,)), ()),
            (why.CERTIFICATE_TOO_DEEP, client(MAIL, by=deepest), (deepest, between())),
            (why.CERTIFICATE_NAME, client(x509.RFC822Name("ann@example.org")), ()),
        ):
            got = self.got(rig, one, *chain)
            self.assertEqual((got.status, got.field(b"connection")), (495, b"close"), word)
            self.assertIn(why.PLAIN[word].encode(), got.body)
            self.assertIn(b"The certificate that was shown: CN=ann", got.body)
            entry = rig.logged[-1]
            self.assertEqual(entry.reasons, (why.CERTIFICATE_INVALID, word))
            self.assertEqual((entry.decision, entry.error), ("deny", "NoClientCertificate"))
        self.assertEqual(rig.upstreams.opened, [])
        self.assertEqual(self.got(rig, client(MAIL)).status, 200)

    def test_none(self) -> None:
        """Who shows none is told so, in the words that Pomerium has for it."""
        rig = AskingRig(public())
        got = self.got(rig, None)
        self.assertEqual(got.status, 495)
        self.assertIn(why.PLAIN[why.CERTIFICATE_REQUIRED].encode(), got.body)
        self.assertNotIn(b"that was shown", got.body)
        self.assertEqual(rig.logged[-1].reasons, (why.CERTIFICATE_REQUIRED,))

    def test_a_name_is_shown_as_text(self) -> None:
        """What a certificate says of itself is text on the page, and not too long."""
        got = self.got(AskingRig(public()), client(by=others(), title="<script>alert(1)</script>"))
        self.assertNotIn(b"<script", got.body)
        got = self.got(AskingRig(public()), client(by=others(), title="x" * 64 + "\u202e"[:0]))
        self.assertEqual(got.status, 495)

    def test_before_the_sign_in(self) -> None:
        """Nobody is sent to sign in for a page that they could not open then either."""
        rig = AskingRig(route(allow_any_authenticated_user=True))
        self.assertEqual(self.got(rig, None).status, 495)
        self.assertEqual(self.got(rig, client(by=others())).status, 495)
        self.assertEqual(self.got(rig, ann()).status, 302)

    def test_own_pages_go_without(self) -> None:
        """Pages of ours, health checks and the sign-in itself want no certificate."""
        rig = AskingRig(public())
        for path in (b"/ping", b"/healthz", b"/robots.txt", b"/.pomerium/assets/style.css"):
            self.assertEqual(self.got(rig, None, at=path).status, 200, path)
        self.assertEqual(self.got(rig, None, at=b"/.pomerium/").status, 302)
        free = rig.meet(b"auth.example.com")
        self.assertNotIn(rig.ask(free, request(b"/", host=b"auth.example.com")).status, (421, 495))


class EnforcementTests(CertificateCase):
    """Which routes want one: as the whole says, and as each route says."""

    ROUTES: ClassVar[dict[str, dict[str, Any]]] = {
        "plain": {},
        "own": {"tls_downstream_client_ca": others().pem},
        "none": {"tls_downstream_client_certificate": "none"},
        "request": {"tls_downstream_client_certificate": "request"},
        "require": {"tls_downstream_client_certificate": "require"},
    }

    def test_all(self) -> None:
        """What each route gives to who has none, one of people() and one of others()."""
        nobody, theirs = None, client(by=others())
        for enforcement, kind, wanted in (
            ("policy_with_default_deny", "plain", (495, 200, 495)),
            ("policy_with_default_deny", "own", (495, 495, 200)),
            ("policy_with_default_deny", "none", (200, 200, 200)),
            ("policy_with_default_deny", "request", (200, 200, 200)),
            ("policy", "plain", (200, 200, 200)),
            ("policy", "own", (495, 495, 200)),
            ("policy", "request", (200, 200, 200)),
            ("policy", "require", (495, 200, 495)),
        ):
            rig = AskingRig(
                public(**self.ROUTES[kind]), downstream_mtls=mtls(enforcement=enforcement)
            )
            got = tuple(self.got(rig, one).status for one in (nobody, ann(), theirs))
            self.assertEqual(got, wanted, (enforcement, kind))
            asked = rig.front.built.store.terms.asks.of(APP) is not None  # type: ignore[union-attr]
            free = kind == "none" or (enforcement, kind) == ("policy", "plain")
            self.assertEqual(asked, not free, (enforcement, kind))

    def test_own_authorities_alone(self) -> None:
        """A route can want one without downstream_mtls."""
        own = public(tls_downstream_client_ca=others().pem)
        rig = AskingRig(own, downstream_mtls=None)
        self.assertEqual(self.got(rig, ann()).status, 495)
        self.assertEqual(self.got(rig, client(by=others())).status, 200)

    def test_routes_of_one_host(self) -> None:
        """Each goes by its own rule on the same connection, whatever another one found."""
        rig = AskingRig(
            public(prefix="/own", tls_downstream_client_ca=others().pem),
            public(prefix="/free", tls_downstream_client_certificate="none"),
            public(),
        )
        conn = rig.meet(APP, ann())
        self.assertEqual(rig.ask(conn, request(b"/")).status, 200)
        self.assertEqual(rig.ask(conn, request(b"/free")).status, 200)
        self.assertEqual(rig.ask(conn, request(b"/")).status, 200)
        self.assertEqual(rig.ask(conn, request(b"/own")).status, 495)


class ListedTests(CertificateCase):
    """allowed_client_certificates is a condition besides all others."""

    def test_hashes(self) -> None:
        """The certificate's or its key's hash does; another good certificate is denied."""
        its = facts(ann().certificate)
        for hashed in (its.fingerprint, its.spki_hash):
            rig = AskingRig(public(allowed_client_certificates=(hashed,)))
            self.assertEqual(self.got(rig, ann()).status, 200)
            got = self.got(rig, client())
            self.assertEqual(got.status, 403)
            self.assertIn(why.PLAIN[why.CERTIFICATE_UNAUTHORIZED].encode(), got.body)
            self.assertEqual(rig.logged[-1].reasons, (why.CERTIFICATE_UNAUTHORIZED,))
            self.assertEqual(self.got(rig, None).status, 495)

    def test_besides_the_session(self) -> None:
        """Neither a session nor the certificate alone gets on."""
        its = facts(ann().certificate)
        rig = AskingRig(
            route(
                allowed_users=("alice@example.com",),
                allowed_client_certificates=(its.fingerprint,),
            )
        )
        cookie = (b"cookie", rig.cookie())
        self.assertEqual(rig.ask(rig.meet(APP, ann()), request(b"/", cookie)).status, 200)
        self.assertEqual(rig.ask(rig.meet(APP, ann()), request(b"/")).status, 401)
        self.assertEqual(rig.ask(rig.meet(APP, client()), request(b"/", cookie)).status, 403)
        self.assertEqual(rig.ask(rig.meet(APP), request(b"/", cookie)).status, 495)


class AskingElsewhere(AskingRig, ElsewhereRig):
    """The same, with decisions made by an authorize elsewhere."""


class ElsewhereTests(CertificateCase):
    """Authorize elsewhere is told the certificate that was verified here, and no other."""

    def test_the_question(self) -> None:
        """Each certificate is asked about once; one that does not count is not asked about."""
        its, other = facts(ann().certificate), client(title="bob")
        rig = AskingElsewhere(
            route(allow_any_authenticated_user=True, allowed_client_certificates=(its.fingerprint,))
        )
        asked = request(b"/", (b"cookie", rig.cookie()))
        depends = frozenset({SESSION, CLIENT_CERTIFICATE})
        for one, decision in ((ann(), YES), (other, Deny((why.CERTIFICATE_UNAUTHORIZED,)))):
            conn = rig.meet(APP, one)
            conn.sends(asked)
            told = rig.elsewhere.last.question.attributes
            self.assertEqual(dict(told), {CLIENT_CERTIFICATE: facts(one.certificate).attribute})
            rig.elsewhere.last.gives(decision=decision, depends_on=depends)
            if decision is YES:
                rig.upstreams.last.sends(ANSWER)
            self.assertEqual(parse(conn.got()).status, 200 if decision is YES else 403)
        self.assertEqual(rig.ask(rig.meet(APP, ann()), asked).status, 200)
        self.assertEqual(rig.ask(rig.meet(APP, other), asked).status, 403)
        self.assertEqual(rig.ask(rig.meet(APP, client(by=others())), asked).status, 495)
        self.assertEqual(len(rig.elsewhere.asked), 2)


class FactsTests(CertificateCase):
    """What applications are told of a certificate, and by whom."""

    HEADERS = (
        ("X-Cert-Print", "${pomerium.client_cert_fingerprint}"),
        ("X-Cert-Names", "dns=${pomerium.client_cert_san_dns};m=${pomerium.client_cert_san_email}"),
        ("X-Cert-Upn", "${pomerium.client_cert_san_upn}"),
        ("X-Cert-Subject", "$$${pomerium.client_cert_subject}"),
        ("X-Plain", "costs $5"),
    )

    def told(self, rig: AskingRig, showing: Issued | None, *fields: tuple[bytes, bytes]) -> bytes:
        """Return what the application got."""
        self.assertEqual(rig.ask(rig.meet(APP, showing), request(b"/", *fields)).status, 200)
        return rig.asked

    def test_facts(self) -> None:
        """Placeholders are filled with what the certificate says, made harmless."""
        one = client(
            *(x509.DNSName("a.example.com"), x509.DNSName("b,c\x7f%"), MAIL),
            upn("\u00e4nn@corp"),
            title="Ann \u00c4,\x01\r\nX-Evil: 1",
        )
        got = self.told(AskingRig(public(set_request_headers=self.HEADERS)), one)
        its = facts(one.certificate)
        for line in (
            b"x-cert-print: " + its.fingerprint.encode(),
            b"x-cert-names: dns=a.example.com,b%2Cc%7F%25;m=ann@example.com",
            b"x-cert-upn: %C3%A4nn@corp",
            b"x-plain: costs $5",
        ):
            self.assertEqual(got.count(b"\r\n" + line + b"\r\n"), 1, line)
        self.assertNotIn(b"\r\nX-Evil", got)
        self.assertIn(b"\r\nx-cert-subject: $CN=Ann %C3%84\\,%01", got)

    def test_nobody_else_says_them(self) -> None:
        """A client's own fields of these names never arrive, in no spelling, certificate or not."""
        rig = AskingRig(
            public(set_request_headers=self.HEADERS, tls_downstream_client_certificate="request")
        )
        forged = [
            (name, b"forged")
            for name in (b"X-Cert-Print", b"x_cert_print", b"x.cert.print", b"X-CERT-UPN")
        ]
        for one in (None, ann(), client(by=others())):
            got = self.told(rig, one, *forged)
            self.assertNotIn(b"forged", got)
            good = one is ann()
            print_ = facts(one.certificate).fingerprint.encode() if one and good else b""
            self.assertIn(b"\r\nx-cert-print: " + print_ + b"\r\n", got)

    def test_bounded(self) -> None:
        """What would be cut short is left out: the beginning of a name is another name."""
        many = [x509.DNSName(f"host-{number}.example.com") for number in range(100)]
        got = self.told(AskingRig(public(set_request_headers=self.HEADERS)), client(*many))
        self.assertIn(b"\r\nx-cert-names: dns=;m=\r\n", got)


class LivingTests(CertificateCase):
    """A reload counts for connections that are open."""

    def test_the_next_request(self) -> None:
        """A certificate that is revoked gets no further request through, nor one that expires."""
        one = client(end=TODAY + days(1))
        rig = AskingRig(public())
        conn = rig.meet(APP, one)
        self.assertEqual(rig.ask(conn, request()).status, 200)
        rig.reload(public(), downstream_mtls=mtls(crl=revoking(client())))
        self.assertEqual(rig.ask(conn, request()).status, 200)
        rig.reload(public(), downstream_mtls=mtls(crl=revoking(one)))
        self.assertEqual(rig.ask(conn, request()).status, 495)
        rig.reload(public())
        conn = rig.meet(APP, one)
        self.assertEqual(rig.ask(conn, request()).status, 200)
        rig.set_by += 86_401
        self.assertEqual(rig.ask(conn, request()).status, 495)
        self.assertEqual(rig.logged[-1].reasons[-1], why.CERTIFICATE_EXPIRED)

    def test_streams_are_cut(self) -> None:
        """A WebSocket ends when its certificate counts no more, and lives on while it does."""
        socket = public(allow_websockets=True)
        upgrade = request(
            b"/",
            (b"connection", b"upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"sec-websocket-version", b"13"),
        )
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)  # type: ignore[arg-type]
        rig = AskingRig(socket)
        rig.sweeps()
        self.addCleanup(rig.sweep.stopService)
        conns = []
        for one in (ann(), client(title="bob")):
            conn = rig.meet(APP, one)
            conn.sends(upgrade)
            rig.upstreams.last.sends(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                b"Upgrade: websocket\r\n\r\n"
            )
            self.assertIn(b" 101 ", conn.got())
            conns.append(conn)
        rig.pass_time(10)
        self.assertEqual([conn.aborted for conn in conns], [False, False])
        rig.reload(socket, downstream_mtls=mtls(crl=revoking(ann())))
        rig.pass_time(5)
        self.assertEqual([conn.aborted for conn in conns], [True, False])
        (cut,) = [event["reasons"] for event in observer if "seconds" in event]
        self.assertEqual(cut, (why.CERTIFICATE_INVALID, why.CERTIFICATE_REVOKED))

    def test_a_rule_that_comes_later(self) -> None:
        """A connection from before a rule has to make way for one that is asked."""
        rig = AskingRig(public(), downstream_mtls=None)
        conn = rig.meet(APP, ann())
        self.assertEqual(rig.ask(conn, request()).status, 200)
        rig.reload(public())
        got = rig.ask(conn, request())
        self.assertEqual((got.status, got.field(b"connection")), (421, b"close"))
        self.assertEqual(self.got(rig, ann()).status, 200)

    def test_contexts_go_on(self) -> None:
        """A reload that changes nothing of it makes no new contexts, and keeps what was found."""
        rig = AskingRig(public())
        base = rig.front.built.store.base()  # type: ignore[union-attr]
        conn = rig.meet(APP, ann())
        self.assertEqual(rig.ask(conn, request()).status, 200)
        rig.reload(public(timeout=7.0))
        self.assertIs(rig.front.built.store.base(), base)  # type: ignore[union-attr]
        self.assertEqual(rig.ask(conn, request()).status, 200)
        for more in (
            {"downstream_mtls": None},
            {"downstream_mtls": mtls(enforcement="reject_connection")},
            {"downstream_mtls": mtls(max_verify_depth=2)},
            {"downstream_mtls": mtls(ca=others().pem)},
        ):
            rig.reload(public(), **more)
            self.assertIsNot(rig.front.built.store.base(), base, more)  # type: ignore[union-attr]
            store = rig.front.built.store
        rig.reload(
            public(tls_downstream_client_ca=people().pem), downstream_mtls=mtls(ca=others().pem)
        )
        self.assertIsNot(rig.front.built.store, store)

    def test_the_warning(self) -> None:
        """A list that is out of date is said loudly, and shuts out its issuer's people."""
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)  # type: ignore[arg-type]
        crl = revoking(due=TODAY - days(1))
        rig = AskingRig(public(), downstream_mtls=mtls(crl=crl))
        said = [event for event in observer if "whose" in event]
        self.assertEqual([event["log_level"].name for event in said], ["warn"])
        self.assertTrue(said[0]["whose"].startswith("CN=people (due since 20"))
        self.assertEqual(self.got(rig, ann()).status, 495)
