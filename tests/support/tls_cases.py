"""Applications behind TLS, good and bad: one nginx with a server for each, of a test's CA."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.balancers import until_it_listens
from tests.support.certificates import BEGIN, END, Issued, authority, days, issue, leaf
from tests.support.processes import Running

NAME = "up.example.test"

OLD = "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"
FEW = "ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA;"
ASKING = "ssl_verify_client on; ssl_client_certificate ca.pem;"


@attrs.frozen(kw_only=True, eq=False)
class Case:
    """
    One application, the route to it, and what comes of it.

    Args:
        name: of the route's host, and of the server.
        shows: its certificate, and what is sent along; None is plain HTTP.
        route: keys of the route, over ``tls_custom_ca`` and ``tls_server_name``; None is none.
        more: lines of nginx.
        address: where it listens.
        status: what a user gets.
        reason: in log and metric; empty where TLS is good.
        log: what the line says.
        remedy: what else it says.
    """

    name: str
    shows: Sequence[Issued] | None = attrs.Factory(lambda: [leaf(NAME)])
    route: Mapping[str, Any] = attrs.Factory(dict)
    more: str = ""
    address: str = "127.0.0.1"
    status: int = 502
    reason: str = ""
    log: str = ""
    remedy: str = ""


def chain(length: int, **more: Any) -> list[Issued]:
    """Return a certificate, and this many authorities between it and the root."""
    links = [authority()]
    for number in range(length):
        links.append(issue(by=links[-1], authority=True, title=f"link {number}", **more))
    return [issue(NAME, by=links[-1]), *reversed(links[1:])]


def cases() -> list[Case]:
    """Return all of them."""
    own, us, stranger = issue(NAME), issue("us", by=authority()), issue("us")
    middle = issue(by=authority(), authority=True, title="the middle")
    below = issue(NAME, by=middle)
    pinned = leaf(NAME, "pinned.example.test")
    short = issue(by=authority(), authority=True, title="the last", path_length=0)
    longer = issue(by=short, authority=True, title="one more")
    servers = [ExtendedKeyUsageOID.CLIENT_AUTH]
    shown = {"tls_client_cert": us, "tls_client_key": us}
    wrong = {"tls_client_cert": stranger, "tls_client_key": stranger}
    return [
        Case(name="good", status=200),
        Case(
            name="newer-name",
            status=200,
            route={"tls_server_name": None, "tls_upstream_server_name": NAME},
        ),
        Case(name="wildcard", shows=[leaf("*.example.test")], status=200),
        Case(
            name="wildcard-deeper",
            shows=[leaf("*.example.test")],
            route={"tls_server_name": "a.up.example.test"},
            reason="wrong-name",
            log="is for *.example.test, not for a.up.example.test",
            remedy="set tls_server_name to one of its names",
        ),
        Case(name="ip4", shows=[leaf("127.0.0.1")], route={"tls_server_name": None}, status=200),
        Case(
            name="ip6",
            shows=[leaf("::1")],
            route={"tls_server_name": None},
            address="[::1]",
            status=200,
        ),
        Case(
            name="ip-wrong",
            shows=[leaf("127.0.0.9")],
            route={"tls_server_name": None},
            reason="wrong-name",
            log="is for 127.0.0.9, not for 127.0.0.1",
        ),
        Case(
            name="ip-as-name",
            route={"tls_server_name": None},
            reason="wrong-name",
            log=f"is for {NAME}, not for 127.0.0.1",
        ),
        Case(
            name="wrong-name",
            shows=[leaf("a.example.test", "b.example.test")],
            reason="wrong-name",
            log=f"is for a.example.test, b.example.test, not for {NAME}",
            remedy=f"or give it one for {NAME}",
        ),
        Case(
            name="title-only",
            shows=[issue(by=authority(), title=NAME)],
            reason="no-name",
            log=f'bears no name (subjectAltName), only its title \\"{NAME}\\"',
            remedy=f"give the application one with the subjectAltName {NAME}",
        ),
        Case(
            name="untrusted",
            route={"tls_custom_ca": None},
            reason="untrusted-issuer",
            log='is of \\"test authority\\", which it does not send',
            remedy="set tls_custom_ca to the authority that issued it",
        ),
        Case(
            name="root-sent",
            shows=[leaf(NAME), authority()],
            route={"tls_custom_ca": None},
            reason="untrusted-issuer",
            log='its chain ends at \\"test authority\\"',
        ),
        Case(
            name="self-signed",
            shows=[own],
            reason="self-signed",
            log="signed by itself alone",
            remedy="add to tls_custom_ca this very certificate",
        ),
        Case(name="self-signed-known", shows=[own], route={"tls_custom_ca": own}, status=200),
        Case(name="pinned", shows=[pinned], route={"tls_custom_ca": pinned}, status=200),
        Case(
            name="expired",
            shows=[issue(NAME, by=authority(), end=BEGIN + days(1))],
            reason="expired",
            log="has expired, at 2026-01-02 00:00 UTC",
            remedy="give the application a new one",
        ),
        Case(
            name="not-yet",
            shows=[issue(NAME, by=authority(), begin=END - days(1))],
            reason="not-yet-valid",
            log="is not valid before 2045-12-31 00:00 UTC",
            remedy="set the clock of this host right",
        ),
        Case(
            name="no-middle",
            shows=[below],
            reason="untrusted-issuer",
            log='is of \\"the middle\\", which it does not send',
            remedy="have the application send its whole chain",
        ),
        Case(name="middle", shows=[below, middle], status=200),
        Case(name="middle-known", shows=[below], route={"tls_custom_ca": middle}, status=200),
        Case(name="deep", shows=chain(9), status=200),
        Case(
            name="too-deep",
            shows=chain(10),
            reason="chain-too-long",
            log="has more than 9 certificates of authorities",
        ),
        Case(
            name="path-length",
            shows=[issue(NAME, by=longer), longer, short],
            reason="chain-too-long",
            log='is longer than \\"the last\\" allows',
        ),
        Case(
            name="for-clients",
            shows=[issue(NAME, by=authority(), uses=servers)],
            reason="not-for-servers",
            log="is not for servers",
        ),
        Case(name="asked-nothing-shown", more=ASKING, status=400),
        Case(name="asked-and-shown", more=ASKING, route=shown, status=200),
        Case(name="asked-and-wrong", more=ASKING, route=wrong, status=400),
        Case(
            name="skipped",
            shows=[issue("other.example.test", end=BEGIN + days(1))],
            route={"tls_custom_ca": None, "tls_skip_verify": True},
            status=200,
        ),
        Case(
            name="old",
            more=OLD,
            reason="protocol-version",
            log="does not speak TLS 1.2 or 1.3",
            remedy="have the application speak TLS 1.2 or 1.3",
        ),
        Case(
            name="ciphers",
            more=FEW,
            reason="cipher",
            log="has no cipher that we have",
            remedy="ECDHE",
        ),
        Case(
            name="rejecting",
            more="ssl_reject_handshake on;",
            reason="name-unknown",
            log="serves nobody of the name",
            remedy=f"{NAME} is what was asked for",
        ),
        Case(
            name="plain",
            shows=None,
            reason="not-tls",
            log="does not speak TLS at all",
            remedy="write http:// in `to`",
        ),
    ]


class Nginx:
    """
    One nginx with a server for each case.

    Args:
        place: an empty directory.
        all_of_them: the cases.
    """

    def __init__(self, place: Path, all_of_them: Sequence[Case]) -> None:
        place.mkdir()
        (place / "ca.pem").write_bytes(authority().pem)
        self.ports = _free(all_of_them)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {place}/{kind};\n" for kind in kinds)
        servers = "".join(self._server(place, case) for case in all_of_them)
        file = place / "nginx.conf"
        file.write_text(f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}}}\n")
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        more = f"daemon off; pid {place}/nginx.pid; error_log stderr info;"
        self.process = Running([program, "-p", place, "-e", "stderr", "-c", file, "-g", more])
        until_it_listens(self.process, self.ports["good"])

    def _server(self, place: Path, case: Case) -> str:
        listen = f"listen {case.address}:{self.ports[case.name]}"
        lines = f'{case.more} location / {{ return 200 "$connection $ssl_client_s_dn"; }}'
        if case.shows is None:
            return f"server {{ {listen}; {lines} }}\n"
        pem, key = place / f"{case.name}.pem", place / f"{case.name}.key"
        pem.write_bytes(b"".join(one.pem for one in case.shows))
        key.touch(mode=0o600)
        key.write_bytes(case.shows[0].key_pem)
        pair = f"ssl_certificate {pem}; ssl_certificate_key {key};"
        return f"server {{ {listen} ssl; {pair} {lines} }}\n"


def _free(all_of_them: Sequence[Case]) -> dict[str, int]:
    """Return a free port for each; all are held until each has one."""
    held = [
        socket.create_server(
            (case.address.strip("[]"), 0),
            family=socket.AF_INET6 if ":" in case.address else socket.AF_INET,
        )
        for case in all_of_them
    ]
    ports = {case.name: one.getsockname()[1] for case, one in zip(all_of_them, held, strict=True)}
    for one in held:
        one.close()
    return ports


def routes(all_of_them: Sequence[Case], ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the routes to them, as settings have them."""
    return [
        {
            "from": f"http://{case.name}.localhost",
            "to": f"https://{case.address}:{ports[case.name]}",
            "allow_public_unauthenticated_access": True,
            **_keys(case),
        }
        for case in all_of_them
    ]


def _keys(case: Case) -> dict[str, Any]:
    keys = {"tls_custom_ca": authority(), "tls_server_name": NAME, **case.route}
    written = {}
    for key, value in keys.items():
        if isinstance(value, Issued):
            written[key] = (value.key_pem if key.endswith("_key") else value.pem).decode("ascii")
        elif value is not None:
            written[key] = value
    return written
