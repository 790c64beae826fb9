"""Tests of pomeriumd.daemon.frames: settings as bytes, and back in pieces."""

from __future__ import annotations

import os
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import pomeriumd
from pomeriumd.daemon import frames
from pomeriumd.daemon.frames import EACH, MOST_NAMES, BadFrames, reading
from pomeriumd.settings.check import check
from pomeriumd.settings.values import CertificatePair, Secret
from tests.support.memory import framed, memory
from tests.support.settings_files import (
    SHARED_SECRET,
    authorize,
    cluster,
    pair,
    route,
    settings,
    tree,
)

KEPT = Secret(b"k" * 32)


def routes(count: int, **more: Any) -> list[dict[str, Any]]:
    """Return so many routes."""
    return [route(**{"from": f"https://r{number}.example.com", **more}) for number in range(count)]


class RoundTripTests(SynchronousTestCase):
    """What was written is read again."""

    def test_everything(self) -> None:
        """Settings with every kind of value come back equal, with digest and kept secret."""
        chain, key = pair()
        given = settings(
            shared_secret=SHARED_SECRET,
            signing_key=key.decode(),
            trusted_proxies=["192.0.2.0/24", "::1"],
            policy=[
                *routes(EACH + 1),
                route(
                    to="https://b",
                    tls_client_cert=chain.decode(),
                    tls_client_key=key.decode(),
                    timeout="9s",
                ),
            ],
        )
        pairs = tuple(
            CertificatePair(chain=chain, key=Secret(key), place=f"certificates[{number}]")
            for number in range(EACH + 1)
        )
        wanted = framed(attrs.evolve(given, certificates=pairs), KEPT)
        self.assertEqual(frames.read(memory(self, wanted)), wanted)

    @given(st.integers(0, 3 * EACH), st.integers(0, 3 * EACH))
    def test_any_number(self, certificates: int, count: int) -> None:
        """However many routes and certificates there are, all come back in order."""
        pairs = tuple(
            CertificatePair(chain=b"c%d" % number, key=Secret(b"k"), place="")
            for number in range(certificates)
        )
        wanted = framed(attrs.evolve(settings(policy=routes(count)), certificates=pairs))
        descriptor = memory(self, wanted)
        self.assertEqual(frames.read(descriptor), wanted)

    @given(st.lists(st.integers(0, EACH + 1), max_size=4))
    def test_routes_of_clusters(self, counts: list[int]) -> None:
        """Each cluster gets its own routes again, and the header has none of them."""
        given = check(
            tree(
                authorize(
                    clusters=[
                        cluster(
                            f"c{at}",
                            routes=[
                                route(**{"from": f"https://c{at}.example.com", "prefix": f"/{n}"})
                                for n in range(count)
                            ],
                        )
                        for at, count in enumerate(counts)
                    ]
                )
            )
        )
        descriptor = memory(self, framed(given))
        self.assertEqual(frames.read(descriptor).settings, given)
        self.assertEqual(frames.header(descriptor).settings.all_routes, ())
        self.assertEqual(len(given.all_routes), sum(counts))

    def test_again(self) -> None:
        """Several processes have the same descriptor: who reads moves nothing for the others."""
        wanted = framed(settings(policy=routes(EACH * 2)))
        descriptor = memory(self, wanted)
        first, second = reading(descriptor), reading(os.dup(descriptor))
        next(first)
        next(second)
        next(first)
        self.assertEqual(frames.read(descriptor), wanted)

    def test_header(self) -> None:
        """The header alone has everything but certificates and routes."""
        given = settings(policy=routes(3), log_level="debug")
        found = frames.header(memory(self, framed(given, KEPT)))
        self.assertEqual(
            found,
            framed(given, KEPT).__class__(
                settings=attrs.evolve(given, routes=()), digest=framed(given).digest, kept=KEPT
            ),
        )

    def test_a_long_value_is_there_once(self) -> None:
        """Certificates that all routes name are written, and are in memory, once."""
        chain, _ = pair()
        given = settings(policy=routes(500, to="https://b", tls_custom_ca=chain.decode()))
        descriptor = memory(self, framed(given))
        self.assertLess(os.fstat(descriptor).st_size, 500 * len(chain))
        found = frames.read(descriptor).settings.routes
        self.assertEqual(len({id(one.tls_custom_ca) for one in found}), 1)


class PieceTests(SynchronousTestCase):
    """Reading can be interrupted."""

    def sizes(self, given: list[dict[str, Any]]) -> list[int]:
        """Return how many routes each frame has."""
        return [len(frame) for frame in frames._cut(settings(policy=given).routes)]

    def test_so_many_in_a_frame(self) -> None:
        """A frame has no more than EACH routes."""
        self.assertEqual(self.sizes(routes(2 * EACH + 1)), [EACH, EACH, 1])

    def test_long_lists(self) -> None:
        """Routes with long lists of users have shorter frames."""
        names = [f"u{number}@example.com" for number in range(MOST_NAMES // 4)]
        self.assertEqual(self.sizes(routes(9, allowed_users=names)), [4, 4, 1])

    def test_one_route_with_more_than_fits(self) -> None:
        """A single route whose list alone is longer has a frame of its own."""
        names = [f"u{number}@example.com" for number in range(MOST_NAMES + 1)]
        self.assertEqual(self.sizes(routes(3, allowed_users=names)), [1, 1, 1])

    def test_pauses_between_frames(self) -> None:
        """There is a pause after the header and after each frame."""
        work = reading(memory(self, framed(settings(policy=routes(4 * EACH)))))
        self.assertEqual(sum(1 for _ in work), 1 + 4)


class RefusalTests(SynchronousTestCase):
    """What is no whole set of settings is refused, with what to do."""

    def refused(self, content: bytes, wanted: str) -> None:
        """Assert that reading refuses octets in these words, whole or by the header."""
        with self.assertRaises(BadFrames) as caught:
            frames.read(memory(self, content))
        self.assertEqual(str(caught.exception), wanted)

    def written(self) -> bytes:
        """Return good frames."""
        descriptor = memory(self, framed(settings(policy=routes(EACH + 1))))
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def test_nothing(self) -> None:
        """Memory that nobody wrote to."""
        self.refused(b"", "no settings have been written; reload again")

    def test_another_version(self) -> None:
        """Frames of another version: nothing of them is unpickled."""
        wanted = (
            f"the settings were written by another version than {pomeriumd.__version__}, which "
            "reads them; restart pomeriumd to run the one that is installed"
        )
        _, _, rest = self.written().partition(b"\n")
        for mark in (b"pomeriumd 99.0 settings\n", b"\n", b""):
            self.refused(mark + rest, wanted)

    def test_cut_short(self) -> None:
        """Frames that end anywhere are refused: there is no half of the routes."""
        whole = self.written()
        for size in range(len(whole) - 1, len(whole) // 2, -97):
            with self.assertRaises(BadFrames):
                frames.read(memory(self, whole[:size]))

    def test_no_shared_secret(self) -> None:
        """Without a secret that is set or kept there is none to go on with."""
        self.assertEqual(framed(settings(), KEPT).shared_secret, b"k" * 32)
        own = framed(settings(shared_secret=SHARED_SECRET), KEPT)
        self.assertEqual(own.shared_secret, bytes(range(32, 64)))
        with self.assertRaises(BadFrames):
            _ = framed(settings()).shared_secret

    def test_no_secret_is_shown(self) -> None:
        """What travels shows no secret in its repr."""
        shown = repr(framed(settings(shared_secret=SHARED_SECRET), KEPT))
        self.assertNotIn("kkkk", shown)
        self.assertNotIn(repr(bytes(range(32, 64))), shown)
