"""``pomeriumd secrets``: the commands."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import click

from pomeriumd.cli.secrets.steps import Rotation, Spelled, begun, beside, under_way
from pomeriumd.crypto.keys import ROOT_SIZE, mark
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.files import Files
from pomeriumd.settings.keys import FILE
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Secret, Settings
from pomeriumd.settings.node import Node
from pomeriumd.settings.roles import spoken
from pomeriumd.settings.sources import outline

NAMES = {"shared": "shared_secret", "cookie": "cookie_secret"}


@click.group("secrets")
def command() -> None:
    """Make a new secret, or change one while people are signed in."""


@command.command("new")
def new() -> None:
    """Print a new root secret: 32 random bytes in base64."""
    click.echo(_text(secrets.token_bytes(ROOT_SIZE)))


@command.command("rotate")
@click.argument("which", type=click.Choice(sorted(NAMES)))
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help="The settings: for the very lines, how long to wait, and whether one is under way.",
)
def rotate(which: str, path: str | None) -> None:
    """
    Make a new secret, and print the three steps by which it takes the place of the present one.

    Nothing is written anywhere: the lines are for you to put into the settings of every
    replica. Keep what is printed to yourself.
    """
    name, root = NAMES[which], secrets.token_bytes(ROOT_SIZE)
    if path is None:
        click.echo(_without_settings(name, root), nl=False)
        return
    try:
        text = _with_settings(name, root, path, os.environ)
    except SettingsError as error:
        click.echo(f"{ascii(path)[1:-1]}: {error}", err=True)
        sys.exit(1)
    click.echo(text, nl=False)


def _without_settings(name: str, root: bytes) -> str:
    usual = attrs.fields(Settings).cookie_expire.default
    assert usual is not None  # noqa: S101 - the model has one
    rotation = Rotation(
        name=name,
        old=Spelled(f"(the present {name})"),
        new=Spelled(_text(root)),
        seconds=usual,
        publishes=name == "shared_secret",
    )
    note = "How long to wait is for the usual cookie_expire; -c FILE tells it for yours.\n"
    return f"{_headline(name, root)}\n\n{begun(rotation)}{note}"


def _with_settings(name: str, root: bytes, path: str, environment: Mapping[str, str]) -> str:
    """
    Return the steps for a settings file, or what comes next there.

    Raises:
        SettingsError: the settings are faulty, or no reload would change the secret.
    """
    settings, entries = load(path, environment), outline(path, environment, Files()).entries
    present, previous = (_found(entries, name + which) for which in ("", "_previous"))
    if name == "cookie_secret" and present is None:
        text = f"is not there, and {spoken(settings.services)} can do without; want authenticate's"
        raise SettingsError([Problem(name, f"{text} settings")])
    directory = Path(path).absolute().parent
    rotation = Rotation(
        name=name,
        old=present or Spelled(f"(what `base64 < {settings.state_dir}/shared_secret` prints)"),
        new=previous or Spelled(_text(root)),
        is_kept=present is None,
        seconds=settings.cookie_expire,
        publishes=name == "shared_secret" and settings.signing_key is None,
        suffix=Path(path).suffix.lower(),
    )
    if previous is not None:
        marks = (_mark(getattr(settings, name + which)) for which in ("", "_previous"))
        return under_way(rotation, *marks)
    if present is None:
        after = f"Remove {settings.state_dir}/shared_secret; nothing reads it any more.\n"
        rotation = attrs.evolve(rotation, after=after)
    elif present.form:
        rotation = _in_file(rotation, present.value, directory)
    return f"{_headline(name, root)}\n\n{begun(rotation)}"


def _in_file(rotation: Rotation, path: str, directory: Path) -> Rotation:
    """Return a rotation whose new secret lies in a file beside that of the present one."""
    here, there = directory / path, directory / beside(path)
    return attrs.evolve(
        rotation,
        new=Spelled(beside(path), FILE),
        before=(
            f"on every replica, put the new secret into {there}\n"
            "for the daemon's user alone; paste it, then press Return and Ctrl-D:\n\n"
            f"       install -m 0600 /dev/stdin {there}\n"
            f"       chown --reference={here} {there}"
        ),
        after=f"Then remove {here}.\n",
    )


def _found(entries: Mapping[str, Node], name: str) -> Spelled | None:
    """
    Return a secret as the settings have it; None if they do not.

    Raises:
        SettingsError: it stands where no reload looks.
    """
    for form in ("", FILE):
        node = entries.get(name + form)
        if node is None:
            continue
        if node.where.startswith("environment"):
            text = (
                "is from the environment, which a reload does not read again; put it into the "
                "settings file first"
            )
            raise SettingsError([Problem(name, text)])
        return Spelled("".join(str(node.value).split()) if not form else str(node.value), form)
    return None


def _headline(name: str, root: bytes) -> str:
    return f"A new {name}, with the mark {mark(root)}:\n\n       {_text(root)}"


def _text(root: bytes) -> str:
    return base64.b64encode(root).decode("ascii")


def _mark(secret: Secret | None) -> str:
    return "" if secret is None else mark(secret.reveal())
