"""``pomeriumd check``: is this settings file good to serve?"""

from __future__ import annotations

import os
import sys
import time

import click

from pomeriumd.settings.report import report


@click.command("check")
@click.option(
    "-c",
    "--config",
    "path",
    required=True,
    metavar="FILE",
    help="The settings: a YAML, JSON or TOML file.",
)
def command(path: str) -> None:
    """
    Check a settings file, with the environment over it, as the daemon would.

    Prints every problem with its place and exits 1, or says what would be served.
    """
    text, status = report(path, os.environ, time.time())  # noqa: TID251  # here the arguments come from
    click.echo(text, err=status != 0)
    sys.exit(status)
