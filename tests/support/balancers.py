"""Balancers of the manual in front of real replicas: each configuration as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import attrs
import pytest

from tests.support.certificates import authority, leaf
from tests.support.daemon import DOMAIN
from tests.support.load.programs import until
from tests.support.processes import PATIENCE_SECONDS, Running

ROOT = Path(__file__).parent.parent.parent

MANUAL = ROOT / "docs" / "load-balancers.md"

STREAM = Path("/usr/share/nginx/modules/ngx_stream_module.so")

FROM = "127.0.0.7"
"""Where browsers come from; balancers and replicas are 127.0.0.1."""


def configuration(title: str) -> str:
    """Return the file of the manual whose first line is this."""
    blocks: list[str] = re.findall(r"(?ms)^```\w+\n(.*?)^```$", MANUAL.read_text())
    [found] = [block for block in blocks if block.startswith(f"# {title}\n")]
    return found


def missing(reason: str) -> NoReturn:
    """Skip the test, or in CI fail it."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def put_right(text: str, places: Mapping[str, str]) -> str:
    """Put the test's places in the manual's; each has to be there."""
    for said, meant in places.items():
        assert said in text, said
        text = text.replace(said, meant)
    return text


@attrs.frozen(kw_only=True)
class Balancer:
    """
    One of the manual's, or one that is a word off.

    Args:
        title: of its file.
        secure: it ends TLS.
        headers: it sends PROXY headers.
        changed: what else is put in place of what.
        trusts: the authority that it is told of, PEM.
    """

    title: str
    secure: bool = False
    headers: bool = False
    changed: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    trusts: bytes = attrs.field(factory=lambda: authority().pem, repr=False)

    @property
    def program(self) -> str:
        """The program that reads the file."""
        return self.title.partition(".")[0]

    def start(self, place: Path, port: int, replicas: Sequence[int]) -> Running:
        """
        Start it, and wait until it listens.

        Args:
            place: an empty directory.
            port: where it listens.
            replicas: where these listen.
        """
        text = configuration(self.title)
        if "load_module" in text and not STREAM.exists():
            missing(f"not on this machine: {STREAM} (libnginx-mod-stream)")
        place.mkdir(parents=True)
        pair = leaf(f"*.{DOMAIN}")
        for name, content in (
            ("ca.pem", self.trusts),
            ("example.com.pem", pair.pem + (pair.key_pem if self.program == "haproxy" else b"")),
            ("example.com.key", pair.key_pem),
        ):
            (place / name).touch(mode=0o600)
            (place / name).write_bytes(content)
        first, second = replicas
        where = f"/etc/{self.program}"
        places = {
            "192.0.2.21:443": f"127.0.0.1:{first}",
            "192.0.2.22:443": f"127.0.0.1:{second}",
            **self.changed,
        }
        for said, meant in {
            f"{where}/pomerium-ca.pem": str(place / "ca.pem"),
            f"{where}/": f"{place}/",
            "authenticate.example.com": f"authenticate.{DOMAIN}",
            " .example.com": f" .{DOMAIN}",
        }.items():
            text = text.replace(said, meant)
        if self.program == "haproxy":
            places |= {"bind :443": f"bind 127.0.0.1:{port}"}
        else:
            places |= {"listen 443": f"listen 127.0.0.1:{port}"}
            places |= _nginx_places(text, place)
        file = place / self.title.partition(":")[0]
        file.write_text(put_right(text, places))
        running = Running(_command(self.program, file), where=place)
        until_it_listens(running, port)
        return running


def _nginx_places(text: str, place: Path) -> dict[str, str]:
    """Keep nginx's own files in the test's directory."""
    if "\nhttp {" not in text:
        return {}
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"  {kind}_temp_path {place}/{kind};\n" for kind in kinds)
    return {"\nhttp {\n": f"\nhttp {{\n  access_log off;\n{temporary}"}


def _command(program: str, file: Path) -> list[str]:
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path is not None
    if program == "haproxy":
        return [path, "-db", "-f", str(file)]
    more = f"daemon off; pid {file.parent}/nginx.pid; error_log stderr;"
    return [path, "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file), "-g", more]


def until_it_listens(running: Running, port: int) -> None:
    """Wait until somebody accepts there, and end the program if it does not come to that."""

    def listens() -> bool:
        assert running.runs, running.lines
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            return False
        return True

    try:
        until(listens)
    except BaseException:
        running.stop()
        raise
