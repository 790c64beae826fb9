"""Balancers in front of authorize, as operators have them; each is one address for several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.rungs import envoy_in
from tests.support.certificates import Issued
from tests.support.lan.hosts import Host, program
from tests.support.load.programs import until
from tests.support.processes import Running

ROOT = Path(__file__).parents[3]

_API = "type.googleapis.com/envoy.extensions"


@attrs.frozen
class Behind:
    """What every one of them is told."""

    host: Host
    """Where it runs."""
    place: Path
    """For its files."""
    port: int
    """Its own, and that of authorize."""
    replicas: Sequence[Host]
    certified: Issued
    """What it shows to the proxy, where it ends TLS."""
    authority: Path
    """File with the authority to trust, of the replicas."""
    name: str
    """That their certificates have to be good for."""

    def file(self, name: str, content: str | bytes) -> Path:
        """Write a file, and return where it is."""
        where = self.place / name
        where.touch(mode=0o600)
        where.write_bytes(content.encode() if isinstance(content, str) else content)
        return where

    def pair(self) -> tuple[Path, Path]:
        """Return the files with its certificate and its key."""
        return (
            self.file("balancer.pem", self.certified.pem),
            self.file("balancer.key", self.certified.key_pem),
        )

    def start(self, *command: str | Path) -> Running:
        """Start it, and wait until it listens."""
        running = self.host.start(*command)

        def listens() -> bool:
            assert running.runs, running.lines
            try:
                self.host.connect(self.host.address, self.port).close()
            except OSError:
                return False
            return True

        until(listens)
        return running


def nginx(behind: Behind) -> Running:
    """Start nginx: HTTP/2 and TLS on both sides, each call for whichever replica is next."""
    certificate, key = behind.pair()
    place = behind.place
    servers = "\n".join(
        f"server {host.address}:{behind.port} max_fails=1 fail_timeout=2s;"
        for host in behind.replicas
    )
    temporary = "\n".join(
        f"{kind}_temp_path {place}/balancer.{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    where = behind.file(
        "balancer.conf",
        f"""
daemon off; worker_processes 1; pid {place}/balancer.pid; error_log stderr warn; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temporary}
  upstream authorize {{ {servers} keepalive 32; }}
  server {{
    listen {behind.host.address}:{behind.port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    keepalive_requests 1000000000;
    # The proxy's Watch lasts as long as the connection.
    grpc_read_timeout 1d;
    grpc_send_timeout 1d;
    client_body_timeout 1d;
    location / {{
      grpc_pass grpcs://authorize;
      grpc_connect_timeout 200ms;
      grpc_ssl_verify on;
      grpc_ssl_trusted_certificate {behind.authority};
      grpc_ssl_name {behind.name};
      grpc_ssl_server_name on;
      # To ask twice does no harm, but nginx cannot know that of a POST.
      grpc_next_upstream error timeout http_502 http_503 non_idempotent;
    }}
  }}
}}
""",
    )
    return behind.start(program("nginx"), "-e", "stderr", "-p", place, "-c", where)


def haproxy_tcp(behind: Behind) -> Running:
    """Start HAProxy on layer 4: a connection stays with the replica that it was given to."""
    return _haproxy(
        behind,
        "tcp",
        f"bind {behind.host.address}:{behind.port}",
        "check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions",
    )


def haproxy_http(behind: Behind) -> Running:
    """Start HAProxy on layer 7: HTTP/2 and TLS on both sides."""
    both = behind.file("balancer.both", behind.certified.pem + behind.certified.key_pem)
    return _haproxy(
        behind,
        "http",
        f"bind {behind.host.address}:{behind.port} ssl crt {both} alpn h2",
        f"ssl verify required ca-file {behind.authority} verifyhost {behind.name} alpn h2"
        " check check-alpn h2 inter 500ms fall 2 rise 1",
        "retries 2",
        "retry-on all-retryable-errors",
        "option redispatch 1",
        # A pause is no end: Watch says nothing for hours.
        "timeout tunnel 1d",
    )


def _haproxy(behind: Behind, mode: str, bind: str, server: str, *more: str) -> Running:
    servers = [
        f"server authorize{number} {host.address}:{behind.port} {server}"
        for number, host in enumerate(behind.replicas, 1)
    ]
    lines = (
        *("global", "maxconn 4096"),
        *("defaults", f"mode {mode}", "timeout connect 500ms"),
        *("timeout client 1d", "timeout server 1d", *more),
        *("frontend proxies", bind, "default_backend authorize"),
        *("backend authorize", "balance roundrobin", *servers, ""),
    )
    where = behind.file("haproxy.cfg", "\n".join(lines))
    return behind.start(program("haproxy"), "-db", "-f", where)


def envoy_binary() -> Path:
    """
    Return where ``make bench`` has put Envoy.

    Raises:
        LookupError: it has not.
    """
    return envoy_in(ROOT / "build" / "bench")


def envoy(behind: Behind) -> Running:
    """Start Envoy: HTTP/2 and TLS on both sides, and it asks each replica for its health."""
    certificate, key = behind.pair()
    certificates = [
        {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    ]
    towards_us = {
        "@type": f"{_API}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": certificates, "alpn_protocols": ["h2"]},
    }
    names = [{"san_type": "DNS", "matcher": {"exact": behind.name}}]
    towards_them = {
        "@type": f"{_API}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": behind.name,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "validation_context": {
                "trusted_ca": {"filename": str(behind.authority)},
                "match_typed_subject_alt_names": names,
            },
        },
    }
    endpoints = [
        {"endpoint": {"address": _address(host.address, behind.port)}} for host in behind.replicas
    ]
    cluster = {
        "name": "authorize",
        "type": "STATIC",
        "connect_timeout": "0.2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": "authorize",
            "endpoints": [{"lb_endpoints": endpoints}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_API}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {"name": "tls", "typed_config": towards_them},
        # Three at a time if left out: fewer than a replica has in flight when it dies.
        "circuit_breakers": {"thresholds": [{"max_retries": 1000}]},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                # Else it is a minute until one is asked that nobody has called yet.
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
    }
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "authorize",
            "timeout": "0s",
            "retry_policy": {
                "retry_on": "unavailable,reset,connect-failure,refused-stream",
                "num_retries": 2,
                "retry_host_predicate": [
                    {
                        "name": "previous_hosts",
                        "typed_config": {
                            "@type": f"{_API}.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 5,
            },
        },
    }
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "authorize",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "proxies",
        "address": _address(behind.host.address, behind.port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ],
                "transport_socket": {"name": "tls", "typed_config": towards_us},
            }
        ],
    }
    where = behind.file(
        "envoy.json",
        json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}),
    )
    # Hot restart claims a shared memory that another Envoy on this machine may have.
    return behind.start(
        *(
            envoy_binary(),
            "-c",
            where,
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warning",
        )
    )


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
