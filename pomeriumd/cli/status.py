"""``pomeriumd status``: how is the running daemon?"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NoReturn

import click

from pomeriumd.cli.asking import NotAsked, ask, options, places
from pomeriumd.cli.shown import shown, troubles
from pomeriumd.daemon.status import read

SECONDS = 10.0
"""How long the daemon may take to answer."""


@click.command("status")
@options
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def command(config: str | None, path: str | None, *, as_json: bool) -> None:
    """
    Ask the running daemon how it is.

    Prints version, settings in force, last reload, listeners, workers and connections.
    Run it as root or as the daemon's user.

    Exits 0 if it serves; 1 if it serves, but the last reload was refused or a worker does not
    serve; 2 if it cannot be asked.
    """
    try:
        found = ask(places(config, path, os.environ), "status", SECONDS)
        status = read(found)
    except NotAsked as error:
        fail(str(error))
    except ValueError:
        fail("the daemon answers as another version would: restart it, if it was upgraded")
    if as_json:
        # ASCII alone: a terminal obeys some of the rest.
        click.echo(json.dumps(found, indent=2))
    else:
        say(shown(status, time.time()))  # noqa: TID251  # here the argument comes from
    sys.exit(1 if troubles(status) else 0)


def say(text: str) -> None:
    """Print; in colour on a terminal alone, and not even there if NO_COLOR says so."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def fail(text: str) -> NoReturn:
    """Say why the daemon could not be asked, and exit 2."""
    click.echo(f"pomeriumd: {text}", err=True)
    sys.exit(2)
