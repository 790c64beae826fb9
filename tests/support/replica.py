"""
A replica of authorize in a process of its own: ``python -m tests.support.replica HOST PORT``.

It lets everybody in, under the generation ``g1``, in plaintext. SIGTERM ends it as it should.
"""

from __future__ import annotations

import signal
import sys
import time

from twisted.logger import LogLevel

from pomeriumd.access.decision import Allow
from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.rpc.methods import Served
from pomeriumd.rpc.server import Server
from pomeriumd.settings.values import Address

ROOT = bytes(32)
"""The shared secret."""

VERDICT = Verdict(decision=Allow(("accept",)), valid_for=60, generation="g1")


def _answer(_: Question) -> Verdict:
    return VERDICT


def _report(level: LogLevel, format: str, **fields: object) -> None:  # noqa: A002, ARG001  # by Report
    _say(format.format(**fields))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until SIGTERM."""
    now = time.time  # noqa: TID251  # a process of its own has the real time
    host, port = sys.argv[1:]
    served = Served(answer=_answer, generation="g1", keys=ring([ROOT], Purpose.GRPC))
    server = Server(address=Address(host, int(port)), tls=None, now=now, report=_report)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server.bind()
    server.start()
    server.serve(served)
    _say(f"serving on {server.port}")
    signal.sigwait({signal.SIGTERM})
    server.stop(grace=1).result()


if __name__ == "__main__":
    main()
