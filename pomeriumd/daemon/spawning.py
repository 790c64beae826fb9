"""
Starting workers: each with a page of the ledger, a cell of the board and a log to write to.

A process has a number of its own, which says nothing of the place that it comes to have. It is
given back when the process has ended, so there are never more of them than processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import attrs

from pomeriumd.daemon.board import Board, memory
from pomeriumd.daemon.follower import Ended, SignedOutAt
from pomeriumd.daemon.ledger import Ledger
from pomeriumd.daemon.worker_process import WorkerProcess


@attrs.define(eq=False, kw_only=True)
class Spawning:
    """
    Starts processes that serve.

    Args:
        options: what each of them is told before anything else.
        environment: theirs.
        ledger: keeps their numbers.
        lines: takes whole lines for the log.
        noticed: takes a line that other workers may have, too: pid, level and text.
        reactor: starts them, and hears of their ends.
    """

    _options: Mapping[str, Any]
    _environment: Mapping[str, str]
    _ledger: Ledger
    _lines: Callable[[bytes], None]
    _noticed: Callable[[int, str, str], None]
    _reactor: Any
    _board: int = attrs.field(default=-1, init=False)
    """Its descriptor; there is none before twistd goes into the background."""
    _numbers: set[int] = attrs.field(factory=set, init=False)
    """Of the processes that run."""

    def start(self, ended: Ended, signed_out: SignedOutAt, *, leisurely: bool) -> WorkerProcess:
        """
        Start one.

        Args:
            ended: is told when it is gone and all that it wrote and counted has been kept.
            signed_out: is told each session that it has signed out.
            leisurely: it leaves the processor to whoever else wants it until it is ready.

        Raises:
            OSError: the system has no process, descriptor or memory for it.
        """
        if self._board < 0:
            self._board = memory()
        number = next(number for number in count() if number not in self._numbers)

        def closed(process: WorkerProcess, how: str) -> None:
            self._forget(number)
            ended(process, how)

        page = self._ledger.open(number)
        self._numbers.add(number)
        try:
            process = WorkerProcess(
                number=number,
                options=self._options,
                numbers=page,
                board=self._board,
                lines=self._lines,
                noticed=self._noticed,
                ended=closed,
                signed_out=signed_out,
                leisurely=leisurely,
            )
            process.start(self._reactor, self._environment)
        except OSError:
            self._forget(number)
            raise
        finally:
            os.close(page)
        return process

    def _forget(self, number: int) -> None:
        """Keep what a process has counted, and give its number back."""
        Board(self._board, number).leaves()
        self._ledger.close(number)
        self._numbers.discard(number)
