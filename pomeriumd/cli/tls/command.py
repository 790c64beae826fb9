"""``pomeriumd tls``: the command."""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import click
from OpenSSL import crypto

from pomeriumd.cli.tls.facts import KeptIn, Trust
from pomeriumd.cli.tls.rows import rows, worst
from pomeriumd.cli.tls.shown import document, table
from pomeriumd.errors import SettingsError
from pomeriumd.net.pem import read_certificates
from pomeriumd.settings.files import LARGEST_NAMED, absolute, blocks
from pomeriumd.settings.load import load_whole
from pomeriumd.settings.model import Settings

FAILED = 2
"""Exit status where the settings cannot be used: as bad as an error in the table."""


@click.group("tls")
def command() -> None:
    """Look at certificates."""


@command.command("check")
@click.option("-c", "--config", "path", required=True, metavar="FILE", help="The settings.")
@click.option(
    "--ca",
    "authorities",
    multiple=True,
    metavar="FILE",
    help="Certificates of authorities that others trust, PEM: your own, for instance.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole table as JSON.")
def check(path: str, authorities: tuple[str, ...], *, as_json: bool) -> None:
    """
    Show for each host which certificate it shows, who trusts that, and what is missing.

    Nothing is connected to: the table is about the files on this machine. Run it as root or as the
    daemon's user.

    Exits 0 if nothing is missing, 1 if something is to be seen to soon, 2 if something is wrong.
    """
    loaded = load_whole(path, os.environ, now=None)
    if loaded.settings is None:
        _fail(f"{ascii(path)[1:-1]}: {loaded.error}")
    try:
        trusts = list(_trusts(loaded.settings, authorities))
    except SettingsError as error:
        _fail(str(error))
    files = dict(_kept(loaded.files))
    whole = KeptIn(path, Path(path).stat().st_mode, b"".join(blocks(path)))
    found = rows(loaded.settings, time.time(), trusts, files, whole)  # noqa: TID251  # the edge
    if as_json:
        # ASCII alone: a terminal obeys some of the rest.
        click.echo(json.dumps(document(found), indent=2))
    elif found:
        click.echo(table(found), color=False if os.environ.get("NO_COLOR") else None)
    else:
        click.echo("These settings have no certificates, and need none.")
    sys.exit(worst(found))


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(FAILED)


def _trusts(settings: Settings, authorities: tuple[str, ...]) -> Iterator[Trust]:
    """Yield those whose authorities are known here."""
    system = crypto.X509Store()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None or paths.capath is not None:
        system.load_locations(paths.cafile, paths.capath)
    yield Trust("system roots", system, is_system=True)
    if settings.certificate_authority is not None:
        yield Trust("certificate_authority", _store(settings.certificate_authority))
    for path in authorities:
        try:
            yield Trust(f"whoever has {path}", _store(b"".join(blocks(path))))
        except (OSError, ValueError) as error:
            _fail(f"--ca {ascii(path)[1:-1]}: {getattr(error, 'strerror', None) or error}")


def _store(pem: bytes) -> crypto.X509Store:
    store = crypto.X509Store()
    for certificate in read_certificates(pem):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    return store


def _kept(seen: Mapping[str, str]) -> Iterator[tuple[bytes, KeptIn]]:
    """Yield the files that were read for the settings, by their content."""
    for path in seen:
        try:
            mode = Path(path).stat().st_mode
            content = b"".join(blocks(absolute(path)))
        except OSError:
            continue  # it is gone meanwhile, and nothing was taken from it that counts
        if b"-----BEGIN " in content and len(content) <= LARGEST_NAMED:
            yield content.rstrip(b"\r\n"), KeptIn(path, mode)
