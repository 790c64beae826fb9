"""What a process uses, as /proc tells."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.processes import Use, use_of


class UseTests(SynchronousTestCase):
    """Numbers of a process that runs, and none of one that does not."""

    def test_our_own_are_plausible(self) -> None:
        """Processor time, memory, open files and their limit are those of this process."""
        use = use_of(os.getpid())
        assert use.cpu_seconds is not None
        assert use.resident_bytes is not None
        assert use.open_files is not None
        self.assertLess(abs(use.cpu_seconds - sum(os.times()[:2])), 1)
        self.assertGreater(use.resident_bytes, 1 << 20)
        self.assertGreater(use.open_files, 2)
        self.assertEqual(use.most_files, resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def test_one_that_has_ended_tells_nothing(self) -> None:
        """There is no number, and no error."""
        self.assertEqual(use_of(2**22 + 1), Use())

    def test_a_name_may_look_like_anything(self) -> None:
        """A process called `a) b (c` does not move the columns; odd files tell nothing."""
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory, "7")
            home.mkdir()
            columns = " ".join(str(number) for number in range(4, 53))
            (home / "stat").write_text(f"7 (a) b (c) S {columns}\n")
            (home / "limits").write_text("Max open files            unlimited unlimited files\n")
            ticks = os.sysconf("SC_CLK_TCK")
            page = os.sysconf("SC_PAGE_SIZE")
            self.assertEqual(use_of(7, Path(directory)), Use((14 + 15) / ticks, 24 * page))
            (home / "stat").write_text("7 (a) S 1\n")
            self.assertEqual(use_of(7, Path(directory)), Use())
