"""Envoy in front of real replicas, for TCP and for HTTP; from the wheel that the bench installs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.rungs import envoy_in
from tests.support.balancers import ROOT, missing, until_it_listens
from tests.support.certificates import authority, leaf
from tests.support.daemon import DOMAIN
from tests.support.processes import Running

_API = "type.googleapis.com/envoy.extensions"
_SOCKETS = f"{_API}.transport_sockets"


def binary() -> Path:
    """Return where Envoy is; without it the test is skipped, or in CI fails."""
    try:
        return envoy_in(ROOT / "build" / "bench")
    except LookupError as error:
        missing(str(error))


@attrs.frozen(kw_only=True)
class Envoy:
    """
    A balancer like those of the manual.

    Args:
        secure: it ends TLS; otherwise it sends PROXY headers.
    """

    secure: bool
    program: str = "envoy"

    @property
    def headers(self) -> bool:
        """Whether it sends PROXY headers."""
        return not self.secure

    def start(self, place: Path, port: int, replicas: Sequence[int]) -> Running:
        """Start it, and wait until it listens."""
        place.mkdir(parents=True)
        pair = leaf(f"*.{DOMAIN}")
        for name, content in (
            ("ca.pem", authority().pem),
            ("pair.pem", pair.pem),
            ("pair.key", pair.key_pem),
        ):
            (place / name).touch(mode=0o600)
            (place / name).write_bytes(content)
        chain = _http(place) if self.secure else _tcp()
        cluster = {
            "name": "pomerium",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "pomerium",
                "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": _address(to)}} for to in replicas]}
                ],
            },
            "transport_socket": _verified(place) if self.secure else _introduced(),
        }
        listener = {"name": "all", "address": _address(port), "filter_chains": [chain]}
        file = place / "envoy.json"
        file.write_text(
            json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
        )
        running = Running(
            (
                *(binary(), "-c", file, "--concurrency", "1"),
                *("--disable-hot-restart", "-l", "warning"),
            ),
            where=place,
        )
        until_it_listens(running, port)
        return running


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tcp() -> dict[str, Any]:
    proxy = {
        "@type": f"{_API}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "pomerium",
    }
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}


def _introduced() -> dict[str, Any]:
    """Return what begins each connection with a PROXY header."""
    raw = {"@type": f"{_SOCKETS}.raw_buffer.v3.RawBuffer"}
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": f"{_SOCKETS}.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": "V2"},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw},
        },
    }


def _http(place: Path) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "pomerium", "timeout": "0s"}}
    router = {"@type": f"{_API}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "use_remote_address": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "name": "all",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    pair = {
        "certificate_chain": {"filename": str(place / "pair.pem")},
        "private_key": {"filename": str(place / "pair.key")},
    }
    return {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ],
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_SOCKETS}.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [pair]},
            },
        },
    }


def _verified(place: Path) -> dict[str, Any]:
    """Return TLS to the replicas, with the one name in their certificate."""
    name = f"authenticate.{DOMAIN}"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_SOCKETS}.tls.v3.UpstreamTlsContext",
            "sni": name,
            "auto_sni_san_validation": True,
            "common_tls_context": {
                "validation_context": {"trusted_ca": {"filename": str(place / "ca.pem")}}
            },
        },
    }
