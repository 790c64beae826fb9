"""The limit of open files: raised as far as the settings ask, and said when it cannot be."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.descriptors import needed, provide
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

    def test_raised_to_what_is_wanted(self) -> None:
        """The soft limit is raised, and the hard one is left alone."""
        provide(600)
        self.assertEqual((self.limit(), self.logged.lines()), ((600, HARD), []))

    def test_never_lowered(self) -> None:
        """More than is wanted is fine."""
        provide(100)
        self.assertEqual((self.limit(), self.logged.lines()), ((512, HARD), []))

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
