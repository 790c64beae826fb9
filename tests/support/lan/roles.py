"""One pomeriumd process on a host of its own, and what may happen to it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.support.certificates import Issued
from tests.support.daemon import command
from tests.support.lan.hosts import Host
from tests.support.load import kernel
from tests.support.load.programs import until
from tests.support.processes import Running


class Role:
    """
    The daemon with some of its services.

    Args:
        host: where it runs; one process on one host.
        place: a directory of its own.
        certified: what it shows to who connects.
        settings: as its file has them.
    """

    process: Running

    def __init__(
        self, host: Host, place: Path, certified: Issued, settings: dict[str, Any]
    ) -> None:
        self.host, self.place, self.certified = host, place, certified
        self.settings = settings
        place.mkdir(parents=True)
        self.start()

    def start(self) -> None:
        """Start it, with the settings that it has now; it may not listen yet."""
        words = command(self.place, self.certified, self.settings)
        self.process = self.host.start(*words, where=self.place)

    def rewrite(self, **settings: Any) -> None:
        """Put other settings over those of before; None takes one out. Nobody is told."""
        given = {**self.settings, **settings}
        self.settings = {key: value for key, value in given.items() if value is not None}
        config = self.place / "config.json"
        pair = json.loads(config.read_text())["certificates"]
        beside = config.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(json.dumps({"certificates": pair, **self.settings}))
        beside.replace(config)

    def reload(self, **settings: Any) -> None:
        """Do that, tell it by SIGHUP, and wait until they serve."""
        said = len(self.process.lines)
        self.rewrite(**settings)
        self.process.send(signal.SIGHUP)
        self.process.until("new settings serve", after=said)

    # Faults

    def kill(self) -> None:
        """Kill it; its host and all else on it stay."""
        self.process.send(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Let it do nothing from now on; the kernel still acknowledges what it is sent."""
        self.process.send(signal.SIGSTOP)
        until(lambda: kernel.stopped(self.process.pid))

    def thaw(self) -> None:
        """Undo freeze()."""
        self.process.send(signal.SIGCONT)

    def drain(self) -> int:
        """Ask it to end, and return its exit status when it has."""
        self.process.send(signal.SIGTERM)
        return self.process.wait()

    def stop(self) -> None:
        """End it, whatever has been done to it."""
        self.process.stop()

    # What it says

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        """Return what it has logged from line number ``after`` on."""
        lines = list(self.process.lines[after:])
        return [json.loads(line) for line in lines if line.startswith("{")]
