"""Tests for pomeriumd.crypto.keys."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.keys import OwnKeys, Purpose, SharedKeys, derive, mark, ring

ROOT = bytes(range(32))


class DeriveTests(SynchronousTestCase):
    """derive() gives each purpose its own key, the same on every machine."""

    def test_the_key_is_pinned(self) -> None:
        """The way from a secret to a key does not change under a running pair of hosts."""
        self.assertEqual(
            derive(ROOT, Purpose.SIGNED_URL).hex(),
            "017396c2fa0fdad10ae05d9547de19ebfeb5cfc17042ac022702a57446adbae3",
        )

    def test_no_two_purposes_share_a_key(self) -> None:
        """Keys of different purposes differ, and so do those of different roots."""
        keys = [derive(root, p) for root in (ROOT, b"\x01" * 32) for p in Purpose]
        self.assertEqual(len(set(keys)), len(keys))

    def test_the_mark_is_pinned(self) -> None:
        """Two replicas of different versions show one secret by one mark."""
        self.assertEqual(mark(ROOT), "a57fcbb7")

    def test_the_size_is_what_was_asked_for(self) -> None:
        """A key may be longer than the hash."""
        self.assertEqual([len(derive(ROOT, Purpose.GRPC, n)) for n in (16, 32, 48)], [16, 32, 48])

    def test_refuses_a_short_root(self) -> None:
        """A secret under 32 bytes is no root, and is not shown."""
        with self.assertRaises(ValueError) as caught:
            derive(b"short", Purpose.HANDOFF)
        self.assertEqual(str(caught.exception), "secret is 5 bytes, want 32 at least")

    def test_refuses_no_root(self) -> None:
        """A ring without a key would verify nothing and sign nothing."""
        with self.assertRaises(ValueError) as caught:
            ring((), Purpose.HANDOFF)
        self.assertEqual(str(caught.exception), "no secret to derive keys from")


class RingTests(SynchronousTestCase):
    """The rings hold the keys in force first, and show none of them."""

    def test_the_first_root_gives_the_first_key(self) -> None:
        """The secret in force signs; the previous one follows."""
        old = b"\x01" * 32
        keys = SharedKeys.derived((ROOT, old))
        self.assertEqual(
            keys.handoff, (derive(ROOT, Purpose.HANDOFF), derive(old, Purpose.HANDOFF))
        )

    def test_no_ring_is_another(self) -> None:
        """No two rings of either secret have a key in common."""
        shared, own = SharedKeys.derived((ROOT,)), OwnKeys.derived((ROOT,))
        rings = [
            *(shared.signed_url, shared.route_session, shared.route_login, shared.handoff),
            *(shared.csrf, own.session, own.login, own.csrf),
        ]
        for one, other in itertools.combinations(rings, 2):
            self.assertFalse(set(one) & set(other))

    def test_repr_shows_no_key(self) -> None:
        """Keys do not reach a log by way of repr."""
        for keys in (SharedKeys.derived((ROOT,)), OwnKeys.derived((ROOT,))):
            self.assertNotIn("b'", repr(keys))
            self.assertNotIn('b"', repr(keys))
