"""HAProxy, bare."""

from __future__ import annotations

from bench.chain import HOST, Chain, Ground, Ports, find, free_ports, program


def chain(ground: Ground) -> Chain:
    """Return HAProxy with one thread and connections to the upstream that all share."""
    plain, tls = free_ports(2)
    here = ground.directory
    both = here / "haproxy.pem"
    both.touch(mode=0o600)
    both.write_bytes(ground.certificate.read_bytes() + ground.key.read_bytes())
    where = here / "haproxy.cfg"
    where.write_text(
        f"""\
global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind {HOST}:{plain}
  bind {HOST}:{tls} ssl crt {both}
  default_backend application
backend application
  http-reuse always
  server application {HOST}:{ground.upstream_port}
"""
    )
    started = program(
        "haproxy",
        [find("haproxy"), "-db", "-f", str(where)],
        core=ground.proxy_core,
        directory=here,
        ports=[plain, tls],
    )
    return Chain(program=started, ports=Ports(plain=plain, tls=tls))
