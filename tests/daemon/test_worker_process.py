"""What a worker writes becomes whole lines, and how it ended becomes words."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.worker_process import ENDED_WELL, PART_SIZE, Whole, how


class WholeTests(SynchronousTestCase):
    """Lines of several workers go into one log."""

    @given(st.lists(st.text("ab", max_size=5).map(str.encode)), st.data())
    def test_no_line_is_torn(self, lines: list[bytes], data: st.DataObject) -> None:
        """However a pipe cuts it, only whole lines go on, all of them, in order."""
        octets = b"".join(line + b"\n" for line in lines)
        taken: list[bytes] = []
        whole = Whole(taken.append)
        while octets:
            size = data.draw(st.integers(1, len(octets)))
            whole.feed(octets[:size])
            octets = octets[size:]
        whole.end()
        self.assertEqual(b"".join(taken), b"".join(line + b"\n" for line in lines))
        self.assertTrue(all(one.endswith(b"\n") for one in taken))

    def test_a_line_without_end_is_bounded(self) -> None:
        """What never ends is cut, so that nothing is gathered without a bound."""
        taken: list[bytes] = []
        whole = Whole(taken.append)
        for _ in range(5):
            whole.feed(b"x" * PART_SIZE)
        self.assertLessEqual(len(whole._part), PART_SIZE)
        self.assertTrue(all(one.endswith(b"\n") for one in taken))

    def test_the_last_line_of_one_that_died(self) -> None:
        """A line that broke off gets an end, and is not glued to somebody else's."""
        taken: list[bytes] = []
        whole = Whole(taken.append)
        whole.feed(b'{"half":')
        whole.end()
        whole.end()
        self.assertEqual(taken, [b'{"half":\n'])


class HowTests(SynchronousTestCase):
    """How processes end."""

    def test_each_end_has_its_words(self) -> None:
        """They are labels of a metric: few, and without numbers that vary."""
        ends = [
            (ProcessDone(0), ENDED_WELL),
            (ProcessTerminated(signal=signal.SIGKILL), "killed by SIGKILL"),
            (ProcessTerminated(signal=signal.SIGSEGV), "killed by SIGSEGV"),
            (ProcessTerminated(exitCode=1), "ended with status 1"),
        ]
        self.assertEqual([how(Failure(end)) for end, _ in ends], [words for _, words in ends])
