"""What may lie where the control socket belongs, and what becomes of it."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.control_place import NoPlace, free_place


class FreePlaceTests(SynchronousTestCase):
    """free_place() removes a dead daemon's socket, and nothing else ever."""

    def setUp(self) -> None:
        """Have a directory."""
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.directory / "control.sock"

    def refused(self) -> str:
        """Return why there is no place."""
        with self.assertRaises(NoPlace) as caught, free_place(str(self.path)):
            self.fail("there is a place")
        return str(caught.exception)

    def test_nothing_there(self) -> None:
        """The directory is made, and the place is free."""
        self.path = self.directory / "a" / "b" / "control.sock"
        with free_place(str(self.path)):
            self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_what_is_no_socket_stays(self) -> None:
        """A file, a directory, a pipe, a link to a dead socket or to nowhere: none is removed."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.directory / "dead"))
        makers: dict[str, Callable[[], object]] = {
            "file": lambda: self.path.write_text("precious"),
            "directory": self.path.mkdir,
            "pipe": lambda: os.mkfifo(self.path),
            "link": lambda: self.path.symlink_to("dead"),
            "link to nowhere": lambda: self.path.symlink_to("gone"),
        }
        for name, make in makers.items():
            make()
            before = self.path.lstat()
            self.assertEqual(
                self.refused(),
                "a file that is no socket lies there; move it away, or name another place in "
                "control_socket",
                name,
            )
            self.assertEqual(self.path.lstat().st_ino, before.st_ino)
            (Path.rmdir if name == "directory" else Path.unlink)(self.path)

    def test_a_dead_socket_goes(self) -> None:
        """Nobody listens on it any more."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
        with free_place(str(self.path)):
            self.assertFalse(self.path.exists())

    def test_a_living_socket_stays(self) -> None:
        """Somebody listens, be the queue full, or of another kind than ours."""
        for kind, connected in ((socket.SOCK_STREAM, 0), (socket.SOCK_STREAM, 9)):
            with socket.socket(socket.AF_UNIX, kind) as living:
                living.bind(str(self.path))
                living.listen(1)
                waiting = [socket.socket(socket.AF_UNIX) for _ in range(connected)]
                for one in waiting:
                    one.setblocking(False)
                    one.connect_ex(str(self.path))
                self.assertIn("another daemon answers there", self.refused())
                for one in waiting:
                    one.close()
            self.path.unlink()

    def test_a_datagram_socket_stays(self) -> None:
        """One that we cannot even connect to is taken for a living one."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(self.path))
            self.assertIn("another daemon answers there", self.refused())

    def test_one_daemon_at_a_time(self) -> None:
        """Who comes while another one is at it waits for its next try, not here."""
        held = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        self.assertEqual(
            self.refused(), "another program has locked its directory; it is tried again"
        )

    def test_a_failure_to_bind(self) -> None:
        """What the system says of the bind is told with what to do."""
        with self.assertRaises(NoPlace) as caught, free_place(str(self.path)):
            raise PermissionError(13, "Permission denied")
        self.assertEqual(
            str(caught.exception),
            "Permission denied; let this user write in its directory, or name another place in "
            "control_socket",
        )

    def test_the_lock_is_let_go(self) -> None:
        """A second time works as the first."""
        for _ in range(2):
            with free_place(str(self.path)):
                pass
