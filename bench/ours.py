"""
pomeriumd, as an operator runs it: twistd, a settings file, everything else by default.

There are fifty routes for members of a group and a public one; every request goes to the
access log, a file. One process serves, unless its rung has two, of one daemon or of two. Where
authorize is a service it runs on the other core: what is measured is what asking costs the proxy.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs
import yaml

from bench.certificate import DOMAIN
from bench.chain import HOST, Chain, Ground, Ports, free_ports, program
from bench.rungs import EACH, MANY, Rung
from bench.traffic import ROUTES, SESSIONS, document, host, request

PUBLIC = f"public.{DOMAIN}"
AUTHENTICATE = f"https://authenticate.{DOMAIN}"
PROVIDER = "https://id.example.com"
"""Nobody signs in while we measure, so nobody asks it."""

MOST = 10_000
"""Routes on the rung that has many; there cannot be more in a settings file."""

RESERVE_READY = "the reserve is ready"
"""Says the log then."""

MINT = Path(__file__).with_name("mint.py")
MINT_SECONDS = 120


@attrs.frozen
class Checkout:
    """A working tree of the project with its own ``.venv``."""

    root: Path
    secret: str = attrs.field(
        factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode("ascii"), repr=False
    )

    def program(self, name: str) -> Path:
        """Return a program of its environment."""
        return self.root / ".venv" / "bin" / name

    @property
    def alone(self) -> bool:
        """Return whether it is from before there were workers, and knows no such setting."""
        return not (self.root / "pomeriumd" / "daemon" / "worker.py").exists()

    def reserves(self, rung: Rung) -> int:
        """Return how many processes it has in reserve, which are no part of what is measured."""
        has_one = (self.root / "pomeriumd" / "daemon" / "leisurely.py").exists()
        return int(has_one and rung.workers > 1)

    def tokens(self, count: int) -> list[str]:
        """Return new session tokens: the n-th is for the n-th host, and no two are equal."""
        order = {
            "count": count,
            "people": SESSIONS,
            "hosts": [host(number) for number in range(ROUTES)],
            "shared_secret": self.secret,
            "issuer": AUTHENTICATE,
            "provider": PROVIDER,
        }
        done = subprocess.run(  # noqa: S603  # a command of our own
            [self.program("python"), "-P", MINT],
            cwd=self.root,
            input=json.dumps(order),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=MINT_SECONDS,
        )
        return done.stdout.split()


def chain(ground: Ground, checkout: Checkout, rung: Rung) -> Chain:
    """Return what serves on a rung: a daemon of that checkout, or two."""
    here = ground.directory / rung.name
    here.mkdir()
    ports, grpc_ports = free_ports(rung.daemons), free_ports(rung.replicas)
    (metrics_port,) = free_ports(1)
    discrete = _asking(ground, grpc_ports, metrics_port, rung) if grpc_ports else {}
    # Beside each other in a shell: whoever is measured is this process and all below it.
    daemons = [
        _daemon(ground, checkout, rung, here / f"log.jsonl{'.beside' * at}", port, discrete)
        for at, port in enumerate(ports)
    ]
    script = f"{' & '.join(map(shlex.join, daemons))} & wait"
    log = here / "log.jsonl"
    started = program(
        rung.name,
        daemons[0] if rung.daemons == 1 else ["sh", "-c", script],
        core=ground.proxy_core,
        directory=ground.directory,
        ports=ports,
        ready=lambda: checkout.reserves(rung) <= log.read_text().count(RESERVE_READY),
    )
    port, *beside = ports
    return Chain(
        program=started,
        ports=Ports(plain=None, tls=port) if rung.secure else Ports(plain=port, tls=None),
        log=log,
        beside=beside[0] if beside else None,
        asks=[
            program(
                f"{rung.name}-authorize-{port}",
                _authorize(ground, checkout, rung, here / f"log-{port}.jsonl", port),
                core=attrs.evolve(ground.other_core, asked=True),
                directory=ground.directory,
                ports=[port],
            )
            for port in grpc_ports
        ],
        metrics_port=metrics_port if grpc_ports else None,
    )


def _asking(
    ground: Ground, grpc_ports: list[int], metrics_port: int, rung: Rung
) -> dict[str, object]:
    """Return the settings of a proxy that asks these."""
    return {
        "services": "proxy",
        "authorize_service_urls": [f"https://{HOST}:{port}" for port in grpc_ports],
        # The certificate has names, and none of them is to be looked up while we measure.
        "override_certificate_name": "localhost",
        "certificate_authority_file": str(ground.certificate),
        "metrics_address": f"{HOST}:{metrics_port}",
        **({"decision_max_age": "0s"} if rung.way.startswith(EACH) else {}),
    }


def _authorize(ground: Ground, checkout: Checkout, rung: Rung, log: Path, port: int) -> list[str]:
    """Write the settings of an authorize service, and return what starts it."""
    more = {
        "services": "authorize",
        "grpc_address": f"{HOST}:{port}",
        # Over TLS, whatever the proxy's clients speak.
        "certificates": [{"cert": str(ground.certificate), "key": str(ground.key)}],
    }
    return _daemon(ground, checkout, rung, log, free_ports(1)[0], more)


def _daemon(
    ground: Ground,
    checkout: Checkout,
    rung: Rung,
    log: Path,
    port: int,
    more: Mapping[str, object],
) -> list[str]:
    """Write the settings of one, and return what starts it."""
    to = f"http://{HOST}:{ground.upstream_port}"
    policy: list[dict[str, object]] = [
        {"from": f"https://{host(number)}", "to": to, "allowed_groups": ["staff"]}
        for number in range(ROUTES)
    ]
    public = {"from": f"https://{PUBLIC}", "to": to, "allow_public_unauthenticated_access": True}
    policy.append(public)
    if rung.way == MANY:
        policy = _amid(policy, to)
    pair = {"cert": str(ground.certificate), "key": str(ground.key)}
    settings = {
        "address": f"{HOST}:{port}",
        **({} if checkout.alone else {"workers": rung.workers}),
        **({"certificates": [pair]} if rung.secure else {"insecure_server": True}),
        "shared_secret": checkout.secret,
        "cookie_secret": base64.b64encode(secrets.token_bytes(32)).decode("ascii"),
        "authenticate_service_url": AUTHENTICATE,
        "idp_provider": "oidc",
        "idp_provider_url": PROVIDER,
        "idp_client_id": "bench",
        "idp_client_secret": "bench",
        "state_dir": str(log.with_name(f"state-{port}")),
        "policy": policy,
        **more,
    }
    where = log.with_name(f"config-{port}.yaml")
    where.touch(mode=0o600)
    where.write_text(yaml.safe_dump(settings, sort_keys=False))
    # twistd looks for plugins and modules where it is started, too.
    return [
        *("env", "-C", str(checkout.root), str(checkout.program("twistd"))),
        *("-n", "--pidfile=", f"--logfile={log}", "pomerium", "-c", str(where)),
    ]


def _amid(policy: list[dict[str, object]], to: str) -> list[dict[str, object]]:
    """Return the routes that are asked for in the middle of many more."""
    others: list[dict[str, object]] = [
        {
            "from": f"https://other{number}.{DOMAIN}",
            "to": to,
            "allowed_users": [f"somebody{number}@example.com"],
        }
        for number in range(MOST - len(policy))
    ]
    return [*others[: len(others) // 2], *policy, *others[len(others) // 2 :]]


@attrs.frozen
class SignedIn:
    """
    Requests with sessions.

    Args:
        new_heads: no two requests have the same header fields; else each of a thousand
            browsers sends the same ones again.
        new_sessions: nor the same session, and the daemon has seen none of them; else there
            are a thousand, new for each load, so that none of them gets so old that it would
            be renewed.
    """

    checkout: Checkout
    new_heads: bool = False
    new_sessions: bool = False
    signed_in: bool = attrs.field(default=True, init=False)

    @property
    def once(self) -> bool:
        """Return whether no request may be sent twice."""
        return self.new_heads or self.new_sessions

    def requests(self, count: int) -> list[bytes]:
        """Return them."""
        tokens = self.checkout.tokens(count if self.new_sessions else SESSIONS)
        cookies = [_cookie(token) for token in tokens]
        return [
            request(
                host(number),
                document(number),
                browser=number,
                cookie=cookies[number % len(cookies)],
            )
            for number in range(count if self.once else SESSIONS)
        ]

    def one(self, path: str, *, signed_in: bool) -> tuple[str, bytes]:
        """Return one for another path."""
        cookie = _cookie(self.checkout.tokens(1)[0]) if signed_in else ""
        return host(0), request(host(0), f"/{path}", cookie=cookie)


def _cookie(token: str) -> str:
    return f"__Host-_pomerium={token}"
