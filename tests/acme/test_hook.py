"""Tests of pomeriumd.acme.hook, with the programs as a test's own processes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.acme.hook import CLEANUP, LARGEST_SAID, PRESENT, SECONDS, Hook
from pomeriumd.acme.order import Answer
from pomeriumd.acme.problems import AcmeError
from pomeriumd.acme.responders import HookResponder

NAME, VALUE = "_acme-challenge.example.com.", "x" * 43
PROGRAM = "/opt/hook"


class Process:
    """A program that ends when the test says so."""

    pid = 1

    def __init__(self) -> None:
        self.done: list[str] = []

    def signalProcess(self, signal: str) -> None:
        """Note it."""
        if "exited" in self.done:
            raise ProcessExitedAlready
        self.done.append(signal)

    def closeStdin(self) -> None:
        """Note it."""
        self.done.append("no input")

    def loseConnection(self) -> None:
        """Note it."""
        self.done.append("closed")

    closeStdout = closeStderr = loseConnection

    def closeChildFD(self, descriptor: int) -> None:
        """Do nothing."""

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> None:
        """Do nothing."""

    def writeSequence(self, data: Any) -> None:
        """Do nothing."""


class Starting(Clock):
    """A clock that starts programs."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, Process, list[str], dict[str, str]]] = []
        self.fails = False

    def spawnProcess(
        self, protocol: Any, program: str, arguments: list[str], env: dict[str, str]
    ) -> None:
        """Start one."""
        if self.fails:
            raise FileNotFoundError(2, "No such file or directory")
        assert program == arguments[0]
        process = Process()
        self.started.append((protocol, process, arguments, env))
        protocol.makeConnection(process)


def ended(status: int | None = None, signal: int | None = None) -> Failure:
    """Return how a process ended."""
    if status == 0:
        return Failure(ProcessDone(0))
    return Failure(ProcessTerminated(status, signal))


class HookCase(SynchronousTestCase):
    """A hook whose programs end when a test says so."""

    def setUp(self) -> None:
        """Have a reactor that starts programs."""
        self.reactor = Starting()
        self.hook = Hook(self.reactor, PROGRAM, {"PATH": "/bin"})

    def call(self) -> tuple[Deferred[None], Any, Process]:
        """Have a record made; return what is to come of it, and the program."""
        done = self.hook.run(PRESENT, NAME, VALUE)
        protocol, process, *_ = self.reactor.started[-1]
        return done, protocol, process

    def faulty(self, done: Deferred[None], text: str) -> None:
        """See that it came to nothing for this reason."""
        error = self.failureResultOf(done, AcmeError).value
        self.assertEqual(str(error), f"autocert_dns_hook {PROGRAM} present {NAME} {text}")
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class HookTests(HookCase):
    """run() has the program do it, and says what went wrong."""

    def test_good(self) -> None:
        """It gets words and no shell, nothing to read, and its pipes are closed at its end."""
        done, protocol, process = self.call()
        self.assertEqual(
            self.reactor.started[0][2:], ([PROGRAM, "present", NAME, VALUE], {"PATH": "/bin"})
        )
        self.assertNoResult(done)
        protocol.processExited(ended(0))
        self.successResultOf(done)
        self.assertEqual(process.done, ["no input", "closed"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """The last of what it said is in the text, as ASCII."""
        done, protocol, _ = self.call()
        protocol.childDataReceived(2, b"x" * 2 * LARGEST_SAID)
        protocol.childDataReceived(2, "\nno zone é\x1b[0m\n".encode() + b"\xff")
        self.assertLessEqual(len(protocol._said), LARGEST_SAID)
        protocol.processExited(ended(3))
        error = self.failureResultOf(done, AcmeError).value
        self.assertTrue(str(error).endswith("\\nno zone \\xe9\\x1b[0m\\n\\\\xff"), str(error))
        self.assertLess(len(str(error)), 1000)

    def test_says_nothing(self) -> None:
        """Its status, or the signal, is all there is to tell."""
        for how, text in ((ended(1), "ended with status 1"), (ended(None, 9), "was killed by 9")):
            done, protocol, _ = self.call()
            protocol.processExited(how)
            self.faulty(done, f"{text}; it said nothing")

    def test_too_long(self) -> None:
        """It is killed when its time is over; what comes of it later is not told twice."""
        done, protocol, process = self.call()
        self.reactor.advance(SECONDS)
        self.assertIn("KILL", process.done)
        self.faulty(done, "took longer than 180 s and was killed; it said nothing")
        protocol.processExited(ended(None, 9))

    def test_cannot_be_started(self) -> None:
        """A program that is not there is said."""
        self.reactor.fails = True
        done = self.hook.run(PRESENT, NAME, VALUE)
        self.faulty(done, "cannot be started: No such file or directory; it said nothing")

    def test_cancelled(self) -> None:
        """Whoever does not want it any more ends it."""
        done, _, process = self.call()
        done.addErrback(lambda _: None)
        done.cancel()
        self.assertIn("KILL", process.done)

    def test_no_name_of_ours(self) -> None:
        """An authority cannot have the program called with words of its own."""
        for name, value in (("--help", VALUE), (NAME, "$(id)"), (f"{NAME}\n", VALUE)):
            with self.assertRaises(AcmeError):
                self.hook.run(PRESENT, name, value)
        self.assertEqual(self.reactor.started, [])


class ResponderTests(HookCase):
    """HookResponder makes one record after the other, and removes what it made."""

    def answers(self, *hosts: str) -> list[Answer]:
        """Return what is to be proved."""
        return [Answer(host, host, "t", f"t.{host}") for host in hosts]

    def said(self) -> list[str]:
        """Return what was called."""
        return [f"{words[1]} {words[2]}" for _, _, words, _ in self.reactor.started]

    def end(self, status: int = 0) -> None:
        """Let the last program end."""
        self.reactor.started[-1][0].processExited(ended(status))

    def test_in_order(self) -> None:
        """The second waits for the first."""
        responder = HookResponder(self.hook)
        done = responder.start_responding("", self.answers("a.test", "b.test"), None)
        self.assertEqual(self.said(), ["present _acme-challenge.a.test."])
        self.end()
        self.end()
        self.successResultOf(done)
        done = responder.stop_responding("", self.answers("a.test"), None)
        self.end()
        self.successResultOf(done)
        self.assertEqual(self.said()[2:], [f"{CLEANUP} _acme-challenge.a.test."])

    def test_half_of_them(self) -> None:
        """Where one cannot be made those before it are removed, and it is told which it was."""
        responder = HookResponder(self.hook)
        done = responder.start_responding("", self.answers("a.test", "b.test"), None)
        self.end()
        self.end(1)
        self.end()
        self.end()
        error = self.failureResultOf(done, AcmeError).value
        assert isinstance(error, AcmeError)
        self.assertEqual(error.names, {"b.test"})
        self.assertEqual(len(self.said()), 4)
