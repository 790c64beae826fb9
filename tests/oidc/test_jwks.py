"""Tests for fetching a provider's keys, and for not fetching them too often."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.client import ProviderClient
from pomeriumd.oidc.discovery import Discovery
from pomeriumd.oidc.jwks import LAST_GOOD_AGE, MAX_AGE, PAUSE, KeySource
from pomeriumd.oidc.keyset import Key
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.oidc.waiting import Backoff

ISSUER = "https://idp.example.com"


def jwk(kid: str | None) -> dict[str, Any]:
    """Return a new key as a provider publishes it."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    named = {} if kid is None else {"kid": kid}
    return {**ECAlgorithm.to_jwk(key, as_dict=True), **named}


class Served(Resource):
    """Serves metadata and keys, and counts the requests for keys."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.keys = [jwk("a")]
        self.status = 200
        self.jwks = "jwks"
        self.silent = False

    def render(self, request: Request) -> Any:
        """Answer by path."""
        request.notifyFinish().addErrback(lambda _: None)
        path = request.path.decode("ascii")
        if path == "/.well-known/openid-configuration":
            ends = dict.fromkeys(("authorization_endpoint", "token_endpoint"), f"{ISSUER}/x")
            return json.dumps(
                {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/{self.jwks}", **ends}
            ).encode()
        self.asked.append(path)
        request.setResponseCode(self.status)
        return NOT_DONE_YET if self.silent else json.dumps({"keys": self.keys}).encode()


class KeySourceTests(SynchronousTestCase):
    """Keys are kept, an unknown one is looked for once, and a flood of them changes nothing."""

    def setUp(self) -> None:
        """Have a provider in memory."""
        self.clock = Clock()
        self.served = Served()
        client = ProviderClient(
            agent=RequestTraversalAgent(self.served), clock=self.clock, now=lambda: 0.0
        )

        def backoff() -> Backoff:
            return Backoff(clock=self.clock, random=lambda _: b"\x80\0")

        self.keys = KeySource(
            discovery=Discovery(
                issuer=ISSUER,
                kind=KINDS["oidc"],
                algorithms=("ES256",),
                client=client,
                clock=self.clock,
                now=lambda: 0.0,
                last_good=None,
                backoff=backoff(),
                log=Logger(),
            ),
            client=client,
            clock=self.clock,
            backoff=backoff(),
            log=Logger(),
        )

    def ask(self, kid: str | None) -> Deferred[tuple[Key, ...]]:
        """Ask for the keys of a token."""
        return Deferred.fromCoroutine(self.keys.fitting(kid, "ES256"))

    def found(self, kid: str | None) -> list[str | None]:
        """Return the ids of the keys that fit."""
        return [key.kid for key in self.successResultOf(self.ask(kid))]

    def failed(self, kid: str | None) -> str:
        """Return the text of the failure."""
        return str(self.failureResultOf(self.ask(kid), ProviderError).value)

    def test_fetched_once_and_kept_for_an_hour(self) -> None:
        """Not at the start, and not for each token."""
        self.assertEqual(self.served.asked, [])
        for _ in range(3):
            self.assertEqual(self.found("a"), ["a"])
        self.assertEqual(self.served.asked, ["/jwks"])
        self.clock.advance(MAX_AGE)
        self.found("a")
        self.assertEqual(len(self.served.asked), 2)

    def test_a_rotated_key_is_found(self) -> None:
        """The new kid triggers one fetch, and the old key is gone with it."""
        self.found("a")
        self.served.keys = [jwk("b")]
        self.clock.advance(PAUSE)
        self.assertEqual(self.found("b"), ["b"])
        self.assertEqual(self.found("a"), [])
        self.assertEqual(len(self.served.asked), 2)

    def test_a_flood_of_unknown_kids_is_one_fetch(self) -> None:
        """Until the pause is over unknown is unknown (O19)."""
        self.found("a")
        for number in range(100):
            self.assertEqual(self.found(f"x{number}"), [])
        self.assertEqual(len(self.served.asked), 1)
        self.clock.advance(PAUSE)
        for number in range(100):
            self.assertEqual(self.found(f"x{number}"), [])
        self.assertEqual(len(self.served.asked), 2)

    def test_an_unknown_kid_at_a_provider_that_is_down_is_its_failure(self) -> None:
        """Known keys go on meanwhile, and nobody asks in the back-off."""
        self.found("a")
        self.served.status = 500
        self.clock.advance(PAUSE)
        self.assertEqual(self.failed("b"), "key set: status 500, want 200")
        self.assertEqual(self.failed("b"), "key set: failed a moment ago, no ES256 key fits")
        self.assertEqual(self.found("a"), ["a"])
        self.assertEqual(len(self.served.asked), 2)

    def test_old_keys_stand_in_for_a_day(self) -> None:
        """Then the provider has to confirm them."""
        self.found("a")
        self.served.status = 500
        self.clock.advance(MAX_AGE)
        self.assertEqual(self.found("a"), ["a"])
        self.clock.advance(LAST_GOOD_AGE)
        self.failed("a")

    def test_first_fetch_that_fails_backs_off(self) -> None:
        """The failure is told, then remembered."""
        self.served.status = 500
        self.assertEqual(self.failed("a"), "key set: status 500, want 200")
        self.assertEqual(self.failed("a"), "key set: failed a moment ago, next try in 1 s")
        self.assertEqual(len(self.served.asked), 1)

    def test_keys_of_another_place_do_not_stay(self) -> None:
        """When the metadata names a new jwks_uri, fresh keys of the old one count no more."""
        self.found("a")
        self.clock.advance(PAUSE)
        self.found("b")
        self.served.jwks, self.served.keys = "new", [jwk("c")]
        self.clock.advance(MAX_AGE - PAUSE)
        self.assertEqual(self.found("a"), [])
        self.assertEqual(self.served.asked, ["/jwks", "/jwks", "/new"])

    def test_many_wait_for_one_fetch(self) -> None:
        """And all fail with it when it is late."""
        self.served.silent = True
        waiting = [self.ask("a") for _ in range(5)]
        self.assertEqual(len(self.served.asked), 1)
        self.clock.advance(5)
        for one in waiting:
            failure = self.failureResultOf(one, ProviderError)
            self.assertEqual(str(failure.value), "key set: no answer in 5 s")

    def renewed(self, kid: str | None, tried: tuple[Key, ...]) -> tuple[Key, ...]:
        """Return other keys than ``tried``."""
        return self.successResultOf(Deferred.fromCoroutine(self.keys.renewed(kid, "ES256", tried)))

    def test_a_nameless_key_is_renewed_once(self) -> None:
        """Rotation without kids is found by the signature that fails, after the pause."""
        self.served.keys = [jwk(None)]
        tried = self.successResultOf(self.ask(None))
        self.served.keys = [jwk(None)]
        self.assertEqual(self.renewed(None, tried), ())
        self.clock.advance(PAUSE)
        other = self.renewed(None, tried)
        self.assertEqual(len(other), 1)
        self.assertNotEqual(other, tried)
        self.clock.advance(PAUSE)
        self.assertEqual(self.renewed(None, other), ())
        self.assertEqual(self.renewed("a", tried), ())
        self.assertEqual(len(self.served.asked), 3)
