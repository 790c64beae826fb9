"""``pomeriumd reload``: let the running daemon read its settings again, and say what came of it."""

from __future__ import annotations

import os
import sys
import time

import click

from pomeriumd.cli.asking import NotAsked, ask, options, places
from pomeriumd.cli.shown import reload_lines
from pomeriumd.cli.status import fail, say
from pomeriumd.daemon.status import read_reload

SECONDS = 150.0
"""How long the daemon may take; it answers within 120 s, be it that it has not ended."""

STATUS = {"good": 0, "same": 0, "refused": 1}
"""What to exit with after each outcome."""


@click.command("reload")
@options
def command(config: str | None, path: str | None) -> None:
    """
    Let the running daemon read its settings again.

    It does what SIGHUP does, waits for the end, and prints what has changed or why the new
    settings are refused; then those of before serve on. Nothing is dropped either way.

    Exits 0 if they serve or nothing had changed; 1 if they are refused; 2 if the daemon cannot
    be asked.
    """
    try:
        last = read_reload(ask(places(config, path, os.environ), "reload", SECONDS))
    except (NotAsked, ValueError) as error:
        fail(str(error))
    if last.outcome not in STATUS:
        fail("the daemon does not say how the reload ended; see its log")
    now = time.time()  # noqa: TID251  # here the argument comes from
    say("\n".join(reload_lines(last, now)))
    sys.exit(STATUS[last.outcome])
