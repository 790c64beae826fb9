"""The command line of ``pomeriumd demo``, and what it tells."""

from __future__ import annotations

import http.client
import importlib.util
import os
import secrets
import shutil
import socket
import ssl
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

import click

from pomeriumd.cli.demo import config, pki
from pomeriumd.cli.demo.children import (
    ChildEnded,
    Children,
    Program,
    Stopped,
    stop_on_signals,
)
from pomeriumd.cli.demo.config import Ports
from pomeriumd.cli.demo.keep import keep

READY_SECONDS = 30.0
"""What the slowest of them may take on a small machine."""

JWKS = "/.well-known/pomerium/jwks.json"

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH")
"""Of our environment the children get these: a setting in it would go over the demo's."""


@click.command("demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".demo",
    show_default=True,
    help="Where keys, settings and logs are kept.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8443,
    show_default=True,
    help="Port of the proxy, on 127.0.0.1.",
)
@click.option(
    "--setting",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=lambda _, __, given: _settings(given),
    help="A setting of the proxy that goes over the demo's, e.g. session_recheck=1m.",
)
def command(directory: Path, port: int, settings: dict[str, str]) -> None:
    """
    Start a proxy, an identity provider and an application to try it with.

    All of it listens on 127.0.0.1 only, and ends with Ctrl-C.
    """
    began = monotonic()
    children = Children()
    stop_on_signals()
    try:
        ports = _ports(port)
        _prepare(directory.absolute(), ports)
        _start(children, directory.absolute(), ports, settings)
        _welcome(directory, ports, monotonic() - began)
        children.watch()
    except Stopped:
        click.echo("\nStopping ...")
    except ChildEnded as error:
        click.echo(f"\n{error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"pomeriumd demo: {error}", err=True)
        sys.exit(1)
    finally:
        children.stop()
    click.echo("Everything has ended. Keys and settings are kept for the next time.")


def _settings(given: Sequence[str]) -> dict[str, str]:
    """Return settings as the environment variables that the proxy reads them from."""
    made = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.isidentifier() or key.upper() in _INHERITED:
            raise click.BadParameter(f"want KEY=VALUE, got {one!r}")
        made[key.upper()] = value
    return made


def _ports(proxy: int) -> Ports:
    """Return the ports, after a look whether the proxy's is free."""
    if importlib.util.find_spec("oidc_provider_mock") is None:
        raise ChildEnded("the demo needs an identity provider: pip install 'pomeriumd[demo]'")
    with socket.socket() as probe:
        # As the proxy itself will: connections of the last run do not keep it busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", proxy))
            probe.listen()
        except OSError as error:
            raise ChildEnded(
                f"127.0.0.1:{proxy} cannot be had: {(error.strerror or str(error)).lower()}.\n"
                "Is another demo running? Stop it, or take another port: pomeriumd demo --port"
                f" {9443 if proxy != 9443 else 10443}"  # noqa: PLR2004
                " (make demo ARGS='--port 9443')"
            ) from error
    with socket.socket() as first, socket.socket() as second:
        # Both are held until both are known, so that they differ.
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return Ports(proxy, first.getsockname()[1], second.getsockname()[1])


def _prepare(directory: Path, ports: Ports) -> None:
    """Make what is missing in the directory, and say so."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = pki.ensure(directory, pki.present())
    kept, fresh = config.secrets_in(directory, secrets.token_bytes)
    if fresh:
        made.append("secrets")
    _say("keys", f"made {', '.join(made)}" if made else f"found in {directory}")
    settings = config.text(directory, ports, kept)
    keep(directory / "config.yaml", settings.encode("utf-8"))
    _say("settings", f"wrote {directory / 'config.yaml'}")


def _start(children: Children, directory: Path, ports: Ports, settings: Mapping[str, str]) -> None:
    """Start all three at once, and wait until each answers."""
    _say("starting", "provider, application and proxy ...")
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    for program in _programs(directory, ports, environment, settings):
        children.start(program)
    children.wait_until_ready(READY_SECONDS, lambda program: _say(program.name, "answers"))


def _programs(
    directory: Path, ports: Ports, environment: dict[str, str], settings: Mapping[str, str]
) -> list[Program]:
    scripts = sysconfig.get_path("scripts")
    twistd = shutil.which("twistd", path=scripts) or shutil.which("twistd")
    if twistd is None:
        raise ChildEnded(f"twistd is not in {scripts}: is Twisted installed there?")
    people = [word for person in config.people() for word in ("--user-claims", person)]
    ca = directory / "ca.pem"
    trust = ssl.create_default_context(cafile=str(ca))
    return [
        Program(
            "provider",
            # Its dependencies warn about each other; that is not the newcomer's affair.
            [
                *(sys.executable, "-W", "ignore", "-m", "oidc_provider_mock"),
                *("--port", str(ports.provider), *people),
            ],
            directory / "provider.log",
            lambda: _answers(ports.provider, "/.well-known/openid-configuration"),
            environment,
        ),
        Program(
            "application",
            [
                *(sys.executable, "-m", "pomeriumd.cli", "verify"),
                *("--listen", f"127.0.0.1:{ports.application}"),
                *("--jwks-url", f"{config.url('verify', ports.proxy)}{JWKS}"),
                *("--jwks-connect", f"127.0.0.1:{ports.proxy}", "--jwks-ca", str(ca)),
            ],
            directory / "application.log",
            lambda: _answers(ports.application, "/healthz"),
            environment,
        ),
        Program(
            "proxy",
            [twistd, "-n", "--pidfile=", "pomerium", "-c", str(directory / "config.yaml")],
            directory / "proxy.log",
            lambda: _answers(ports.proxy, "/ping", trust),
            {**environment, **settings},
        ),
    ]


def _answers(port: int, path: str, trust: ssl.SSLContext | None = None) -> bool:
    """Tell whether the server there answers 200; raises OSError where there is none."""
    connection: http.client.HTTPConnection
    name = config.host("verify")
    if trust is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    else:
        connection = http.client.HTTPSConnection(name, port, timeout=2)
        # The resolver may not know the name.
        plain = socket.create_connection(("127.0.0.1", port), 2)
        try:
            connection.sock = trust.wrap_socket(plain, server_hostname=name)
        except OSError:
            plain.close()
            raise
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def _say(what: str, text: str) -> None:
    click.echo(f"  {what:<12} {text}")


def _welcome(directory: Path, ports: Ports, took: float) -> None:
    private, public = (config.url(label, ports.proxy) for label in ("verify", "public"))
    ca = directory / "ca.pem"
    click.echo(f"""
Ready after {took:.1f} s. Open

    {click.style(private, bold=True)}

and sign in as
    {config.ALLOWED:<22} you see the application, and what it is told about you
    {config.DENIED:<22} you are told why you may not see it
{public} is open without sign-in.

Your browser warns, because it does not know the demo's certificate authority. Go on past
the warning, or trust {ca} (it can vouch for *.{pki.DOMAIN} only):
    Firefox     Settings, Privacy & Security, View Certificates, Authorities, Import
    Chromium    Settings, Privacy and security, Security, Manage certificates, Custom, Import
    curl        curl --cacert {ca} {public}/

Settings and logs are in {directory}/. Ctrl-C stops all of it.""")
