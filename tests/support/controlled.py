"""
A daemon that is nothing but a control socket, for the commands that ask it.

``python -m tests.support.controlled PATH ANSWERS``: ANSWERS is a JSON file with what ``status``
and ``reload`` are answered; it prints a line when it listens, and ends on SIGTERM.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pomeriumd.daemon.control import Control


def main(path: str, answers: str) -> None:
    """Serve until told to stop."""
    from twisted.internet import reactor as running  # noqa: PLC0415, TID251  # a program's own

    reactor: Any = running

    def answer(name: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(Path(answers).read_text())[name]
        return found

    def reload() -> Deferred[Mapping[str, Any]]:
        return deferLater(reactor, 0.01, answer, "reload")

    control = Control(path, lambda: answer("status"), reload, reactor)
    control.startService()
    reactor.addSystemEventTrigger("before", "shutdown", control.stopService)
    reactor.callWhenRunning(print, "listens", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
