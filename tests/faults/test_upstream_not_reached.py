"""An upstream to which there is no connection: who is at fault, and what the log says to do."""

from __future__ import annotations

import errno
import os
import resource

from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,  # noqa: A004  # its name there
    DNSLookupError,
    NoRouteError,
    TimeoutError,  # noqa: A004  # as above
)
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logged import Logged
from tests.support.rig import NAVIGATION, Rig, parse, request
from tests.support.settings import route

PUBLIC = route(allow_public_unauthenticated_access=True)
FOR_ALICE = route("private.example.com", allowed_users=("alice@example.com",))
START = "request rig-00000001: no connection to 10.0.0.1:8080"
RUNS = "; does the application run, and does `to` name its address?"
LATE = "; does the host run, and does no firewall swallow what is sent to it?"
RAISE = "; raise the limit of open files (LimitNOFILE= in the unit), or lower max_connections"


class NotReachedTests(SynchronousTestCase):
    """Each way in which a connection is not to be had."""

    def refused(self, error: Exception, rig: Rig | None = None) -> tuple[int, bytes, str]:
        """Return status and Retry-After of the answer, and the one line in the log."""
        logged = Logged(self)
        rig = rig or Rig(PUBLIC)
        rig.upstreams.refuse, rig.upstreams.refusal = True, error
        client = rig.connect()
        client.sends(request())
        got = parse(client.got())
        (line,) = logged.lines()
        return got.status, got.field(b"retry-after"), line

    def test_the_applications_fault(self) -> None:
        """502, and the line says what the system said."""
        for error, said in (
            (
                ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
                "ConnectionRefusedError: Connection was refused by other side: 111: refused",
            ),
            (
                NoRouteError(errno.ENETUNREACH, "Network is unreachable"),
                "NoRouteError: No route to host: 101: Network is unreachable",
            ),
            (
                ConnectError(errno.ECONNRESET, "reset"),
                "ConnectError: An error occurred while connecting: 104: reset",
            ),
            (
                DNSLookupError("no results for hostname lookup: app"),
                "DNSLookupError: DNS lookup failed: no results for hostname lookup: app",
            ),
        ):
            self.assertEqual(self.refused(error), (502, b"", f"{START}: {said}{RUNS}"))

    def test_nobody_says_anything(self) -> None:
        """504, whichever of the two clocks is the first."""
        late = (504, b"", f"{START} within 10 s{LATE}")
        self.assertEqual(self.refused(TimeoutError()), late)
        logged = Logged(self)
        rig = Rig(PUBLIC)
        rig.upstreams.hold = True
        client = rig.connect()
        client.sends(request())
        rig.pass_time(11)
        self.assertEqual((parse(client.got()).status, logged.lines()), (504, [late[2]]))

    def test_our_own_want(self) -> None:
        """503, to be tried again: nothing is wrong with the application."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            said = os.strerror(number)
            for kind in (ConnectBindError, ConnectError):
                self.assertEqual(
                    self.refused(kind(number, said)), (503, b"5", f"{START}: {said}{RAISE}")
                )

    def test_a_name_that_could_not_be_looked_up_for_want_of_a_descriptor(self) -> None:
        """The look-up says only that it failed; why is found out. The page needs no file."""
        rig = Rig(PUBLIC)
        error = DNSLookupError("no results for hostname lookup: app")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Below what is open already: there is none left.
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            refused = self.refused(error, rig)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.assertEqual(refused, (503, b"5", f"{START}: {os.strerror(errno.EMFILE)}{RAISE}"))

    def test_nothing_is_let_through(self) -> None:
        """Without a session the way ends before there is a connection to want."""
        rig = Rig(FOR_ALICE)
        rig.upstreams.refuse = True
        rig.upstreams.refusal = ConnectError(errno.EMFILE, "")
        client = rig.connect()
        client.sends(request(b"/", *NAVIGATION, host=b"private.example.com"))
        self.assertEqual(parse(client.got()).status, 302)
        client.sends(request(host=b"private.example.com"))
        self.assertEqual(parse(client.got()).status, 401)
