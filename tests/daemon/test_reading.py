"""Tests of pomeriumd.daemon.reading: a reader's parent, and what it makes of all it may do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import sys
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon import frames, reading
from pomeriumd.daemon.reading import (
    ANSWER,
    CONTENT,
    GOOD,
    LARGEST_ANSWER,
    LARGEST_SAID,
    MOST_SECONDS,
    PRESENT,
    REFUSED,
    SAME,
    Read,
    Reading,
)
from tests.support.logged import Logged
from tests.support.memory import framed, memory
from tests.support.settings_files import settings

PATH = "/etc/pomerium/config.yaml"
GOOD_READ = Read(
    outcome=GOOD, files={PATH: "0f"}, digest="ab", routes=2, changes=("log_level changed",)
)


@attrs.define
class Child:
    """A process that was started, and what it is made to do."""

    protocol: ProcessProtocol
    arguments: tuple[str, ...]
    descriptors: dict[int, int | str]
    more: dict[str, Any]
    signals: list[str] = attrs.Factory(list)
    ended: bool = False

    def signalProcess(self, name: str) -> None:
        """Take a signal, as a process transport does."""
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def answer(self, read: Read | bytes) -> None:
        """Say what became of it."""
        document = read if isinstance(read, bytes) else read.document()
        self.protocol.childDataReceived(ANSWER, document)

    def end(self, status: int = 0, number: int | None = None) -> None:
        """End."""
        self.ended = True
        good = status == 0 and number is None
        reason = ProcessDone(0) if good else ProcessTerminated(status, number, 0)
        self.protocol.processEnded(Failure(reason))


class Reactor(Clock):
    """Starts no process, but remembers that it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.fails: OSError | None = None

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        args: tuple[str, ...],
        childFDs: dict[int, int | str],
        **more: Any,
    ) -> Child:
        """Start one."""
        if self.fails is not None:
            raise self.fails
        child = Child(protocol, (executable, *args), dict(childFDs), more)
        self.children.append(child)
        protocol.makeConnection(child)
        return child


class ReadingCase(SynchronousTestCase):
    """A reactor without processes."""

    def setUp(self) -> None:
        """Begin."""
        self.reactor = Reactor()
        self.reading = Reading(self.reactor, {"PATH": "/bin", "COOKIE_SECRET": "hunter2"})

    def start(self, present: int | None = None) -> tuple[Child, Deferred[Read]]:
        """Begin to read."""
        result = self.reading.read(PATH, present)
        return self.reactor.children[-1], result

    def refusal(self, result: Deferred[Read]) -> str:
        """Return why it was refused."""
        read = self.successResultOf(result)
        self.assertEqual(
            (read.outcome, read.descriptor, read.files, read.digest), (REFUSED, -1, {}, "")
        )
        return read.problems


class StartTests(ReadingCase):
    """How a reader is started."""

    def test_command(self) -> None:
        """This Python, our module and the path; the environment and no secret in the arguments."""
        child, _ = self.start()
        self.assertEqual(
            child.arguments,
            (sys.executable, sys.executable, "-P", "-m", "pomeriumd.daemon.reader", PATH),
        )
        self.assertEqual(child.more, {"env": {"PATH": "/bin", "COOKIE_SECRET": "hunter2"}})
        self.assertNotIn("hunter2", repr(self.reading))

    def test_descriptors(self) -> None:
        """It has memory to write to, pipes to speak, and those in force if there are some."""
        child, _ = self.start()
        self.assertEqual({0, 1, 2, CONTENT, ANSWER}, child.descriptors.keys())
        child.answer(Read(outcome=SAME))
        child.end()
        present = memory(self, b"x")
        child, _ = self.start(present)
        self.assertEqual(child.descriptors[PRESENT], present)
        self.assertEqual(child.arguments[-2:], (PATH, "compared"))

    def test_no_process_left(self) -> None:
        """Where no process can be started, that is a refusal, and the next one is tried."""
        self.reactor.fails = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.assertEqual(
            self.refusal(self.reading.read(PATH, None)),
            f"no process can be started to read {PATH}: Resource temporarily unavailable; see "
            "what this host has left of memory, processes and descriptors, then reload again",
        )
        self.reactor.fails = None
        self.start()

    def test_no_descriptor_left(self) -> None:
        """Where there is no descriptor for its memory, that is a refusal, too."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            result = self.reading.read(PATH, None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn("Too many open files", self.refusal(result))
        self.start()


class OutcomeTests(ReadingCase):
    """What a reader says is what its parent tells."""

    def test_good(self) -> None:
        """Good settings come with their descriptor, whole and sealed."""
        child, result = self.start()
        written = framed(settings())
        content = child.descriptors[CONTENT]
        assert isinstance(content, int)
        with open(content, "wb", closefd=False) as file:
            frames.write(file, written)
        child.answer(GOOD_READ)
        self.assertNoResult(result)
        child.end()
        read = self.successResultOf(result)
        self.addCleanup(os.close, read.descriptor)
        self.assertEqual(attrs.evolve(read, descriptor=-1), GOOD_READ)
        self.assertEqual(frames.read(read.descriptor), written)
        with self.assertRaises(PermissionError):
            os.pwrite(read.descriptor, b"x", 0)
        with self.assertRaises(PermissionError):
            fcntl.fcntl(read.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        self.assertFalse(os.get_inheritable(read.descriptor))

    def test_others(self) -> None:
        """Refused and the same: told as they are, and the memory is given back."""
        for read in (
            Read(outcome=REFUSED, files={PATH: "00"}, problems="1 problem"),
            Read(outcome=SAME, files={PATH: "00"}, digest="ab"),
        ):
            child, result = self.start()
            child.answer(read)
            child.end()
            self.assertEqual(self.successResultOf(result), read)
            content = child.descriptors[CONTENT]
            assert isinstance(content, int)
            with self.assertRaises(OSError):
                os.fstat(content)

    def test_in_pieces(self) -> None:
        """However the pipe cuts it, it is the same document."""
        child, result = self.start()
        document = Read(outcome=SAME, files={PATH: "00"}).document()
        for octet in document:
            child.protocol.childDataReceived(ANSWER, bytes([octet]))
        child.end()
        self.assertEqual(self.successResultOf(result).outcome, SAME)

    def test_no_time_is_left_running(self) -> None:
        """When it has ended, so has its time."""
        child, _ = self.start()
        child.answer(Read(outcome=SAME))
        child.end()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_it_says_besides(self) -> None:
        """Its standard error is logged, line by line, as far as it is bounded."""
        child, _ = self.start()
        child.protocol.childDataReceived(2, b"Fatal Python error\nno mem")
        child.protocol.childDataReceived(2, b"ory\n" + b"x" * LARGEST_SAID * 2)
        logged = Logged(self)
        child.end(1)
        lines = logged.lines()
        self.assertEqual(
            lines[:2],
            [
                "the reader of the settings says: Fatal Python error",
                "the reader of the settings says: no memory",
            ],
        )
        self.assertLess(sum(map(len, lines)), LARGEST_SAID + 200)


class FailureTests(ReadingCase):
    """A reader that does not do its part is refused, with what to do."""

    def test_it_dies(self) -> None:
        """However it ends, half an answer or a whole one is none."""
        for end, how in (
            ({"number": signal.SIGSEGV}, "was killed by SIGSEGV"),
            ({"status": 1}, "ended with status 1"),
        ):
            for answer in (b"", b"{", GOOD_READ.document()):
                child, result = self.start()
                child.answer(answer)
                child.end(**end)
                self.assertEqual(
                    self.refusal(result),
                    f"the process that reads {PATH} {how}; see the log before this line, and the "
                    "kernel's for want of memory, then reload again",
                )

    def test_it_says_nothing(self) -> None:
        """One that ends well without a word has said nonsense."""
        child, result = self.start()
        child.end()
        self.assertIn("restart pomeriumd", self.refusal(result))

    def test_nonsense(self) -> None:
        """Whatever is not an answer of ours is refused."""
        fields = json.loads(GOOD_READ.document())
        wrong: list[dict[str, object]] = [
            {"outcome": "great"},
            {"outcome": None},
            {"digest": 1},
            {"routes": "2"},
            {"changes": [1]},
            {"changes": "x"},
            {"files": []},
            {"files": {"a": 1}},
            {"more": 1},
            {"descriptor": 0},
        ]
        for answer in (
            b"\xff",
            b"[" * 100_000,
            b"[]",
            b"{}",
            *(json.dumps({**fields, **one}).encode() for one in wrong),
        ):
            child, result = self.start()
            child.answer(answer)
            child.end()
            self.assertIn("says what makes no sense here", self.refusal(result))

    def test_too_much(self) -> None:
        """One that says too much is killed."""
        child, result = self.start()
        child.answer(b"x" * LARGEST_ANSWER)
        self.assertNoResult(result)
        child.answer(b"x")
        self.assertEqual(child.signals, ["KILL"])
        self.assertEqual(
            self.refusal(result),
            f"the process that reads {PATH} said more than {LARGEST_ANSWER} bytes; name fewer "
            "files in it",
        )
        child.end(number=signal.SIGKILL)

    def test_too_long(self) -> None:
        """One that takes too long is killed."""
        child, result = self.start()
        self.reactor.advance(MOST_SECONDS - 0.1)
        self.assertEqual(child.signals, [])
        self.reactor.advance(0.1)
        self.assertEqual(child.signals, ["KILL"])
        self.assertEqual(
            self.refusal(result),
            f"reading {PATH} took longer than 60 s and was ended; see whether the storage of the "
            "files that it names answers, then reload again",
        )
        child.end(number=signal.SIGKILL)
        self.start()

    def test_one_that_cannot_be_killed(self) -> None:
        """While one hangs in the system for ever, no more of them are started."""
        child, _ = self.start()
        self.reactor.advance(MOST_SECONDS)
        refusal = self.refusal(self.reading.read(PATH, None))
        self.assertIn("cannot be ended", refusal)
        self.assertEqual(len(self.reactor.children), 1)
        child.end(number=signal.SIGKILL)
        self.start()

    def test_nobody_waits_any_more(self) -> None:
        """Who cancels kills it, and its end is nothing to tell."""
        child, result = self.start()
        result.cancel()
        self.failureResultOf(result)
        self.assertEqual(child.signals, ["KILL"])
        child.end(number=signal.SIGKILL)


class DocumentTests(SynchronousTestCase):
    """An outcome as JSON."""

    @given(
        st.builds(
            Read,
            outcome=st.sampled_from([GOOD, REFUSED, SAME]),
            files=st.dictionaries(st.text(), st.text()),
            digest=st.text(),
            routes=st.integers(),
            changes=st.lists(st.text()).map(tuple),
            problems=st.text(),
        )
    )
    def test_round_trip(self, read: Read) -> None:
        """It is the same on the other side, whatever characters a path has."""
        self.assertEqual(Read.of(read.document()), read)

    def test_names(self) -> None:
        """A path that is no text in any encoding is the same one."""
        read = Read(outcome=SAME, files={os.fsdecode(b"/\xff"): "unreadable"})
        self.assertEqual(Read.of(read.document()), read)
        self.assertEqual(reading._shown(os.fsdecode(b"/\xff")), "/\\udcff")
