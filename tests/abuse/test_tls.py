"""
4.7: which certificate answers to which name, and whose certificate we believe.

Handshakes are OpenSSL's own, in memory, with the real contexts: what a client sees of a
certificate is what counts, not what we meant to show.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations, product
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.verify import client_options
from pomeriumd.settings.load import load
from pomeriumd.settings.values import CertificatePair, Secret
from tests.support.asking import AskingRig, mtls
from tests.support.certificates import BEGIN, END, NOW, Issued, authority, days, issue, leaf
from tests.support.clients import ann, client, others, revoking
from tests.support.handshakes import Shaking, client_hello, meet
from tests.support.rig import NOW as RIG_NOW
from tests.support.rig import request
from tests.support.serving import MemoryClient
from tests.support.settings import route
from tests.support.settings_files import minimal, problems, yaml
from tests.support.settings_files import route as route_of_a_file
from tests.support.sockets import OneProtocol, Told
from tests.support.variants import in_cases

WAITING: dict[str, str] = {}
PARTLY: dict[str, str] = {
    "T2": "there is no HTTP/3; whoever adds QUIC gives it this resolver",
    "T6": "TLS between services and replicas of our own; issue 5",
    "T7": "certificates that change while the daemon runs; issues 4 and 6",
}

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)

NAMED = {
    b"first.test": "first.test",
    b"app.example.test": "app.example.test",
    b"any.example.test": "*.example.test",
    b"other.test": "other.test",
}
"""Name to ask for, and what the certificate is called that answers."""

ISSUED = tuple(leaf(title) for title in NAMED.values())
STORE = CertificateStore.of([one.pair() for one in ISSUED], NOW)


def reached(rig: AskingRig, conn: MemoryClient, host: bytes) -> tuple[int, bool]:
    """Return the status of a request for a host, and whether the application saw it."""
    before = sum(len(one.transport.value()) for one in rig.upstreams.opened)
    opened = len(rig.upstreams.opened)
    status = rig.ask(conn, request(b"/", host=host)).status
    after = sum(len(one.transport.value()) for one in rig.upstreams.opened)
    return status, (len(rig.upstreams.opened), after) != (opened, before) or status == 200


class TwoHostsTests(SynchronousTestCase):
    """T1: the name in the handshake and the host of the request may differ; the weaker loses."""

    row = "T1"
    HOSTS: ClassVar[dict[bytes, dict[str, Any]]] = {
        b"default.example.com": {},
        b"same.example.com": {},
        b"own.example.com": {"tls_downstream_client_ca": others().pem},
        b"maybe.example.com": {"tls_downstream_client_certificate": "request"},
        b"free.example.com": {"tls_downstream_client_certificate": "none"},
    }
    """Host, and what its route says."""
    NAMES = (*HOSTS, b"auth.example.com", b"unknown.example.com", b"FREE.example.com.", None)
    SHOWN: ClassVar = {"nothing": None, "people's": ann(), "others'": client(by=others())}
    VARIANTS: ClassVar = tuple(product(NAMES, HOSTS, SHOWN, VERSIONS))
    BY = "people's"
    RIGHT: ClassVar = {
        b"default.example.com": BY,
        b"same.example.com": BY,
        b"own.example.com": "others'",
    }
    """Whose certificates count, at hosts that want one."""

    def setUp(self) -> None:
        """Start a daemon with all of them."""
        self.rig = self.started()

    def started(self) -> AskingRig:
        """Return one."""
        return AskingRig(
            *(
                route(host.decode(), allow_public_unauthenticated_access=True, **more)
                for host, more in self.HOSTS.items()
            )
        )

    def wanted(self, name: bytes | None, host: bytes, shown: str) -> int:
        """Return the status that is right, in the words of the manual."""
        if host not in self.RIGHT:
            return 200
        rules = [self.RIGHT.get(one or b"", "maybe") for one in (name, host)]
        if name == b"maybe.example.com":
            rules[0] = self.BY  # it asks for the same, and would do without
        if rules[0] != rules[1]:
            return 421
        return 200 if shown == self.RIGHT[host] else 495

    def test_all_pairs(self) -> None:
        """Each name with each host and each certificate, in both versions of TLS."""
        for name, host, kind, version in self.VARIANTS:
            conn = self.rig.meet(name, self.SHOWN[kind], version=version)
            status, seen = reached(self.rig, conn, host)
            wanted = self.wanted(name, host, kind)
            self.assertEqual((status, seen), (wanted, wanted == 200), (name, host, kind))

    def test_one_after_the_other(self) -> None:
        """A connection that was good for one host is not for the next one that it names."""
        for name, kind in product(self.HOSTS, self.SHOWN):
            for first, then in permutations(self.HOSTS, 2):
                conn = self.rig.meet(name, self.SHOWN[kind])
                status, _ = reached(self.rig, conn, first)
                self.assertEqual(status, self.wanted(name, first, kind))
                if status == 200:  # else it is closed
                    status, _ = reached(self.rig, conn, then)
                    self.assertEqual(status, self.wanted(name, then, kind), (name, first, then))

    def test_spellings_of_the_host(self) -> None:
        """No spelling of a host gets past its rule on a connection that was asked for nothing."""
        for host in (*in_cases(b"default.example.com")[::9973], b"default.example.com:443"):
            conn = self.rig.meet(b"free.example.com", ann())
            status, seen = reached(self.rig, conn, host)
            self.assertEqual((status, seen), (421, False), host)

    def test_fields_that_speak_of_certificates(self) -> None:
        """What a balancer would write of a certificate is not believed from anybody."""
        for field in (b"client-cert", b"x-forwarded-client-cert", b"x-ssl-client-verify", b"via"):
            conn = self.rig.meet(b"default.example.com")
            octets = request(b"/", (field, b"SUCCESS"), host=b"default.example.com")
            self.assertEqual(self.rig.ask(conn, octets).status, 495, field)

    def test_without_tls(self) -> None:
        """A connection on which nobody could have shown anything is good for no such host."""
        for host, kind in self.RIGHT.items():
            conn = self.rig.connect_with(server_name=host)
            self.assertEqual(reached(self.rig, conn, host), (421, False), kind)


class RevokedTests(SynchronousTestCase):
    """T5: a certificate that was revoked, or of which that cannot be known, gets nobody on."""

    row = "T5"
    THERE = route("app.example.com", allow_public_unauthenticated_access=True)
    GONE = client(title="gone")
    DAY_BEFORE = datetime.fromtimestamp(RIG_NOW, UTC) - days(1)
    VARIANTS: ClassVar = {
        "revoked": revoking(GONE),
        "among others": revoking(*(client() for _ in range(20)), GONE, client()),
        "in an old list": revoking(GONE, due=DAY_BEFORE),
        "in a newer list": revoking() + revoking(GONE, begin=BEGIN + days(1)),
        "before an older list": revoking(GONE, begin=BEGIN + days(1)) + revoking(),
        "a list that is out of date": revoking(due=DAY_BEFORE),
        "a list that somebody else signed": revoking(signed_by=others()),
    }
    """Lists under which it must not count."""

    def test_shut_out(self) -> None:
        """Whatever the list is like, both at the first request and at a later one."""
        for kind, crl in self.VARIANTS.items():
            rig = AskingRig(self.THERE)
            open_ = rig.meet(b"app.example.com", self.GONE)
            self.assertEqual(reached(rig, open_, b"app.example.com")[0], 200)
            rig.reload(self.THERE, downstream_mtls=mtls(crl=crl))
            for conn in (open_, rig.meet(b"app.example.com", self.GONE)):
                self.assertEqual(reached(rig, conn, b"app.example.com"), (495, False), kind)

    def test_in_the_handshake(self) -> None:
        """With reject_connection it does not even get a connection."""
        for kind, crl in self.VARIANTS.items():
            rig = AskingRig(
                self.THERE, downstream_mtls=mtls(crl=crl, enforcement="reject_connection")
            )
            for version in VERSIONS:
                with self.assertRaises(SSL.Error, msg=kind):
                    rig.meet(b"app.example.com", self.GONE, version=version)


class NameTests(SynchronousTestCase):
    """T2: one resolver for every spelling of a name, and no name with weaker terms."""

    row = "T2"
    VARIANTS: ClassVar = tuple(
        (spelling + dot, title)
        for name, title in NAMED.items()
        for spelling in (*in_cases(name)[::997], name.upper(), name.title(), name.swapcase())
        for dot in (b"", b".")
    )
    UNKNOWN = (
        *(None, b"unknown.test", b"example.test", b"a.b.example.test", b"*.*.example.test", b"x"),
        *(b"app.example.test.evil.org", b"xapp.example.testx", b"192.0.2.1", b"\xc3\xa4.test"),
        *(b"a" * 255, b"..", b"app..example.test", b"app.example.test..", b"app_example.test"),
    )

    def test_any_spelling(self) -> None:
        """Case and a last dot change nothing about the certificate that is shown."""
        for (name, title), version in product(self.VARIANTS, VERSIONS):
            met = meet(STORE, name, version=version)
            self.assertIsNone(met.error, name)
            self.assertEqual(met.shown, title, name)

    def test_unknown_names(self) -> None:
        """A name that nobody has gets the first certificate, as a stranger does."""
        for name in self.UNKNOWN:
            met = meet(STORE, name)
            self.assertEqual(met.shown, "first.test", name)

    def test_no_name_has_weaker_terms(self) -> None:
        """TLS 1.1, CBC, RSA key exchange and strange protocols are refused whatever the name."""
        offers: tuple[dict[str, Any], ...] = (
            {"version": SSL.TLS1_1_VERSION, "ciphers": b"ALL:@SECLEVEL=0"},
            {"version": SSL.TLS1_VERSION, "ciphers": b"ALL:@SECLEVEL=0"},
            {"version": SSL.TLS1_2_VERSION, "ciphers": b"ECDHE-ECDSA-AES128-SHA"},
            {"version": SSL.TLS1_2_VERSION, "ciphers": b"ECDHE-ECDSA-AES256-SHA384"},
            {"version": SSL.TLS1_2_VERSION, "ciphers": b"AES128-GCM-SHA256"},
            {"version": SSL.TLS1_2_VERSION, "ciphers": b"NULL:@SECLEVEL=0"},
            {"offered": (b"h2",)},
            {"offered": (b"h3", b"acme-tls/1")},
        )
        names = [*self.UNKNOWN, *(name for name, _ in self.VARIANTS[::3])]
        for name, offer in product(names, offers):
            met = meet(STORE, name, **offer)
            self.assertIsNotNone(met.error, (name, offer))


RECORD_HEAD = 5
"""Bytes of a record in front of what it carries: type, version, size."""


def rewrapped(hello: bytes, *sizes: int) -> bytes:
    """Return a hello in records of these sizes, the last one for all that is left."""
    head, message = hello[:3], hello[RECORD_HEAD:]
    records = []
    for size in sizes:
        if len(message) <= size:
            break
        records.append(message[:size])
        message = message[size:]
        if size == sizes[-1]:
            while message:
                records.append(message[:size])
                message = message[size:]
    records += [message] if message else []
    return b"".join(head + len(one).to_bytes(2, "big") + one for one in records)


class PiecesTests(SynchronousTestCase):
    """T3: however a hello arrives, its name is read, or there is no connection."""

    row = "T3"
    VARIANTS: ClassVar = tuple(
        product((b"app.example.test", b"any.example.test"), VERSIONS, range(1, 200, 7))
    )

    def shaken(self, name: bytes, version: int, *, records: int = 0, segment: int = 0) -> None:
        """Find that no certificate but the one for this name is shown."""

        def reshape(hello: bytes) -> list[bytes]:
            octets = rewrapped(hello, records) if records else hello
            size = segment or len(octets)
            return [octets[at : at + size] for at in range(0, len(octets), size)]

        met = meet(STORE, name, version=version, reshape=reshape)
        self.assertIn(met.shown, (None, NAMED[name]), (records, segment))
        self.assertEqual(met.error is None, met.shown is not None)
        self.whole += met.error is None

    def setUp(self) -> None:
        """Count handshakes that come to their end."""
        self.whole = 0

    def test_in_records(self) -> None:
        """In TLS records of any size."""
        for name, version, size in self.VARIANTS:
            self.shaken(name, version, records=size)
        self.assertGreater(self.whole, len(self.VARIANTS) // 2)

    def test_in_segments(self) -> None:
        """In pieces of the stream of any size, one record or many."""
        for name, version, size in self.VARIANTS:
            self.shaken(name, version, segment=size, records=(size * 3) % 101)
        self.assertGreater(self.whole, len(self.VARIANTS) // 2)

    @given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.sampled_from(VERSIONS))
    @settings(max_examples=40)
    def test_cut_inside_the_name(self, sizes: list[int], version: int) -> None:
        """At any places."""

        def reshape(hello: bytes) -> list[bytes]:
            return [rewrapped(hello, *sizes)]

        met = meet(STORE, b"app.example.test", version=version, reshape=reshape)
        self.assertIn(met.shown, (None, "app.example.test"))

    def test_something_between_the_pieces(self) -> None:
        """Records that do not belong there end the handshake, and show nothing."""
        hello = client_hello(b"app.example.test")
        middle = len(hello) // 2
        pieces = rewrapped(hello, middle)
        first = RECORD_HEAD + middle
        for between in (
            b"\x17\x03\x03\x00\x01x",
            b"\x14\x03\x03\x00\x01\x01",
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"\x16\x03\x03\x00\x00",
            b"\x16\x03\x03\xff\xff",
            b"\x18\x03\x03\x00\x03\x01\x40\x00",
            b"GET / HTTP/1.1\r\n\r\n",
            hello,
        ):
            server = SSL.Connection(STORE.base(), None)
            STORE.begin(server)
            server.set_accept_state()
            server.bio_write(pieces[:first] + between + pieces[first:])
            with self.assertRaises(SSL.Error):
                server.do_handshake()

    def test_at_the_port(self) -> None:
        """At a real port a hello in pieces builds nothing before it is whole and answered."""
        shaking = Shaking(self)
        hello = shaking.hello()
        for size in range(1, len(hello), 23):
            shaking.starts(rewrapped(hello, size)[: len(hello)])
        shaking.turns()
        self.assertEqual(shaking.made, [])


def _broken(pem: bytes) -> Iterator[bytes]:
    """Give what an unreadable file holds."""
    yield from (b"", b"\n", b"garbage", b"\0" * 100, b"-----BEGIN CERTIFICATE-----\n")
    yield from (pem[: len(pem) * part // 12] for part in range(1, 12))
    yield from (pem[:place] + b"!" + pem[place + 1 :] for place in range(40, len(pem) - 40, 61))
    yield pem.replace(b"CERTIFICATE", b"CERTIFICAT")
    yield pem.replace(b"-----END", b"----END")
    yield pem[::-1]
    yield b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    yield b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    yield pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    yield pem.replace(pem.split(b"\n")[3], b"")


class UnreadableTests(SynchronousTestCase):
    """T4: an authority or certificate that cannot be read is a problem, and never no check."""

    row = "T4"
    VARIANTS: ClassVar = tuple(dict.fromkeys(_broken(authority().pem)))

    def test_of_an_upstream(self) -> None:
        """What cannot be read trusts nobody: there is no connection at all."""
        for pem in self.VARIANTS:
            with self.assertRaises(SettingsError):
                client_options(server_name="up.test", custom_ca=pem, place="policy[0]")

    def test_what_we_show(self) -> None:
        """A certificate of ours that cannot be read is not left out silently."""
        own = leaf("client.test")
        for pem in _broken(own.pem):
            with self.assertRaises(SettingsError):
                client_options(
                    server_name="up.test",
                    custom_ca=authority().pem,
                    client_cert=pem,
                    client_key=own.key_pem,
                    place="policy[0]",
                )

    def test_of_our_own(self) -> None:
        """Neither is a server certificate: one bad pair, and none of them serves."""
        good, bad = leaf("app.example.test"), leaf("other.test")
        for pem in _broken(bad.pem):
            pair = CertificatePair(chain=pem, key=Secret(bad.key_pem), place="certificates[1]")
            with self.assertRaises(SettingsError):
                CertificateStore.of([good.pair(), pair], NOW)
        keys = (
            *(leaf("third.test").key_pem, bad.pem, good.key_pem, b"", b"garbage"),
            *(bad.key_pem[: len(bad.key_pem) * part // 9] for part in range(1, 9)),
        )
        for key in keys:
            pair = CertificatePair(chain=bad.pem, key=Secret(key), place="certificates[1]")
            with self.assertRaises(SettingsError):
                CertificateStore.of([good.pair(), pair], NOW)

    def test_in_the_settings(self) -> None:
        """A setting that holds none, or a file that is none, is a problem with its place."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        for number, pem in enumerate(self.VARIANTS):
            path = directory / f"{number}.pem"
            path.write_bytes(pem)
            self.problem(directory, tls_custom_ca_file=path.name)
            with contextlib.suppress(UnicodeDecodeError):
                self.problem(directory, tls_custom_ca=pem.decode())
        for path in (directory / "missing.pem", directory, Path(os.devnull)):
            self.problem(directory, tls_custom_ca_file=str(path))

    def test_of_clients(self) -> None:
        """Neither an authority of clients nor a list of what it revoked is left out silently."""
        good = {"certificate": leaf("app.example.test").pem.decode()}
        good["certificate_key"] = leaf("app.example.test").key_pem.decode()
        for pem in self.VARIANTS:
            with contextlib.suppress(UnicodeDecodeError):
                for more in (
                    {"ca": pem.decode()},
                    {"ca": authority().pem.decode(), "crl": pem.decode()},
                ):
                    found = problems(minimal(insecure_server=None, downstream_mtls=more, **good))
                    key = "crl" if "crl" in more else "ca"
                    self.assertTrue(found[0].startswith(f"downstream_mtls.{key}: "), found)

    def problem(self, directory: Path, **more: str) -> None:
        """Find that a route with this setting is refused, for this setting."""
        secure = route_of_a_file(to="https://up.test", allow_any_authenticated_user=True, **more)
        path = directory / "settings.yaml"
        path.write_text(yaml(minimal(policy=[secure])))
        with self.assertRaises(SettingsError) as caught:
            load(str(path), {})
        self.assertIn("policy[0].tls_custom_ca", str(caught.exception))


class Eager(Told):
    """Sends its request as soon as it may, as a careless client does."""

    def connectionMade(self) -> None:
        """Send."""
        assert self.transport is not None
        self.transport.write(b"secret request")


def _upstreams() -> Iterator[tuple[str, Issued]]:
    """Give certificates that are not the one for up.test of the tests' authority."""
    ca = authority()
    impostor = issue(authority=True, title="test authority")
    middle = issue(by=ca, title="no authority")
    for name in (
        *("other.test", "up.test.evil.org", "xup.test", "evil-up.test", "a.up.test", "test"),
        *("*.test", "*.up.test", "u*.test", "*", "up", "up.tes", "up.testx", "192.0.2.1", "*.*"),
    ):
        yield f"for {name}", leaf(name)
    yield "without a name", issue(by=ca, title="up.test")
    yield "of itself", issue("up.test", title="up.test")
    yield "of another authority", issue("up.test", by=issue(authority=True, title="other"))
    yield "of one of the same name", issue("up.test", by=impostor)
    yield "of the same name and key id", issue("up.test", by=impostor, title="up.test")
    yield "of no authority", issue("up.test", by=middle)
    yield "expired", issue("up.test", by=ca, end=BEGIN + days(1))
    yield "not yet valid", issue("up.test", by=ca, begin=END - days(1), end=END)


class PinnedTests(SynchronousTestCase):
    """T6: each connection to an upstream is checked anew, before a byte of a request."""

    row = "T6"
    VARIANTS: ClassVar = tuple(_upstreams())

    def asked(
        self, creator: IOpenSSLClientConnectionCreator, server: Issued
    ) -> tuple[bytes, Protocol]:
        """Return what an upstream with this certificate could read, and our protocol."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(server.certificate)
        context.use_privatekey(server.key)
        ours = Eager()
        clock = Clock()
        factory = TLSMemoryBIOFactory(
            creator, isClient=True, wrappedFactory=OneProtocol(ours), clock=clock
        )
        outer = factory.buildProtocol(None)
        wire = StringTransport()
        there = SSL.Connection(context, None)
        there.set_accept_state()
        outer.makeConnection(wire)
        read = b""
        for _ in range(8):
            there.bio_write(wire.value())
            wire.clear()
            with contextlib.suppress(SSL.WantReadError, SSL.Error):
                there.do_handshake()
                read += there.recv(65536)
            with contextlib.suppress(SSL.WantReadError):
                outer.dataReceived(there.bio_read(65536))
            clock.advance(0)  # small writes wait for the end of the turn
            if not wire.value():
                break
        if wire.disconnecting:
            outer.connectionLost(Failure(ConnectionLost()))
        return read, ours

    def test_every_connection(self) -> None:
        """The right one is believed; the next, with another certificate, gets nothing."""
        creator = client_options(
            server_name="up.test", custom_ca=authority().pem, place="policy[0]"
        )
        good = leaf("up.test")
        for why, server in self.VARIANTS:
            self.assertEqual(self.asked(creator, good)[0], b"secret request", why)
            read, ours = self.asked(creator, server)
            self.assertEqual(read, b"", why)
            assert isinstance(ours, Told)
            self.assertEqual(len(ours.lost), 1, why)

    def test_only_the_configured_authority(self) -> None:
        """An authority of the system, or one in front of ours, is not asked instead."""
        other = issue(authority=True, title="other authority")
        for ca, server, good in (
            (other.pem, issue("up.test", by=other), True),
            (other.pem, leaf("up.test"), False),
            (authority().pem + other.pem, issue("up.test", by=other), True),
            (None, leaf("up.test"), False),
        ):
            creator = client_options(server_name="up.test", custom_ca=ca, place="policy[0]")
            self.assertEqual(bool(self.asked(creator, server)[0]), good)


SHARED = (
    ("shared.test", "one.test", "*.wild.test"),
    ("two.test", "shared.test", "a.wild.test"),
    ("*.wild.test", "shared.test"),
    ("four.test", "SHARED.test", "a.wild.test."),
)
SHARED_NAMES = (
    *(b"shared.test", b"one.test", b"two.test", b"four.test"),
    *(b"a.wild.test", b"b.wild.test", b"unknown.test"),
)


def first_with(order: tuple[tuple[str, ...], ...], name: bytes) -> Issued:
    """Return what answers to a name, by the manual's sentence: exact, by wildcard, the first."""
    wild = "*." + name.decode().partition(".")[2]
    for wanted in (name.decode(), wild):
        for names in order:
            if wanted in (one.lower().removesuffix(".") for one in names):
                return leaf(*names)
    return leaf(*order[0])


class ReloadTests(SynchronousTestCase):
    """T7: of two certificates for a name, the first in the settings answers, each time."""

    row = "T7"
    VARIANTS: ClassVar = tuple(permutations(SHARED))

    def shown(self, store: CertificateStore, name: bytes, version: int) -> bytes:
        """Return the certificate that a client sees."""
        met = meet(store, name, version=version)
        certificate = met.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.public_bytes(Encoding.PEM)

    def test_every_order(self) -> None:
        """The order in the settings decides, whatever else is asked or built."""
        for number, order in enumerate(self.VARIANTS):
            version = VERSIONS[number % 2]
            # Built twice, as a reload of the same settings does.
            for _ in range(2):
                store = CertificateStore.of([leaf(*names).pair() for names in order], NOW)
                for name in SHARED_NAMES:
                    wanted = first_with(order, name).pem
                    self.assertEqual(self.shown(store, name, version), wanted, name)

    def test_asking_changes_nothing(self) -> None:
        """Whatever was asked before, by whom and how often, the answer is the same."""
        store = CertificateStore.of([leaf(*names).pair() for names in self.VARIANTS[0]], NOW)
        for before, name in product(SHARED_NAMES, SHARED_NAMES):
            self.shown(store, before, VERSIONS[0])
            wanted = first_with(self.VARIANTS[0], name).pem
            self.assertEqual(self.shown(store, name, VERSIONS[0]), wanted, (before, name))
