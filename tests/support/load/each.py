"""A connection to each worker: what is asked of all of them, rather than of whoever accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from tests.support.load import kernel
from tests.support.load.wire import HOST, Reader, dial, request

TRIES = 500
"""Connections until each worker has accepted one; with two it mostly takes three."""


class Each:
    """
    Connections to all workers of a daemon; none of them is ever lost.

    Args:
        port: where they listen.
        authority: file with the authority to trust.
        pids: of the workers.
    """

    def __init__(self, port: int, authority: str, pids: list[int]) -> None:
        self.readers: dict[int, Reader] = {}
        for _ in range(TRIES):
            wire = dial(port, authority)
            reader = Reader(wire, 1 << 14)
            status_of(reader, HOST, "/ping")
            pid = kernel.owners(port, pids).get(wire.getsockname()[1], 0)
            if pid in self.readers or not pid:
                wire.close()
            else:
                self.readers[pid] = reader
            if len(self.readers) == len(pids):
                return
        raise AssertionError(f"of the workers {pids} only {sorted(self.readers)} accept")

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        for reader in self.readers.values():
            reader.wire.close()

    def statuses(self, host: str, target: str = "/small") -> Mapping[int, int]:
        """Return the status of each worker's answer, by its process."""
        return {pid: status_of(reader, host, target) for pid, reader in self.readers.items()}


def status_of(reader: Reader, host: str, target: str) -> int:
    """Ask, read the whole answer, and return its status."""
    reader.wire.sendall(request("GET", target, host=host))
    line, fields = reader.head()
    reader.body(fields, len)
    return int(line.split()[1])
