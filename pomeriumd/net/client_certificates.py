"""
Which clients are asked for a certificate, and whether the one that they show is good.

A handshake asks by the name that the client wants (SNI), takes whatever certificate comes, and
has the client prove that it holds the key. Whether it counts is found afterwards, by the rule of
the route that a request is for: so the answer can say what is wrong, a route cannot be reached
under the rule of another one, and a list of revoked certificates that comes with a reload
counts for connections that are open already. Only ``reject_connection`` is settled in the
handshake, by the same code.

Chains are built and verified by OpenSSL (``X509_verify_cert``), as every other TLS server does
it; cryptography's own verifier asks of a certificate what the web's authorities have to do, which
many an internal one does not, and does not tell apart why it said no. Revocation is ours: only
the list of the leaf's issuer counts, and one that is out of date is a refusal.

Source: RFC 5280, section 6; Pomerium's ``downstream_mtls``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from OpenSSL import SSL, crypto
from OpenSSL._util import lib

from pomeriumd.access import decision as why
from pomeriumd.access.client_certificate import NAME_MOST, ClientCertificate, facts

NAMES_SIZE = 16_384
"""Bytes of the issuers' names that a handshake may list; with more, none are, and the browser
offers every certificate that it has."""

DEEPEST = 10
"""Certificates that may come with the client's own; a hundred fit into a handshake, and each
would cost the signature that it bears."""

RULES = 8
"""Verdicts that a connection keeps: as many as it has routes with rules of their own."""

REFUSED_SECONDS = 10.0
"""For which a refusal holds before it is looked at again: it may begin to be valid."""

SIGNED = 64
"""Answers kept on whether a list was signed by an issuer."""

RSA_BITS, EC_BITS = 2048, 224
"""Of the smallest keys that count: OpenSSL's security level 2."""

_WORDS = {
    9: why.CERTIFICATE_NOT_YET,
    10: why.CERTIFICATE_EXPIRED,
    13: why.CERTIFICATE_MALFORMED,
    14: why.CERTIFICATE_MALFORMED,
}
"""By OpenSSL's number (x509_vfy.h); whatever else it says is that nobody it trusts issued it."""

_NOT_FOR_CLIENTS = lib.X509_V_ERR_INVALID_PURPOSE

_visible = re.compile(r"[!-~]+").fullmatch


@attrs.frozen
class Verdict:
    """What a rule says of a certificate."""

    certificate: ClientCertificate | None
    """None where it does not count."""
    word: str = ""
    """Why not."""
    until: float = 0.0
    """Seconds since the epoch up to which it holds."""


@attrs.define(eq=False)
class ClientRule:
    """
    What makes a client certificate good; used on one thread.

    Args:
        anchors: who is trusted, roots or not.
        lists: what is revoked.
        matchers: kind and expression of names, of which one has to match; none to ask for none.
        depth: most issuers up to an anchor; 0 is without a bound.
    """

    anchors: tuple[x509.Certificate, ...]
    lists: Sequence[x509.CertificateRevocationList] = ()
    matchers: Sequence[tuple[str, str]] = ()
    depth: int = 1
    _trusted: tuple[crypto.X509, ...] = attrs.field(init=False, repr=False)
    _lists: dict[x509.Name, list[x509.CertificateRevocationList]] = attrs.field(
        init=False, repr=False
    )
    _matchers: tuple[tuple[str, re.Pattern[str]], ...] = attrs.field(init=False, repr=False)
    _signed: dict[tuple[int, x509.Certificate], bool] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self._trusted = tuple(map(crypto.X509.from_cryptography, self.anchors))
        self._lists = {}
        for one in self.lists:
            self._lists.setdefault(one.issuer, []).append(one)
        self._matchers = tuple((kind, re.compile(text)) for kind, text in self.matchers)

    def verify(self, leaf: crypto.X509, others: Sequence[crypto.X509], now: float) -> Verdict:
        """
        Say whether a certificate counts; whatever it holds, this raises nothing.

        Args:
            leaf: the client's own; it has proved that it has the key.
            others: what it sent besides, in any order.
            now: seconds since the epoch.
        """
        try:
            chain = self._chain(leaf, others, now)
            if isinstance(chain, str):
                return Verdict(None, chain, now + REFUSED_SECONDS)
            return self._judged(chain, now)
        except Exception:  # noqa: BLE001  # strangers write these; what cannot be read is none
            return Verdict(None, why.CERTIFICATE_MALFORMED, now + REFUSED_SECONDS)

    def _chain(
        self, leaf: crypto.X509, others: Sequence[crypto.X509], now: float
    ) -> list[x509.Certificate] | str:
        """Return the chain from the leaf to an anchor, or the word for why there is none."""
        try:
            store = self._store(datetime.fromtimestamp(now, UTC))
            found = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            number, depth, *_ = error.errors
            if number == _NOT_FOR_CLIENTS and depth == 0:
                return why.CERTIFICATE_NOT_FOR_CLIENTS
            return _WORDS.get(number, why.CERTIFICATE_UNTRUSTED)
        return [one.to_cryptography() for one in found]

    def _store(self, today: datetime) -> crypto.X509Store:
        """Return what OpenSSL goes by; a new one, since it takes one time and no second one."""
        store = crypto.X509Store()
        for anchor in self._trusted:
            store.add_cert(anchor)
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        # pyOpenSSL has no name for it; it is what makes OpenSSL look at the extended key usage.
        lib.X509_STORE_set_purpose(store._store, lib.X509_PURPOSE_SSL_CLIENT)  # noqa: SLF001
        store.set_time(today)
        return store

    def _judged(self, chain: list[x509.Certificate], now: float) -> Verdict:
        issued = chain[:-1] or chain
        listed = self._list_of(chain[1]) if len(chain) > 1 else None
        word = ""
        if self.depth and len(chain) - 1 > self.depth:
            word = why.CERTIFICATE_TOO_DEEP
        elif any(map(_weak, issued)):
            word = why.CERTIFICATE_WEAK
        elif listed is not None:
            word = listed if isinstance(listed, str) else _revoked(chain[0], listed, now)
        certificate = facts(chain[0])
        if not word and not self._named(certificate):
            word = why.CERTIFICATE_NAME
        if word:
            return Verdict(None, word, now + REFUSED_SECONDS)
        ends = [one.not_valid_after_utc for one in chain]
        if isinstance(listed, x509.CertificateRevocationList) and listed.next_update_utc:
            ends.append(listed.next_update_utc)
        return Verdict(certificate, "", min(ends).timestamp())

    def _list_of(self, issuer: x509.Certificate) -> x509.CertificateRevocationList | str | None:
        """Return the issuer's newest list; None if there is none, a word if none is its own."""
        named = self._lists.get(issuer.subject, [])
        own = [one for one in named if self._is_signed(one, issuer)]
        if not own:
            return why.CERTIFICATE_LIST if named else None
        return max(own, key=lambda one: one.last_update_utc)

    def _is_signed(self, one: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
        key = (id(one), issuer)
        if key not in self._signed:
            if len(self._signed) >= SIGNED:
                self._signed.clear()
            self._signed[key] = one.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # else TypeError
        return self._signed[key]

    def _named(self, certificate: ClientCertificate) -> bool:
        # Expressions were found safe for visible ASCII, and for nothing else.
        return not self._matchers or any(
            pattern.fullmatch(name)
            for kind, pattern in self._matchers
            for name in certificate.named(kind)
            if len(name) <= NAME_MOST and _visible(name)
        )

    def stale(self, now: float) -> list[str]:
        """Return whose lists are out of date, for the log."""
        today = datetime.fromtimestamp(now, UTC)
        return [
            f"{one.issuer.rfc4514_string()} (due since {one.next_update_utc:%Y-%m-%d %H:%M} UTC)"
            for one in self.lists
            if one.next_update_utc is not None and one.next_update_utc < today
        ]


def _revoked(leaf: x509.Certificate, listed: x509.CertificateRevocationList, now: float) -> str:
    if listed.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None:
        return why.CERTIFICATE_REVOKED
    due = listed.next_update_utc
    return why.CERTIFICATE_LIST if due is not None and due.timestamp() < now else ""


def _weak(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS:
        return True
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < EC_BITS:
        return True
    return isinstance(certificate.signature_hash_algorithm, (MD5, SHA1))


@attrs.frozen
class Ask:
    """What the clients that want one host are asked for."""

    rules: tuple[ClientRule, ...]
    """Of its routes, each once."""
    reject: bool = False
    """Without a certificate that is good by one of them there is no connection."""


class Asked(SSL.Connection):
    """A connection that remembers what its client was asked for."""

    ask: Ask | None = None
    now: Callable[[], float]
    seen: dict[int, crypto.X509] | None = None
    admitted = False
    turned_away = ""
    """The word for why the handshake was ended."""


@attrs.frozen(eq=False)
class Asks:
    """What is asked for at one listener, by the name in the client's hello."""

    _hosts: Mapping[bytes, Ask] = attrs.field(factory=dict)
    """By canonical host."""
    default: Ask | None = None
    """For all other names, and for none."""
    now: Callable[[], float] = attrs.field(kw_only=True)
    """Seconds since the epoch."""

    def of(self, server_name: bytes | None) -> Ask | None:
        """Return what is asked for under a name, in any case; None for nothing."""
        if server_name is None:
            return self.default
        return self._hosts.get(server_name.lower().removesuffix(b"."), self.default)

    def rules(self) -> tuple[ClientRule, ...]:
        """Return every rule once."""
        asks = (*self._hosts.values(), *((self.default,) if self.default else ()))
        return tuple(dict.fromkeys(rule for ask in asks for rule in ask.rules))

    @property
    def _rejects(self) -> bool:
        return any(ask.reject for ask in (*self._hosts.values(), self.default) if ask is not None)

    def prepare(self, context: SSL.Context) -> None:
        """
        Make a context of the listener fit for these; nothing if nobody is asked.

        No session may resume then, whatever its name: one that was begun at a host that asks for
        nothing would be let go on at one that does, and no certificate would be asked for.
        """
        rules = self.rules()
        if not rules:
            return
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(SSL.VERIFY_NONE, _taken)
        # What OpenSSL finds in the handshake counts for nothing, so it need not look far: the
        # rest of the chain is handed over only where the handshake is to be ended by it.
        context.set_verify_depth(DEEPEST if self._rejects else 0)
        anchors = {a.subject: a for rule in rules for a in rule.anchors}
        if sum(len(name.public_bytes()) for name in anchors) <= NAMES_SIZE:
            for anchor in anchors.values():
                context.add_client_ca(anchor)

    def ask(self, connection: SSL.Connection) -> None:
        """
        Ask as the name in the client's hello says; for the servername callback, must not raise.

        On the connection: another context brings its certificate along, and not how it verifies.
        """
        ask = self.of(connection.get_servername())
        if ask is None:
            return
        # Attributes, since OpenSSL gives a callback nothing else that belongs to the connection.
        connection.ask, connection.now = ask, self.now  # type: ignore[attr-defined]
        must = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if ask.reject else 0
        connection.set_verify(SSL.VERIFY_PEER | must)


NOBODY_ASKED = Asks(now=lambda: 0.0)


def _taken(connection: SSL.Connection, one: crypto.X509, _: int, depth: int, ok: int) -> bool:
    """Take each certificate as it comes; with ``reject``, the whole by its last one."""
    ask: Ask | None = getattr(connection, "ask", None)
    if ask is None or not ask.reject:
        return True
    seen: dict[int, crypto.X509] = getattr(connection, "seen", None) or {}
    seen[depth] = one
    connection.seen = seen  # type: ignore[attr-defined]  # as above
    if depth or not ok:
        return True  # OpenSSL ends with the leaf, once nothing is left to complain of
    now = connection.now()
    others = [seen[at] for at in sorted(seen) if at]
    verdicts = [rule.verify(one, others, now) for rule in ask.rules]
    good = any(verdict.certificate is not None for verdict in verdicts)
    connection.admitted, connection.seen = good, None  # type: ignore[attr-defined]
    connection.turned_away = "" if good else verdicts[0].word  # type: ignore[attr-defined]
    return good


@attrs.define(eq=False)
class Shown:
    """What the client of one connection was asked for, and what it has shown."""

    server_name: bytes | None
    """The name that it was asked under."""
    leaf: crypto.X509 | None
    """None if it showed nothing."""
    others: tuple[crypto.X509, ...] = ()
    _verdicts: dict[ClientRule, Verdict] = attrs.Factory(dict)

    def verdict(self, rule: ClientRule, now: float) -> Verdict:
        """Say whether what was shown counts under a rule at this time."""
        found = self._verdicts.get(rule)
        if found is None or now >= found.until:
            if self.leaf is None:
                return Verdict(None, why.CERTIFICATE_REQUIRED)
            if len(self._verdicts) >= RULES:
                self._verdicts.clear()
            found = self._verdicts[rule] = rule.verify(self.leaf, self.others, now)
        return found

    @property
    def title(self) -> str:
        """Return what the certificate's owner knows it by; "" if that cannot be read."""
        if self.leaf is None:
            return ""
        try:
            return self.leaf.to_cryptography().subject.rfc4514_string()
        except Exception:  # noqa: BLE001  # as above
            return ""


def shown(connection: SSL.Connection) -> Shown | None:
    """
    Return what the client of a complete handshake showed; None if it was asked for nothing.

    Raises:
        Unproved: it has shown nothing that it may be here with, where that is wanted.
    """
    ask: Ask | None = getattr(connection, "ask", None)
    if ask is None:
        return None
    if ask.reject and not getattr(connection, "admitted", False):
        raise Unproved("no client certificate that counts")
    leaf = connection.get_peer_certificate()
    others: Iterable[crypto.X509] = connection.get_peer_cert_chain() or ()
    return Shown(connection.get_servername(), leaf, tuple(others)[:DEEPEST])


class Unproved(Exception):
    """A handshake that is complete, though the client was to be turned away in it."""
