"""The command line of ``pomeriumd verify``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from pomeriumd.cli.verify.keys import KeySource, Where, agent_for
from pomeriumd.cli.verify.site import Site
from pomeriumd.daemon.logs import observer_for
from pomeriumd.net.port import Port
from pomeriumd.net.server import ServerConnections
from pomeriumd.settings.values import Address

_LARGEST_PORT = 65_535


def host_port(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, with IPv6 in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise click.BadParameter(f"want HOST:PORT, got {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command("verify")
@click.option(
    "--listen",
    type=host_port,
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to listen, plain HTTP.",
)
@click.option(
    "--jwks-url",
    metavar="URL",
    help="The proxy's key set: https://ROUTE-HOST/.well-known/pomerium/jwks.json.",
)
@click.option(
    "--jwks-connect",
    type=host_port,
    metavar="HOST:PORT",
    help="Ask for the key set here, whatever the URL's name resolves to.",
)
@click.option(
    "--jwks-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file with the CA to trust for the key set instead of the system's.",
)
@click.option(
    "--audience",
    metavar="HOST",
    help="The host name of our route, which assertions must be made for. [default: the URL's]",
)
def command(
    listen: tuple[str, int],
    jwks_url: str | None,
    jwks_connect: tuple[str, int] | None,
    jwks_ca: Path | None,
    audience: str | None,
) -> None:
    """
    Run an application that shows who you are, as the proxy says, and checks it.

    It shows the header fields that arrived and whether the identity assertion verifies,
    echoes a WebSocket (/echo), streams a clock (/clock), and hashes uploads (/upload).
    """
    where = None if jwks_url is None else _where(jwks_url, jwks_connect, jwks_ca)
    name = "" if jwks_url is None else urlsplit(jwks_url).hostname
    react(_main, (listen, where, audience or name or ""))


def _where(url: str, connect: tuple[str, int] | None, ca: Path | None) -> Where:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise click.BadParameter(f"want http:// or https:// and a host, got {url!r}")
    return Where(url, connect, None if ca is None else ca.read_bytes())


def _main(reactor: Any, listen: tuple[str, int], where: Where | None, audience: str) -> Any:
    observer = observer_for({"nodaemon": True})
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    access = observer.access_log(reactor)
    now = time.time  # noqa: TID251  # here the arguments come from
    keys = None
    if where is not None:
        try:
            keys = KeySource(where.url, agent_for(reactor, where), reactor, now)
        except ValueError as error:
            sys.exit(f"pomeriumd verify: --jwks-ca holds no certificate: {error}")
    site = Site(keys=keys, audience=audience, now=now, clock=reactor, record=access.record)
    host, port = listen
    bound = Port(Address(host, port), ServerConnections(site), reactor, deadlines=site.deadlines)
    try:
        bound.startListening()
    except CannotListenError as error:
        sys.exit(f"pomeriumd verify: cannot listen on {host}:{port}: {error.socketError}")
    reactor.addSystemEventTrigger("after", "shutdown", access.flush)
    at = bound.getHost()
    click.echo(f"pomeriumd verify listens on http://{at.host}:{at.port}")
    # Until a signal: react() then stops the reactor itself.
    return Deferred(lambda _: None)
