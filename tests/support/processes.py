"""Programs that a test starts, what they say, and an end to each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

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
        prepare: is called in the process before the program; it may make system calls only.
        stdin: descriptor of its standard input.
        fed: it reads from us, until release(); what it says of errors is not among its lines.
    """

    command: Sequence[str | Path]
    more: Mapping[str, str] = attrs.Factory(dict)
    where: Path | None = None
    prepare: Callable[[], None] | None = None
    fed: bool = False
    stdin: int = subprocess.DEVNULL
    lines: list[str] = attrs.field(factory=list, init=False)
    """All that it has said, both its outputs, without line ends."""
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
            stdin=subprocess.PIPE if self.fed else self.stdin,
            stdout=subprocess.PIPE,
            stderr=None if self.fed else subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            preexec_fn=self.prepare,  # noqa: PLW1509  # system calls only
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with patience."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def count(self, words: str) -> int:
        """Return how many lines have these words."""
        with self._heard:
            return sum(words in line for line in self.lines)

    def until(
        self, words: str, nth: int = 1, *, after: int = 0, patience: float = PATIENCE_SECONDS
    ) -> str:
        """Return the nth line with these words among those from number ``after`` on."""
        found: list[str] = []
        seen = after

        def enough() -> bool:
            # Only what is new: there may be a hundred thousand lines.
            nonlocal seen
            found.extend(line for line in self.lines[seen:] if words in line)
            seen = max(seen, len(self.lines))
            return self._ended or len(found) >= nth

        with self._heard:
            self._heard.wait_for(enough, patience)
        if len(found) < nth:
            said = "\n".join(self.lines[-60:])
            raise AssertionError(f"{len(found)} times {words!r} in:\n{said}")
        return found[nth - 1]

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

    def say(self, line: str) -> None:
        """Give it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def release(self) -> None:
        """End its standard input: it may come to its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, patience: float = PATIENCE_SECONDS) -> int:
        """Return its exit status, once it has ended and its last words are heard."""
        status = self._process.wait(patience)
        self._reader.join(PATIENCE_SECONDS)
        return status

    def stop(self) -> None:
        """Ask it to end, make it end if it does not, and hear its last words."""
        if self.fed:
            self.release()
        if self.runs:
            # One that was stopped has to run to hear of it.
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self.wait()

    def _read(self, said: IO[str]) -> None:
        with said:
            for line in said:
                with self._heard:
                    self.lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()
