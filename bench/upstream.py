"""The application behind every proxy: nginx with one page, and a count of what it answered."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import attrs

from bench.chain import HOST, Core, find, free_ports, program
from pomeriumd.cli.demo.children import Program

PAGE = ("<!doctype html><title>Bench</title><p>" + "All of it is the same to us. " * 50)[:1300]
"""What every measured request is answered with: 1.3 KB, as much as a small page or a reply of
an API."""

SEEN = "seen"
"""The path, in the root, that tells which identity came with the request."""


@attrs.frozen(kw_only=True)
class Upstream:
    """nginx, and how to ask it what it has done."""

    program: Program
    port: int
    status_port: int

    def requests(self) -> int:
        """Return how many requests it has got but those of ours for this very count."""
        connection = http.client.HTTPConnection(HOST, self.status_port, timeout=5)
        try:
            connection.request("GET", "/")
            text = connection.getresponse().read().decode("ascii")
        finally:
            connection.close()
        found = re.search(r"^ *(\d+) +(\d+) +(\d+) *$", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"no counts in the upstream's status: {text!r}")
        # Each of our questions is a connection of its own and one request: count it out.
        self._asked.append(1)
        return int(found[3]) - len(self._asked)

    _asked: list[int] = attrs.Factory(list)


def upstream(directory: Path, core: Core) -> Upstream:
    """Return the application, not started yet."""
    port, status_port = free_ports(2)
    where = directory / "upstream.conf"
    where.write_text(
        f"""\
daemon off;
worker_processes 1;
pid {directory}/upstream.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/html;
  client_body_temp_path {directory}/upstream.body;
  proxy_temp_path {directory}/upstream.proxy;
  fastcgi_temp_path {directory}/upstream.fastcgi;
  uwsgi_temp_path {directory}/upstream.uwsgi;
  scgi_temp_path {directory}/upstream.scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  underscores_in_headers on;
  server {{
    listen {HOST}:{port} backlog=1024;
    location / {{ return 200 "{PAGE}"; }}
    location = /{SEEN} {{
      return 200 "$http_x_pomerium_jwt_assertion $http_oidc_claim_sub";
    }}
  }}
  server {{
    listen {HOST}:{status_port};
    location / {{ stub_status; }}
  }}
}}
"""
    )
    command = [find("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(where)]
    started = program(
        "upstream", command, core=core, directory=directory, ports=[port, status_port]
    )
    return Upstream(program=started, port=port, status_port=status_port)
