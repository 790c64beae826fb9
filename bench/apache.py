"""
Apache with mod_auth_openidc, and a thousand people who are signed in there.

The signing in is real: an identity provider on this machine, the authorization code flow,
and a session in the module's cache.
"""

from __future__ import annotations

import http.client
import re
import secrets
import sys
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import attrs

from bench.chain import HOST, Chain, Core, Ground, Ports, find, free_ports, program
from bench.traffic import ROUTES, SESSIONS, document, request
from pomeriumd.cli.demo.children import Program

MODULES = Path("/usr/lib/apache2/modules")

NEEDED = (
    *("mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc"),
    *("proxy", "proxy_http", "ssl", "socache_shmcb"),
)
"""Loaded, and no other: what Debian enables besides would only cost time."""

NAME = "localhost"
"""Under which people come here; a session holds nowhere else."""

FORM = {"content-type": "application/x-www-form-urlencoded"}


@attrs.frozen(kw_only=True)
class Provider:
    """The identity provider."""

    program: Program
    port: int


def provider(ground: Ground) -> Provider:
    """Return the provider, not started yet."""
    (port,) = free_ports(1)
    started = program(
        "provider",
        # Its dependencies warn about each other.
        [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)],
        # It works before the first round only, and need not push others aside for it.
        core=Core(ground.other_core.number),
        directory=ground.directory,
        ports=[port],
    )
    return Provider(program=started, port=port)


def chain(ground: Ground, provider: Provider) -> Chain:
    """
    Return Apache with two processes, as Debian starts it, and threads for every connection.

    With fewer it closes idle connections as soon as all threads of a process are busy, and
    with fewer spare ones allowed it ends processes: either way the client loses answers.
    """
    plain, tls = free_ports(2)
    here = ground.directory
    log = here / "apache.access.log"
    loads = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED)
    routes = "\n".join(_route(number, ground.upstream_port) for number in range(ROUTES))
    where = here / "apache.conf"
    where.write_text(
        f"""\
ServerRoot {here}
ServerName {NAME}
PidFile {here}/apache.pid
DefaultRuntimeDir {here}
ErrorLog {here}/apache.error.log
LogLevel warn
{loads}
User www-data
Group www-data
StartServers 2
MinSpareThreads 64
MaxSpareThreads 128
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 128
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog {log} combined
SSLSessionCache shmcb:{here}/apache.tls(512000)

OIDCProviderMetadataURL http://{HOST}:{provider.port}/.well-known/openid-configuration
OIDCClientID bench
OIDCClientSecret bench
OIDCRedirectURI /redirect_uri
OIDCCryptoPassphrase {secrets.token_hex(16)}
OIDCScope "openid email profile"
OIDCRemoteUserClaim email
OIDCSessionInactivityTimeout 3600
OIDCSessionMaxDuration 50400
OIDCCacheType shm
OIDCCacheShmMax 4000
<Location />
  AuthType openid-connect
  Require all denied
</Location>
<Location /redirect_uri>
  AuthType openid-connect
  Require valid-user
</Location>
{routes}
Listen {HOST}:{plain}
Listen {HOST}:{tls} https
<VirtualHost {HOST}:{tls}>
  SSLEngine on
  SSLProtocol -all +TLSv1.3
  SSLCertificateFile {ground.certificate}
  SSLCertificateKeyFile {ground.key}
</VirtualHost>
"""
    )
    started = program(
        "apache",
        [find("apache2"), "-D", "FOREGROUND", "-f", str(where)],
        core=ground.proxy_core,
        directory=here,
        ports=[plain, tls],
    )
    return Chain(program=started, ports=Ports(plain=plain, tls=tls), log=log)


def _route(number: int, upstream_port: int) -> str:
    return f"""\
<Location /r{number}/>
  AuthType openid-connect
  Require claim groups:staff
  ProxyPass http://{HOST}:{upstream_port}/
</Location>"""


@attrs.frozen
class SignedIn:
    """Requests with sessions, each on one of fifty routes."""

    cookies: list[str]
    signed_in: bool = attrs.field(default=True, init=False)
    once: bool = attrs.field(default=False, init=False)

    def requests(self, count: int) -> list[bytes]:
        """Return one for each session."""
        return [
            request(NAME, f"/r{number % ROUTES}{document(number)}", browser=number, cookie=cookie)
            for number, cookie in enumerate(self.cookies)
        ]

    def one(self, path: str, *, signed_in: bool) -> tuple[str, bytes]:
        """Return one for another path."""
        cookie = self.cookies[0] if signed_in else ""
        return NAME, request(NAME, f"/r0/{path}", cookie=cookie)


class LoginFailed(Exception):
    """Somebody could not sign in; the text tells at which step."""


def sign_in(port: int, provider: Provider) -> SignedIn:
    """
    Sign a thousand people in, one after the other.

    Args:
        port: of Apache, plain; a session counts at both of its ports.
        provider: it runs.

    Raises:
        LoginFailed: one of them could not.
    """
    people = (f"user{number}@example.com" for number in range(SESSIONS))
    return SignedIn([_one(port, provider, person) for person in people])


def _one(port: int, provider: Provider, person: str) -> str:
    claims = (
        f'{{"email": "{person}", "email_verified": true, "name": "{person}",'
        ' "groups": ["staff", "engineering"]}'
    )
    json = {"content-type": "application/json"}
    _ask(provider.port, "PUT", f"/users/{quote(person)}", claims, json)
    begun = _ask(port, "GET", "/r0/", None, {"accept": "text/html", "host": NAME})
    granted = _ask(provider.port, "POST", _location(begun), urlencode({"sub": person}), FORM)
    state = _cookie(begun, "mod_auth_openidc_state_")
    ended = _ask(port, "GET", _location(granted), None, {"cookie": state, "host": NAME})
    return _cookie(ended, "mod_auth_openidc_session")


def _ask(
    port: int, method: str, target: str, body: str | None, fields: dict[str, str]
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, target, body, fields)
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    return response


def _location(response: http.client.HTTPResponse) -> str:
    found = urlsplit(response.headers.get("location", ""))
    if response.status not in (302, 303) or not found.query:
        raise LoginFailed(f"want a redirection, got {response.status}")
    return f"{found.path}?{found.query}"


def _cookie(response: http.client.HTTPResponse, name: str) -> str:
    for field in response.headers.get_all("set-cookie") or []:
        if re.match(rf"{name}[^=]*=[^;]", field):
            return field.partition(";")[0]
    raise LoginFailed(f"no cookie {name}, got {response.status}")
