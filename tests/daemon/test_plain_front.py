"""What connections over plain http share with the others."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.plain_front import PlainFront, share_of
from pomeriumd.net.server import ServerConnection
from tests.support.rig import Rig, request
from tests.support.serving import MemoryClient
from tests.support.settings import route


class PlainFrontTests(SynchronousTestCase):
    """The front of both ports is one."""

    def setUp(self) -> None:
        """Connect."""
        self.rig = Rig(route())
        self.client = MemoryClient(ServerConnection(PlainFront(self.rig.front)))
        self.client.protocol.makeConnection(self.client.transport)

    def test_they_are_drained_with_the_others(self) -> None:
        """The end of the daemon waits for them, and closes those that are idle."""
        draining = Deferred.fromCoroutine(self.rig.front.drain(self.rig.clock, 30))
        self.assertNoResult(draining)
        self.assertTrue(self.client.closing)
        self.client.leaves()
        self.successResultOf(draining)

    def test_ids_are_of_one_kind(self) -> None:
        """No request of either port has the id of another."""
        self.client.sends(request())
        self.rig.connect().sends(request(b"/ping"))
        self.assertEqual(len({entry.request_id for entry in self.rig.logged}), 2)

    def test_their_share(self) -> None:
        """There is room for one at the least, and for an eighth of a usual many."""
        self.assertEqual([share_of(most) for most in (1, 8, 9, 10_000)], [1, 1, 2, 1250])
