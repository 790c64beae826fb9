"""nginx, bare."""

from __future__ import annotations

from bench.chain import HOST, Chain, Ground, Ports, find, free_ports, program


def chain(ground: Ground) -> Chain:
    """Return nginx with one worker and connections to the upstream that stay."""
    plain, tls = free_ports(2)
    here = ground.directory
    where = here / "nginx.conf"
    where.write_text(
        f"""\
daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {here}/nginx.body;
  proxy_temp_path {here}/nginx.proxy;
  fastcgi_temp_path {here}/nginx.fastcgi;
  uwsgi_temp_path {here}/nginx.uwsgi;
  scgi_temp_path {here}/nginx.scgi;
  upstream application {{
    server {HOST}:{ground.upstream_port};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {HOST}:{plain} backlog=1024;
    listen {HOST}:{tls} ssl backlog=1024;
    ssl_certificate {ground.certificate};
    ssl_certificate_key {ground.key};
    ssl_protocols TLSv1.3;
    keepalive_requests 1000000000;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""
    )
    command = [find("nginx"), "-e", "stderr", "-p", str(here), "-c", str(where)]
    started = program("nginx", command, core=ground.proxy_core, directory=here, ports=[plain, tls])
    return Chain(program=started, ports=Ports(plain=plain, tls=tls))
