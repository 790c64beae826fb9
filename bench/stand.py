"""The test stand: everything that one run needs, started together and ended together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from bench import apache, caddy, certificate, envoy, haproxy, nginx, ours
from bench.chain import Chain, Core, Ground
from bench.order import Order
from bench.rungs import Rung, envoy_in
from bench.traffic import Anonymous, Traffic
from bench.upstream import Upstream, upstream
from pomeriumd.cli.demo.children import Child, Children
from pomeriumd.cli.demo.pki import present

READY_SECONDS = 60.0


@attrs.frozen(kw_only=True)
class Lane:
    """A rung whose proxy runs."""

    rung: Rung
    chain: Chain
    child: Child
    traffic: Traffic

    @property
    def port(self) -> int:
        """Return where the client connects."""
        return self.chain.ports.of(secure=self.rung.secure)

    @property
    def clients(self) -> Sequence[int]:
        """Return where each client connects; there is one for each process that serves."""
        if self.chain.beside is not None:
            return (self.port, self.chain.beside)
        return (self.port,) * self.rung.workers


@attrs.frozen(kw_only=True)
class Stand:
    """All lanes of one run, and what they share."""

    ground: Ground
    upstream: Upstream
    lanes: Sequence[Lane]


def cores(*, realtime: bool) -> tuple[Core, Core]:
    """
    Return the core for the proxies and the one for everything else.

    Raises:
        LookupError: we have but one, and client and proxy would take turns on it.
    """
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) == 1:
        raise LookupError("want two cores: one for the proxy, one for client and upstream")
    return Core(ours[1], realtime), Core(ours[0], realtime)


def put_up(children: Children, directory: Path, order: Order, tell: Callable[[str], None]) -> Stand:
    """
    Start all that the order needs, and wait until it is ready.

    Args:
        children: whoever calls ends them, whatever happens.
        directory: empty, ours alone.
        order: what is to be measured.
        tell: called with a line for whoever waits.

    Raises:
        ChildEnded: one did not get ready.
        LookupError: something is not on this machine.
        LoginFailed: the identity provider or Apache did not let somebody in.
    """
    # Workers of nginx and Apache give up root's rights, and have to get in here.
    directory.chmod(0o755)
    proxy_core, other_core = cores(realtime=order.realtime)
    pair = certificate.write(directory, present())
    application = upstream(directory, other_core)
    ground = Ground(
        directory=directory,
        proxy_core=proxy_core,
        other_core=other_core,
        certificate=pair[0],
        key=pair[1],
        upstream_port=application.port,
    )
    provider = apache.provider(ground) if order.has("apache") else None
    children.start(application.program)
    if provider is not None:
        children.start(provider.program)
        # Apache reads what the provider says of itself when it is first asked.
        children.wait_until_ready(READY_SECONDS, lambda _: None)
    chains: dict[str, tuple[Chain, Child]] = {}
    for rung in order.rungs:
        if rung.chain not in chains:
            chain = _chain(ground, rung, order, provider)
            for asked in chain.asks:
                children.start(asked)
            chains[rung.chain] = chain, children.start(chain.program)
    children.wait_until_ready(READY_SECONDS, lambda _: None)
    signed_in: Traffic | None = None
    if provider is not None:
        tell("signing in at Apache ...")
        port = chains["apache"][0].ports.of(secure=False)
        signed_in = apache.sign_in(port, provider)
    lanes = [
        Lane(
            rung=rung,
            chain=chains[rung.chain][0],
            child=chains[rung.chain][1],
            traffic=_traffic(rung, order, signed_in),
        )
        for rung in order.rungs
    ]
    return Stand(ground=ground, upstream=application, lanes=lanes)


def _chain(ground: Ground, rung: Rung, order: Order, provider: apache.Provider | None) -> Chain:
    match rung.proxy:
        case "nginx":
            return nginx.chain(ground)
        case "haproxy":
            return haproxy.chain(ground)
        case "envoy":
            return envoy.chain(ground, envoy_in(order.tools))
        case "caddy":
            return caddy.chain(ground)
        case "apache" if provider is not None:
            return apache.chain(ground, provider)
        case _:
            return ours.chain(ground, order.checkouts[rung.proxy], rung)


def _traffic(rung: Rung, order: Order, at_apache: Traffic | None) -> Traffic:
    if rung.proxy == "apache" and at_apache is not None:
        return at_apache
    if not rung.way:
        return Anonymous(f"bare.{certificate.DOMAIN}")
    if rung.way == "public":
        return Anonymous(ours.PUBLIC)
    return ours.SignedIn(
        order.checkouts[rung.proxy],
        new_heads=rung.way == "heads",
        new_sessions=rung.way == "cold",
    )
