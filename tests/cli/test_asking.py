"""How the daemon is asked, and what is said when it cannot be."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli import asking
from pomeriumd.cli.asking import NotAsked, ask, places
from pomeriumd.settings.load import SYSTEMD_SOCKETS

ME = pwd.getpwuid(os.geteuid()).pw_name
WHERE = "-c FILE names the daemon's settings, --socket PATH its socket"


class Case(SynchronousTestCase):
    """A directory, and something in it that answers."""

    def setUp(self) -> None:
        """Make it."""
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = str(self.directory / "control.sock")

    @contextmanager
    def answering(self, answer: bytes | None) -> Iterator[None]:
        """Answer one who asks with these octets; None takes the question and says nothing."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen()
            done = threading.Event()

            def serve() -> None:
                client, _ = listening.accept()
                with client:
                    client.recv(64)
                    if answer is None:
                        done.wait(30)
                    else:
                        client.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()

    def refused(self, *paths: str, seconds: float = 5.0) -> str:
        """Return why nobody could be asked."""
        with self.assertRaises(NotAsked) as caught:
            ask(paths or (self.path,), "status", seconds)
        return str(caught.exception)


class AskTests(Case):
    """ask() returns a document, or says what was tried and what to do."""

    def test_an_answer(self) -> None:
        """The document that came."""
        with self.answering(b'{"version": "1"}\n'):
            self.assertEqual(ask((self.path,), "status", 5), {"version": "1"})

    def test_the_first_that_is_there(self) -> None:
        """A place where nothing is is passed over."""
        with self.answering(b'{"version": "1"}\n'):
            ask((f"{self.directory}/none", self.path), "status", 5)

    def test_nothing_there(self) -> None:
        """All places that were tried are named."""
        self.assertEqual(
            self.refused("/nowhere/a", "/nowhere/b"),
            f"no socket at /nowhere/a nor /nowhere/b: is the daemon running? {WHERE}",
        )

    def test_a_dead_daemon(self) -> None:
        """A socket that nobody listens on."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.assertEqual(
            self.refused(),
            f"{self.path}: the daemon whose socket this was is gone: start it, or {WHERE}",
        )

    def test_no_permission(self) -> None:
        """Whose it is, and who asked."""
        why = asking._why(PermissionError(13, "Permission denied"), str(self.directory), 5)
        self.assertEqual(why, f"user {ME} may not open it: it is for user {ME} and root; use sudo")

    def test_another_user(self) -> None:
        """The daemon closes without a word when it does not know us."""
        with self.answering(b""):
            self.assertEqual(
                self.refused(),
                f"{self.path}: closed without an answer: it answers its own user and root alone, "
                f"and you are {ME}; use sudo, or try again if it was just stopping",
            )

    def test_cut(self) -> None:
        """It may close so fast that the question is not even taken; it is the same sentence."""
        for error in (BrokenPipeError(), ConnectionResetError()):
            self.assertIn("closed without an answer", asking._why(error, self.path, 5))

    def test_no_answer(self) -> None:
        """A daemon that is stopped takes the question and says nothing."""
        with self.answering(None):
            said = self.refused(seconds=0.05)
        self.assertIn("no answer in 0 s: the daemon is stopped, or busy beyond measure", said)

    def test_what_is_no_pomeriumd(self) -> None:
        """Anything else that answers is not believed."""
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[]", b"5\n", b"{", b"\xff"):
            with self.answering(answer):
                self.assertIn("what answers there is no pomeriumd", self.refused())
            Path(self.path).unlink()

    def test_what_the_daemon_says_is_wrong(self) -> None:
        """Its own sentence, and nothing that a terminal would obey."""
        with self.answering(b'{"error": "try \\u001b[2Jagain"}'):
            self.assertEqual(self.refused(), f"{self.path}: try \ufffd[2Jagain")

    def test_what_is_no_socket(self) -> None:
        """A file, a path that no socket can have: the system's word, and what to do."""
        Path(self.path).write_text("")
        self.assertIn("the daemon whose socket this was is gone", self.refused())
        self.assertEqual(self.refused("/" + "a" * 200)[201:], f": af_unix path too long; {WHERE}")


class PlacesTests(Case):
    """places() decides where to look."""

    def test_the_socket_itself(self) -> None:
        """Nothing is read then."""
        self.assertEqual(places(None, "/run/a", {}), ("/run/a",))

    def test_both(self) -> None:
        """Two answers to one question are none."""
        with self.assertRaises(NotAsked):
            places("a", "b", {})

    def test_neither(self) -> None:
        """Without the usual file it is where systemd would have it."""
        self.patch(asking, "CONFIG", "/not/there.yaml")
        self.assertEqual(places(None, None, {}), SYSTEMD_SOCKETS)

    def test_the_usual_file(self) -> None:
        """With it, it is where that says."""
        config = self.directory / "config.yaml"
        config.write_text("control_socket: /run/own.sock")
        self.patch(asking, "CONFIG", str(config))
        self.assertEqual(places(None, None, {}), ("/run/own.sock",))
        self.assertEqual(places(str(config), None, {}), ("/run/own.sock",))

    def test_a_file_that_cannot_be_read(self) -> None:
        """What is wrong with it, and how to do without."""
        with self.assertRaises(NotAsked) as caught:
            places("/not/there.yaml", None, {})
        self.assertIn("/not/there.yaml", str(caught.exception))
        self.assertIn("cannot be read: no such file or directory", str(caught.exception))
        self.assertIn("--socket PATH does without", str(caught.exception))
