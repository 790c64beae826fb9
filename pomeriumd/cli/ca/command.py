"""``pomeriumd ca``: the commands."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from shlex import join
from typing import NoReturn

import click
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pomeriumd.cli.ca.authority import (
    CA_DAYS,
    ROLE_DAYS,
    Made,
    NotIssued,
    authority,
    name,
    permitted,
    role,
)
from pomeriumd.cli.ca.files import (
    CERTIFICATE,
    KEY,
    AlreadyThere,
    keep,
    make_directory,
    read_authority,
)

MOST_CA_DAYS, MOST_ROLE_DAYS = 7300, 825

SPARE = 3
"""A certificate is to be renewed when one part in so many of its life is left."""

FOLDER = click.Path(path_type=Path)


@click.group("ca")
def command() -> None:
    """Make an internal authority, and certificates for hosts that trust it."""


@command.command("init")
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.option(
    "--permit",
    "permits",
    multiple=True,
    metavar="DOMAIN|NETWORK",
    help="It is believed for this domain and all below it, or for addresses of this network, and "
    "for nothing else. Give it as often as you like.",
)
@click.option("--days", type=click.IntRange(1, MOST_CA_DAYS), default=CA_DAYS, show_default=True)
def init(directory: Path, permits: tuple[str, ...], days: int) -> None:
    """
    Make an authority in DIR: ca.crt, and ca.key, which stays there.

    Nothing that is there already is touched.
    """
    try:
        made = authority(
            [permitted(text) for text in permits],
            now=time.time(),  # noqa: TID251  # here the arguments come from
            days=days,
            key=ec.generate_private_key(ec.SECP256R1()),
            serial=x509.random_serial_number(),
        )
        make_directory(directory)
        keep(directory / CERTIFICATE, directory / KEY, made, over=False)
    except NotIssued as error:
        _fail(error)
    click.echo(_initialised(directory.absolute(), made, permits), nl=False)


@command.command("issue")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "-d",
    "directory",
    metavar="DIR",
    type=FOLDER,
    default=Path(),
    help="Where `ca init` made the authority; the working directory otherwise.",
)
@click.option("--out", metavar="DIR", type=FOLDER, help="Where to write; DIR of -d otherwise.")
@click.option(
    "--days", type=click.IntRange(1, MOST_ROLE_DAYS), default=ROLE_DAYS, show_default=True
)
@click.option("--renew", is_flag=True, help="Replace the certificate and key that are there.")
def issue(
    names: tuple[str, ...], directory: Path, out: Path | None, days: int, *, renew: bool
) -> None:
    """
    Make a certificate and key for a host with these names and IP addresses.

    The files are called by the first NAME. Issue it again with --renew before it expires.
    """
    place = directory if out is None else out
    try:
        found = [name(text) for text in dict.fromkeys(names)]
        made = role(
            found,
            read_authority(directory),
            now=time.time(),  # noqa: TID251  # here the arguments come from
            days=days,
            key=ec.generate_private_key(ec.SECP256R1()),
            serial=x509.random_serial_number(),
        )
        files = files_of(place, found[0])
        keep(*files, made, over=renew)
    except AlreadyThere as error:
        _fail(f"{error}; --renew replaces it")
    except NotIssued as error:
        _fail(error)
    words = ["pomeriumd", "ca", "issue", "--renew", "-d", str(directory.absolute())]
    if out is not None:
        words += ["--out", str(out.absolute())]
    if days != ROLE_DAYS:
        words += ["--days", str(days)]
    again = join([*words, *names])
    click.echo(_issued(directory.absolute(), files, made, found, again), nl=False)


def files_of(place: Path, first: x509.DNSName | x509.IPAddress) -> tuple[Path, Path]:
    """Return where the certificate for a host lies, and its key."""
    stem = str(first.value).replace("*", "wildcard").replace(":", "-")
    return place / f"{stem}.crt", place / f"{stem}.key"


def _fail(error: NotIssued | str) -> NoReturn:
    click.echo(f"pomeriumd: {error}", err=True)
    sys.exit(1)


def _initialised(directory: Path, made: Made, permits: tuple[str, ...]) -> str:
    alone = f"for {', '.join(permits)} alone" if permits else "for every name: see --permit"
    return f"""\
{directory / CERTIFICATE}: give it to whoever is to believe the certificates; no secret.
{directory / KEY}: keep it here. Whoever has it can pass for any host that it may vouch for.
Good until {made.end:%Y-%m-%d}, {alone}.

Next: {join(["pomeriumd", "ca", "issue", "-d", str(directory), "authorize.internal"])}
"""


def _issued(
    directory: Path,
    files: tuple[Path, Path],
    made: Made,
    names: list[x509.DNSName | x509.IPAddress],
    again: str,
) -> str:
    certificate, key = (path.absolute() for path in files)
    begin = made.certificate.not_valid_before_utc
    renewal = made.end - (made.end - begin) / SPARE
    named = [str(one.value) for one in names]
    url = f"[{named[0]}]" if ":" in named[0] else named[0]
    return f"""\
{certificate}: for {", ".join(named)}; good until {made.end:%Y-%m-%d}.
{key}: its key, for that host alone.

Settings of the host that shows it (authorize, or a replica behind a balancer):

    certificates:
      - cert: {certificate}
        key: {key}

If it is authorize, the settings of every proxy, with a copy of {CERTIFICATE} (never {KEY}):

    authorize_service_url: https://{url}
    certificate_authority_file: {directory / CERTIFICATE}

and, only where that URL has another name than the certificate:

    override_certificate_name: {named[0]}

From {renewal:%Y-%m-%d} on, renew it; the daemon takes the new files by itself:

    {again}
"""
