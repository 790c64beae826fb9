"""What upstreams are told: verified with PyJWT as they would, and hostile claims."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import jwt
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access import assertion
from pomeriumd.access.assertion import IdentityHeaders, encoded
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.http.fields import FieldLines, read_fields
from pomeriumd.session.session import Identity, Session

NOW = 1_800_000_000
HOST = "app.example.com"
KEY = SigningKey.derived(bytes(32))

ANN = Identity(
    issuer="https://id.example.com",
    subject="00u1",
    email="ann@example.com",
    name="Ann \u00c4rmel",
    groups=("admins", "Domain Users"),
)


def session(identity: Identity = ANN, *, id: str = "s1", seen: int = NOW) -> Session:  # noqa: A002 - the attribute's name
    """Return a session of this person."""
    return Session(
        id=id,
        identity=identity,
        issuer="https://authenticate.example.com",
        audience=f"{HOST}:443",
        auth_time=NOW - 60,
        checked=NOW - 60,
        recheck=NOW + 540,
        seen=seen,
        expires=NOW + 3600,
    )


def fields(identity: Identity = ANN, now: float = NOW) -> dict[bytes, bytes]:
    """Return what a fresh IdentityHeaders says of this person."""
    return dict(read_fields(IdentityHeaders(KEY).lines(session(identity), HOST, now)))


def claims(value: bytes, *, host: str = HOST) -> dict[str, Any]:
    """Verify an assertion by the published JWKS, as an upstream does."""
    document = json.loads(IdentityHeaders(KEY).jwks())
    keys = {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}
    key = keys[jwt.get_unverified_header(value)["kid"]]
    return jwt.decode(
        value,
        key,
        algorithms=["ES256"],
        audience=host,
        issuer=host,
        options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "jti", "sub"]},
    )


def decoded(value: bytes) -> str:
    """Read a value back as the manual tells upstreams to."""
    if value[:7].lower() != b"utf-8''":
        return value.decode("ascii")
    return unquote_to_bytes(value[7:]).decode("utf-8", "surrogatepass")


class PlainFieldsTests(SynchronousTestCase):
    """x-pomerium-authenticated-user-*."""

    def test_all(self) -> None:
        """Id, e-mail and groups stand there as they are when they are visible ASCII."""
        told = fields()
        self.assertEqual(
            list(told),
            [
                b"x-pomerium-jwt-assertion",
                b"x-pomerium-authenticated-user-id",
                b"x-pomerium-authenticated-user-email",
                b"x-pomerium-authenticated-user-groups",
            ],
        )
        self.assertEqual(told[assertion.USER_ID], b"00u1")
        self.assertEqual(told[assertion.USER_EMAIL], b"ann@example.com")
        self.assertEqual(told[assertion.USER_GROUPS], b"admins,Domain Users")

    def test_nothing_to_say(self) -> None:
        """Without e-mail and groups their fields are absent, not empty."""
        told = fields(attrs.evolve(ANN, email=None, groups=(), name=None))
        self.assertEqual(list(told), [assertion.ASSERTION, assertion.USER_ID])
        self.assertEqual(claims(told[assertion.ASSERTION])["groups"], [])

    def test_encodes(self) -> None:
        """What is not visible ASCII is an RFC 8187 extended value."""
        self.assertEqual(encoded("J\u00fcrgen"), b"UTF-8''J%C3%BCrgen")
        self.assertEqual(encoded(" a"), b"UTF-8''%20a")
        self.assertEqual(encoded("a\r\nX: y\0"), b"UTF-8''a%0D%0AX%3A%20y%00")
        self.assertEqual(encoded("a b"), b"a b")

    def test_what_looks_encoded_is_encoded(self) -> None:
        """Nobody becomes somebody else by choosing a name that decodes to theirs."""
        self.assertEqual(encoded("UTF-8''boss"), b"UTF-8''UTF-8%27%27boss")
        self.assertEqual(encoded("utf-8''boss"), b"UTF-8''utf-8%27%27boss")

    def test_a_comma_does_not_part_a_group(self) -> None:
        """One group with a comma in its name stays one group."""
        told = fields(attrs.evolve(ANN, groups=("a,admins", "b", "c%2Cd")))
        self.assertEqual(told[assertion.USER_GROUPS], b"UTF-8''a%2Cadmins,b,c%2Cd")

    @given(st.text(st.characters()), st.text(st.characters()))
    @example("a\u00e4", "UTF-8''a%C3%A4")
    @example("\ud800", "?")
    def test_reads_back(self, one: str, other: str) -> None:
        """Every text can be read again, so no two are told alike."""
        self.assertEqual(decoded(encoded(one)), one)
        self.assertEqual(encoded(one) == encoded(other), one == other)

    @given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=5).map(tuple))
    @example(("", ",", ""))
    def test_groups_read_back(self, groups: tuple[str, ...]) -> None:
        """Splitting at commas and decoding gives the groups, whatever their names."""
        value = fields(attrs.evolve(ANN, groups=groups))[assertion.USER_GROUPS]
        self.assertEqual(tuple(map(decoded, value.split(b","))), groups)


hostile = st.text(st.sampled_from("\r\n\0\t:, \x0b\x0c\x1c\x85\u2028\u00e4\ud800aB%'")) | st.text()
people = st.builds(
    Identity,
    issuer=st.just(ANN.issuer),
    subject=hostile,
    email=st.none() | hostile,
    name=st.none() | hostile,
    groups=st.lists(hostile, max_size=4).map(tuple),
)


class HostileClaimsTests(SynchronousTestCase):
    """Claims that want to break out of a field."""

    @given(people)
    def test_no_claim_breaks_a_field(self, who: Identity) -> None:
        """Every value is visible ASCII with spaces inside at most; every name comes once."""
        told = read_fields(IdentityHeaders(KEY).lines(session(who), HOST, NOW))
        for _, value in told:
            self.assertRegex(value, rb"\A[!-~](?:[ -~]*[!-~])?\Z")
            self.assertNotIn(b"\n", value)
        names = [name for name, _ in told]
        self.assertEqual(len(names), len(set(names)))

    @given(people)
    def test_claims_arrive_as_they_are(self, who: Identity) -> None:
        """The verified assertion holds exactly what the provider said."""
        told = claims(fields(who)[assertion.ASSERTION])
        self.assertEqual(told["sub"], who.subject)
        self.assertEqual(told.get("email"), who.email)
        self.assertEqual(told.get("name"), who.name)
        self.assertEqual(told["groups"], list(who.groups))


class AssertionTests(SynchronousTestCase):
    """x-pomerium-jwt-assertion."""

    def test_claims(self) -> None:
        """The claims are those of the manual; the times are whole seconds."""
        told = claims(fields(now=NOW + 0.9)[assertion.ASSERTION])
        self.assertEqual(len(told.pop("jti")), 32)
        self.assertEqual(
            told,
            {
                "iss": HOST,
                "aud": HOST,
                "sub": "00u1",
                "user": "00u1",
                "sid": "s1",
                "email": "ann@example.com",
                "name": "Ann \u00c4rmel",
                "groups": ["admins", "Domain Users"],
                "iat": NOW,
                "exp": NOW + 300,
            },
        )
        self.assertEqual([type(told[name]) for name in ("iat", "exp")], [int, int])

    def test_header(self) -> None:
        """It is ES256, a JWT, and names the key in the JWKS."""
        header = jwt.get_unverified_header(fields()[assertion.ASSERTION])
        self.assertEqual(header, {"alg": "ES256", "typ": "JWT", "kid": KEY.kid})

    def test_for_one_host(self) -> None:
        """An assertion for one host does not verify at another."""
        made = IdentityHeaders(KEY)
        there = dict(read_fields(made.lines(session(), "other.example.com", NOW)))
        with self.assertRaises((jwt.InvalidAudienceError, jwt.InvalidIssuerError)):
            claims(there[assertion.ASSERTION])
        self.assertEqual(
            claims(there[assertion.ASSERTION], host="other.example.com")["sub"], "00u1"
        )

    def test_ids_differ(self) -> None:
        """Two assertions that differ in anything have different ids."""
        made = IdentityHeaders(KEY)
        many = [
            (session(), HOST, NOW),
            (session(), HOST, NOW + 60),
            (session(), "other.example.com", NOW),
            (session(id="s2"), HOST, NOW),
            (session(attrs.evolve(ANN, groups=())), HOST, NOW),
        ]
        ids = {
            claims(dict(read_fields(made.lines(*one)))[assertion.ASSERTION], host=one[1])["jti"]
            for one in many
        }
        self.assertEqual(len(ids), len(many))

    def test_jwks_has_no_private_part(self) -> None:
        """What is published can verify and not sign."""
        (key,) = json.loads(IdentityHeaders(KEY).jwks())["keys"]
        self.assertEqual(set(key), {"alg", "crv", "kid", "kty", "use", "x", "y"})

    def test_a_key_that_is_published_only(self) -> None:
        """In a rotation each replica signs with its key, and publishes the other's as well."""
        other = SigningKey.derived(bytes(range(100, 132)))
        here, there = (
            IdentityHeaders(one, (another.jwk(),)) for one, another in ((KEY, other), (other, KEY))
        )
        for made, key in ((here, KEY), (there, other)):
            told = dict(read_fields(made.lines(session(), HOST, NOW)))[assertion.ASSERTION]
            self.assertEqual(jwt.get_unverified_header(told)["kid"], key.kid)
            published = json.loads(made.jwks())["keys"]
            self.assertEqual({one["kid"] for one in published}, {KEY.kid, other.kid})

    def test_no_key_in_repr(self) -> None:
        """Neither the key nor an assertion shows in repr."""
        made = IdentityHeaders(KEY)
        made.lines(session(), HOST, NOW)
        self.assertEqual(repr(made), "IdentityHeaders()")


class SizeTests(SynchronousTestCase):
    """Nothing is cut; what is too long is left out, and the assertion says so."""

    def test_groups_just_short_enough(self) -> None:
        """8 KiB of groups still go out, in the field and in the claim while it fits."""
        told = fields(attrs.evolve(ANN, groups=("a" * 4000,)))
        self.assertEqual(told[assertion.USER_GROUPS], b"a" * 4000)
        self.assertEqual(claims(told[assertion.ASSERTION])["groups"], ["a" * 4000])

    def test_too_many_groups(self) -> None:
        """Above 8 KiB field and claim are left out together, never a part of them."""
        told = fields(attrs.evolve(ANN, groups=tuple(f"group-{n:04}" for n in range(800))))
        self.assertNotIn(assertion.USER_GROUPS, told)
        stated = claims(told[assertion.ASSERTION])
        self.assertNotIn("groups", stated)
        self.assertIs(stated["groups_left_out"], True)
        self.assertEqual(told[assertion.USER_EMAIL], b"ann@example.com")

    @given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 20_000))
    @example(0, 0, 7_000)
    def test_every_value_is_bounded(self, name: int, subject: int, group: int) -> None:
        """No value is longer than 8 KiB, whatever the provider sends."""
        who = attrs.evolve(ANN, name="n" * name, subject="s" * subject, groups=("g" * group,))
        for value in fields(who).values():
            self.assertLessEqual(len(value), assertion.VALUE_SIZE)


class MemoryTests(SynchronousTestCase):
    """Signed once for a session, a host and a minute."""

    def setUp(self) -> None:
        """Make one to ask many times."""
        self.made = IdentityHeaders(KEY)

    def told(self, who: Session, now: float, host: str = HOST) -> FieldLines:
        """Return the fields."""
        return self.made.lines(who, host, now)

    def test_signs_once_a_minute(self) -> None:
        """The same value is handed out for a minute, then a new one."""
        first = self.told(session(), NOW)
        self.assertIs(self.told(session(), NOW + 59.9), first)
        self.assertIsNot(self.told(session(), NOW + 60), first)

    def test_a_clock_set_back(self) -> None:
        """After the clock went back no assertion from the future is handed out."""
        self.told(session(), NOW + 100)
        again = dict(read_fields(self.told(session(), NOW)))
        self.assertEqual(claims(again[assertion.ASSERTION])["iat"], NOW)

    def test_another_use_of_the_session(self) -> None:
        """A session that was merely used again has the same assertion."""
        first = self.told(session(), NOW)
        same_person = attrs.evolve(ANN)
        self.assertIsNot(same_person, ANN)
        self.assertIs(self.told(session(same_person, seen=NOW + 20), NOW + 20), first)

    def test_a_changed_identity(self) -> None:
        """Groups that changed at a renewal are told at once, not after the minute."""
        self.told(session(), NOW)
        after = dict(
            read_fields(self.told(session(attrs.evolve(ANN, groups=("guests",))), NOW + 1))
        )
        self.assertEqual(after[assertion.USER_GROUPS], b"guests")
        self.assertEqual(claims(after[assertion.ASSERTION])["groups"], ["guests"])

    def test_sessions_are_kept_apart(self) -> None:
        """Session id and host are both part of what is remembered."""
        ids = {
            claims(
                dict(read_fields(self.told(session(id=sid), NOW, host)))[assertion.ASSERTION],
                host=host,
            )["jti"]
            for sid, host in (("a", "b"), ("a", "bc"), ("ab", "c"), ("ab", "b"))
        }
        self.assertEqual(len(ids), 4)

    def test_is_bounded_in_number(self) -> None:
        """However many sessions come, a bounded number is kept; the least used goes."""
        self.patch(assertion, "KEPT_MOST", 3)
        first = self.told(session(id="0"), NOW)
        for number in (1, 2):
            self.told(session(id=f"{number}"), NOW)
        self.assertIs(self.told(session(id="0"), NOW), first)
        self.told(session(id="3"), NOW)
        self.assertEqual([sid for sid, _ in self.made._kept], ["2", "0", "3"])

    def test_is_bounded_in_size(self) -> None:
        """Long group lists push out older assertions, and the count of bytes stays true."""
        self.patch(assertion, "KEPT_SIZE", 20_000)
        long = attrs.evolve(ANN, groups=("g" * 3000,))
        for number in range(20):
            self.told(session(long, id=f"{number}"), NOW + 60 * (number % 2))
            self.told(session(long, id="again"), NOW + 60 * number)
            kept = [len(one.lines) for one in self.made._kept.values()]
            self.assertEqual(self.made._size, sum(kept))
            self.assertLessEqual(self.made._size, 20_000)
        self.assertEqual(len(self.made._kept), 2)
