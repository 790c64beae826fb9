"""The rungs: their names, their order, and what each of them needs of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from bench import apache
from bench.chain import find

BARE = ("nginx", "haproxy", "envoy", "caddy")
MANY, TWO, APART = "many", "two-workers", "two-apart"
KEPT, EACH = "rpc-kept", "rpc-each"
REPLICAS = {KEPT: 1, EACH: 1, f"{KEPT}-of-three": 3, f"{EACH}-of-three": 3}
"""How many authorize services decide, on the ways where the proxy does not."""

WAYS = ("public", "auth", "heads", "cold", MANY, TWO, APART, *REPLICAS)
"""Ours: a public route; a session, a decision and an assertion; the same with header fields that
never came before; the same with sessions that never did; ``auth`` with ten thousand routes;
``auth`` with two workers instead of one process; ``auth`` with two daemons of one process each,
that know nothing of each other; ``auth`` where authorize is a service and its decisions are
kept; the same where it is asked for each request; both with three of them."""


@attrs.frozen(kw_only=True)
class Rung:
    """One way to answer a request, over TLS or plain."""

    proxy: str
    """One of ``BARE``, ``apache``, ``ours`` or ``vs``."""
    way: str = ""
    """One of ``WAYS`` for ours."""
    secure: bool

    @property
    def name(self) -> str:
        """Return what it is called on the command line and in the table."""
        parts = (self.proxy, self.way, "tls" if self.secure else "plain")
        return "-".join(part for part in parts if part)

    @property
    def workers(self) -> int:
        """Return how many processes of one daemon serve."""
        return 2 if self.way == TWO else 1

    @property
    def daemons(self) -> int:
        """Return how many daemons there are."""
        return 2 if self.way == APART else 1

    @property
    def replicas(self) -> int:
        """Return how many authorize services decide; 0 if the proxy itself does."""
        return REPLICAS.get(self.way, 0)

    @property
    def chain(self) -> str:
        """
        Return the name of the proxy process that it needs.

        Ours has one for each rung: cold sessions would push the known ones out.
        """
        return self.name if self.way else self.proxy


def every(*, versus: bool) -> list[Rung]:
    """
    Return all rungs, in the order of one round.

    Args:
        versus: another checkout takes part; its rungs stand beside ours, so that what
            disturbs the one has the best chance to disturb the other.
    """
    ours = ("ours", "vs") if versus else ("ours",)
    return [
        *(Rung(proxy=proxy, secure=secure) for secure in (False, True) for proxy in BARE),
        *(Rung(proxy="apache", secure=secure) for secure in (False, True)),
        *(
            Rung(proxy=proxy, way=way, secure=secure)
            for secure in (False, True)
            for way in WAYS
            for proxy in ours
        ),
    ]


def chosen(names: str, *, versus: bool) -> list[Rung]:
    """
    Return the rungs of a list with commas; those of the other checkout come with ours.

    Raises:
        ValueError: one is not known.
    """
    rungs = every(versus=versus)
    if not names:
        return rungs
    wanted = {name.strip() for name in names.split(",")}
    unknown = sorted(wanted - {rung.name for rung in rungs})
    if unknown:
        known = ", ".join(rung.name for rung in rungs)
        raise ValueError(f"no rung {unknown[0]!r}; there are {known}")
    wanted |= {name.replace("ours-", "vs-") for name in wanted}
    return [rung for rung in rungs if rung.name in wanted]


PACKAGES = {
    "wrk": "wrk",
    "nginx": "nginx-light",
    "taskset": "util-linux",
    "chrt": "util-linux",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "apache2": "apache2-bin",
}
"""Programs, and the packages of Debian that have them."""


def missing(rungs: Sequence[Rung]) -> list[str]:
    """Return the packages of Debian that these rungs need and that are not there."""
    proxies = {rung.proxy for rung in rungs}
    wanted = ["wrk", "nginx", "taskset"]
    wanted += [name for name in ("haproxy", "caddy") if name in proxies]
    wanted += ["apache2"] if "apache" in proxies else []
    packages = []
    for name in wanted:
        try:
            find(name)
        except LookupError:
            packages.append(PACKAGES[name])
    module = apache.MODULES / "mod_auth_openidc.so"
    if "apache" in proxies and not module.exists():
        packages.append("libapache2-mod-auth-openidc")
    return packages


def envoy_in(tools: Path) -> Path:
    """
    Return where the wheel has put Envoy.

    Raises:
        LookupError: it is not there.
    """
    for found in tools.glob("lib/python3*/site-packages/envoy/_bin/envoy"):
        return found
    raise LookupError(f"no Envoy in {tools}; `make bench` installs it")
