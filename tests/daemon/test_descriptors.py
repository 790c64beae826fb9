"""The limit of open files: raised as far as it may be, and said when that is not enough."""

from __future__ import annotations

import resource

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.descriptors import needed, provide, share
from pomeriumd.errors import Exhausted
from pomeriumd.net.peer import Peer
from tests.support.logged import Logged

SOFT, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)


class ProvideTests(SynchronousTestCase):
    """provide() sets this process's own limit."""

    def setUp(self) -> None:
        """Begin with a soft limit that is lower than it could be."""
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (SOFT, HARD))
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, HARD))
        self.logged = Logged(self)

    def limit(self) -> tuple[int, int]:
        """Return the soft limit and the hard one."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    def test_raised_to_the_hard_limit(self) -> None:
        """The soft limit becomes the hard one, which is left alone, however little is wanted."""
        provide(100)
        self.assertEqual((self.limit(), self.logged.lines()), ((HARD, HARD), []))

    def test_it_is_so_already(self) -> None:
        """A limit that cannot be raised is no reason to say anything."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
        provide(HARD)
        self.assertEqual((self.limit(), self.logged.lines()), ((HARD, HARD), []))

    def test_the_hard_limit_is_in_the_way(self) -> None:
        """It is raised to the hard limit, and the log says what to do."""
        provide(HARD + 1)
        self.assertEqual(self.limit(), (HARD, HARD))
        self.assertEqual(
            self.logged.lines(),
            [
                f"at most {HARD} files may be open, and the settings may come to need {HARD + 1}; "
                + Exhausted.remedy
            ],
        )

    def test_what_is_needed(self) -> None:
        """A client has one connection to an upstream at the most; few upstreams have fewer."""
        peers = {Peer(host="10.0.0.1", port=port) for port in range(3)}
        self.assertEqual(needed(10_000, 256, peers), 10_000 + 3 * 256 + 64)
        self.assertEqual(needed(100, 256, peers), 100 + 100 + 64)


class ShareTests(SynchronousTestCase):
    """share() is what each worker may have of a number that is for all."""

    @given(st.integers(1, 1_000_000), st.integers(1, 1024))
    def test_all_parts_together(self, most: int, workers: int) -> None:
        """Nobody has none, and together they have all, and less than one each too many."""
        part = share(most, workers)
        self.assertGreaterEqual(part, 1)
        self.assertTrue(most <= part * workers < most + workers)

    def test_one_worker_has_all(self) -> None:
        """Where there is one it is the whole."""
        self.assertEqual(share(10_000, 1), 10_000)
