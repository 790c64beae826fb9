"""
Reads new settings, in a short-lived process beside those that serve.

    python -P -m pomeriumd.daemon.reader PATH [compared]

It loads and checks them, compares them with those in force, builds all of it once to see that
it can be built, and writes them as frames for the processes that will serve under them. What
became of it is one JSON document on a pipe. Nothing that it says holds a secret.
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pomeriumd.daemon import frames
from pomeriumd.daemon.build import building
from pomeriumd.daemon.frames import BadFrames, Framed
from pomeriumd.daemon.reading import ANSWER, COMPARED, CONTENT, GOOD, PRESENT, REFUSED, SAME, Read
from pomeriumd.daemon.secret_file import shared_root
from pomeriumd.daemon.world import World
from pomeriumd.errors import SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.net.connect import Connectors
from pomeriumd.net.verify import HTTPSPolicy
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.pieces import finish
from pomeriumd.settings.changes import changes, needs_restart
from pomeriumd.settings.load import load_whole
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import Secret

NICENESS = 10
"""Below those who serve: a reload may take a little longer, a request may not."""

LONGEST_PROBLEMS = 8_192
"""Characters of all problems: what a line of the log and a status page have room for."""


def read(
    path: str,
    environment: Mapping[str, str],
    present: Framed | None,
    world: World,
) -> tuple[Read, Framed | None]:
    """
    Return what became of reading the settings, and the settings themselves if they are good.

    Args:
        path: of the settings file.
        environment: of the process.
        present: the settings in force, if there are some.
        world: for what is built; its clock is all of a reactor, which never runs.
    """
    served = None if present is None else present.settings
    loaded = load_whole(path, environment, world.now(), served)
    settings = loaded.settings
    if settings is None:
        return Read(outcome=REFUSED, files=loaded.files, problems=_said(path, loaded.error)), None
    if present is not None and present.digest == loaded.digest:
        left_out = tuple(map(str, settings.left_out))
        same = Read(outcome=SAME, files=loaded.files, digest=loaded.digest, left_out=left_out)
        return same, None
    try:
        if present is not None and (problems := needs_restart(present.settings, settings)):
            raise SettingsError(problems)  # noqa: TRY301  # one way out for all problems
        framed = Framed(
            settings=settings,
            digest=loaded.digest,
            kept=_kept(settings, None if present is None else present.kept, world),
        )
        # As those who serve will do it, to see that it can be done.
        finish(building(settings, framed.shared_secret, world, Limits()))
    except SettingsError as error:
        return Read(outcome=REFUSED, files=loaded.files, problems=_said(path, error)), None
    found = Read(
        outcome=GOOD,
        files=loaded.files,
        digest=loaded.digest,
        routes=len(settings.all_routes),
        left_out=tuple(map(str, settings.left_out)),
        changes=() if present is None else changes(present.settings, settings),
    )
    return found, framed


def _kept(settings: Settings, known: Secret | None, world: World) -> Secret | None:
    """Return the shared secret that is kept; one that is not needed is only handed on."""
    if settings.shared_secret is not None:
        return known
    found = shared_root(settings, world.random, known=None if known is None else known.reveal())
    return Secret(found)


def _said(path: str, error: SettingsError | None) -> str:
    """Return what ``pomeriumd check`` prints of an error, and not too much of it."""
    shown = ascii(path)[1:-1]
    text = f"{shown}: {error}"
    if len(text) <= LONGEST_PROBLEMS:
        return text
    lines = text[:LONGEST_PROBLEMS].splitlines()[:-1]
    left = text.count("\n") + 1 - len(lines)
    return "\n".join((*lines, f"  and {left} more: pomeriumd check -c {shown} prints all"))


def _broken(error: Exception) -> str:
    """
    Return what went wrong beside the settings themselves.

    The text of an error that nobody expected may quote a secret that it could not make sense
    of, so it is left out.
    """
    if isinstance(error, (MemoryError, OSError)):
        why = getattr(error, "strerror", None) or "out of memory"
        return f"the settings could not be handed on: {why}; see what this host lacks, then reload"
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
    return f"a bug of ours: {type(error).__name__} at {place}; please report it"


def main() -> int:
    """Read what the command line names and tell what became of it; return the exit status."""
    from twisted.internet import reactor as installed  # noqa: PLC0415, TID251

    reactor: Any = installed
    os.nice(NICENESS)
    # This process ends before the collector could find anything, and looking for it takes a
    # third of its time.
    gc.disable()
    path = sys.argv[1]
    try:
        found, framed = read(
            path,
            os.environ,
            frames.read(PRESENT) if sys.argv[2:] == [COMPARED] else None,
            World(
                agent=provider_agent(reactor, HTTPSPolicy()),
                clock=reactor,
                now=time.time,  # noqa: TID251  # here the arguments come from
                random=secrets.token_bytes,
                connector=Connectors(reactor),
            ),
        )
        if framed is not None:
            with open(CONTENT, "wb", closefd=False) as file:
                frames.write(file, framed)
    except BadFrames as error:
        found = Read(outcome=REFUSED, problems=str(error))
    except Exception as error:  # noqa: BLE001  # a traceback might show what must not be seen
        found = Read(outcome=REFUSED, problems=_broken(error))
    with open(ANSWER, "wb", closefd=False) as file:
        file.write(found.document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
