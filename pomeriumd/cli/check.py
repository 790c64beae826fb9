"""``pomeriumd check``: is this settings file good to serve?"""

from __future__ import annotations

import os
import sys

import click

from pomeriumd.errors import SettingsError
from pomeriumd.settings.load import load


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

    Prints every problem with its place and exits 1, or says that all is well.
    """
    try:
        settings = load(path, os.environ)
    except SettingsError as error:
        click.echo(f"{path}: {error}", err=True)
        sys.exit(1)
    count = len(settings.routes)
    click.echo(f"{path}: good, {count} route{'' if count == 1 else 's'}")
