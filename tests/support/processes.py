"""Programs that a test starts, what they say, and an end to each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import attrs

PATIENCE_SECONDS = 60.0
"""A bound for a machine under load, not a promise: what takes longer has hung."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define(eq=False)
class Running:
    """
    A program under way.

    Args:
        command: its words.
        more: variables on top of PATH and HOME; nothing else of ours reaches it, since a
            variable may be a setting.
        where: its working directory.
    """

    command: Sequence[str | Path]
    more: Mapping[str, str] = attrs.Factory(dict)
    where: Path | None = None
    lines: list[str] = attrs.field(factory=list, init=False)
    """All that it has said, both its outputs."""
    _heard: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _process: subprocess.Popen[str] = attrs.field(init=False)
    _reader: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start it, and begin to listen."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [str(word) for word in self.command],
            env={**inherited, **self.more},
            cwd=self.where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    def until(self, words: str, *, after: int = 0) -> str:
        """Return the first line with these words among those from number ``after`` on."""

        def found() -> str | None:
            return next((line for line in self.lines[after:] if words in line), None)

        with self._heard:
            self._heard.wait_for(lambda: found() or self._ended, PATIENCE_SECONDS)
            line = found()
        if line is None:
            raise AssertionError(f"never said {words!r}, but:\n" + "".join(self.lines))
        return line

    def begun(self, words: str) -> None:
        """Wait until it has begun, as these words say; end it if it does not."""
        try:
            self.until(words)
        except BaseException:
            self.stop()
            raise

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ask it to end, make it end if it does not, and hear its last words."""
        if self._process.poll() is None:
            # One that was stopped has to run to hear of it.
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()

    def _read(self, said: IO[str]) -> None:
        with said:
            for line in said:
                with self._heard:
                    self.lines.append(line)
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()
