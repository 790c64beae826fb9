"""Caddy, bare: Go's ReverseProxy behind Go's server."""

from __future__ import annotations

import json
from typing import Any

from bench.chain import HOST, Chain, Ground, Ports, find, free_ports, program


def chain(ground: Ground) -> Chain:
    """Return Caddy with one processor for Go's scheduler."""
    plain, tls = free_ports(2)
    here = ground.directory
    where = here / "caddy.json"
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{HOST}:{ground.upstream_port}"}],
        # By default 32 may wait idle, which is just what the client's connections need.
        "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 64}},
    }
    pair = {"certificate": str(ground.certificate), "key": str(ground.key)}
    configuration = {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {
                "servers": {
                    "plain": _server(plain, proxy, {}),
                    "tls": _server(
                        tls, proxy, {"tls_connection_policies": [{"protocol_min": "tls1.3"}]}
                    ),
                }
            },
            "tls": {"certificates": {"load_files": [pair]}},
        },
    }
    where.write_text(json.dumps(configuration))
    started = program(
        "caddy",
        [find("caddy"), "run", "--config", str(where)],
        core=ground.proxy_core,
        directory=here,
        ports=[plain, tls],
        # On its one core more would only hand work to and fro between threads. Go finds out
        # by itself, from its affinity; this holds where it does not.
        environment={"GOMAXPROCS": "1"},
    )
    return Chain(program=started, ports=Ports(plain=plain, tls=tls))


def _server(port: int, proxy: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "listen": [f"{HOST}:{port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "routes": [{"handle": [proxy]}],
        **more,
    }
