"""
Paths, hosts, queries, redirect targets and the URLs of settings and of a provider.

Laws: only an error of ours refuses; what is canonical stays as it is; a second reader
(Python's own, and a browser's repairs) finds the same host, path and parameters in what we
take; a host of the settings is the host that a request brings; whatever target is written
can be read, and never leads to another origin.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlencode, urlsplit

from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.errors import BadMessage, BadToken, ProviderError, SettingsError
from pomeriumd.http.host import authority
from pomeriumd.http.query import parameters
from pomeriumd.http.target import canonical
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.oidc.metadata import issuer_problem, read_metadata
from pomeriumd.session.target import TARGET_SIZE, target, written
from pomeriumd.settings import addresses
from pomeriumd.settings.reads import Unfit
from tests.fuzz.harness import Harness, Input
from tests.support.settings import route

_REFUSED_DECODED = re.compile(rb"[\x00-\x1f\x7f\\]|//")

_ESCAPED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


def check(octets: bytes) -> None:
    """Hold every law for a URL or a part of one."""
    given = Input(octets)
    kind, rest = given.one_of(_KINDS), given.rest()
    kind(rest)


def _path(octets: bytes) -> None:
    """Canonical is canonical, and means what the text means to who decodes and resolves it."""
    try:
        path, query = canonical(octets)
    except BadMessage:
        return
    assert canonical(path) == (path, None), path
    assert (query is None) == (b"?" not in octets)
    assert query is None or octets.endswith(b"?" + query)
    decoded = unquote_to_bytes(path)
    assert not _REFUSED_DECODED.search(decoded), path
    assert posixpath.normpath(decoded) == (decoded.rstrip(b"/") or b"/"), path
    raw = unquote_to_bytes(octets.partition(b"?")[0])
    assert posixpath.normpath(b"/" + raw.lstrip(b"/")) == (decoded.rstrip(b"/") or b"/"), path
    # What a backend makes of it that cuts parameters off before it resolves.
    cut = re.sub(rb";[^/]*", b"", decoded)
    assert posixpath.normpath(cut) == (cut.rstrip(b"/") or b"/"), path


def _host(octets: bytes) -> None:
    """A host has one spelling, and Python reads the same one."""
    try:
        host, port = authority(octets)
    except BadMessage:
        return
    assert authority(host) == (host, None), host
    assert authority(b"%b:%d" % (host, port or 80)) == (host, port or 80)
    there = urlsplit(b"http://" + octets)
    name = (there.hostname or b"").removesuffix(b".")
    if host.startswith(b"["):
        assert IPv6Address(name.decode()) == IPv6Address(host[1:-1].decode())
    else:
        assert name == host, (host, there)
    assert there.port == port, (port, there)


def _query(octets: bytes) -> None:
    """Parameters are those that Python reads, and come back when they are written."""
    try:
        found = parameters(octets)
    except BadMessage:
        return
    theirs = parse_qsl(octets.decode("ascii"), keep_blank_values=True, errors="strict")
    assert dict(theirs) == found, (theirs, found)
    assert len(theirs) == len(found), theirs
    assert parameters(urlencode(found).encode("ascii")) == found


def _target(octets: bytes) -> None:
    """A redirect target is read in one way: as it stands, by Python, and by a browser."""
    text = octets.decode("latin-1")
    try:
        found = target(text)
    except BadToken:
        return
    assert target(found.url) == found, found
    there = urlsplit(text)
    port = there.port or {"http": 80, "https": 443}[there.scheme]
    assert (there.scheme, f"{there.hostname}:{port}") == (
        found.scheme,
        found.audience.replace("[", "").replace("]", ""),
    ), (found, there)
    assert there.username is None
    assert not there.fragment
    scheme, host = _as_browsers_repair(text)
    assert (scheme, host) == (found.scheme, text.split("/")[2]), text


def _as_browsers_repair(text: str) -> tuple[str, str]:
    """
    Return scheme and authority as a browser has them after its repairs.

    Source: the WHATWG URL standard, sections 4.4 (what is stripped) and 4.5 (special schemes).
    """
    text = text.strip("".join(map(chr, range(0x21))))
    text = re.sub(r"[\t\n\r]", "", text).replace("\\", "/")
    scheme, _, rest = text.partition(":")
    authority_ = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0]
    return scheme.lower(), authority_.rpartition("@")[2]


def _returns(octets: bytes) -> None:
    """Any request's path and query can be come back to, at its own origin alone."""
    line, mark, query = octets.partition(b"\n")
    try:
        path, _ = canonical(b"/" + line)
    except BadMessage:
        return
    for origin in ("https://app.example.com", "http://[::1]:8080"):
        text = written(origin, path, query if mark else None)
        assert len(text) <= TARGET_SIZE
        found = target(text)
        assert found.origin == origin, text
        assert canonical(found.rest.encode("ascii"))[0] in (path, b"/"), text


def _settings(octets: bytes) -> None:
    """What the settings' readers take is canonical, and is what a request's Host brings."""
    try:
        text = octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return
    for read in (addresses.route_origin, addresses.service_origin):
        origin = _read(read, text)
        if origin is not None:
            assert read(origin.text) == origin, origin
            assert authority(origin.host.encode("ascii")) == (origin.host.encode("ascii"), None)
            assert target(origin.text + "/").origin == origin.text, origin
    upstream = _read(addresses.upstream, text)
    if upstream is not None:
        assert addresses.upstream(upstream.text) == upstream, upstream
        assert authority(upstream.authority.encode("ascii"))
        assert _ESCAPED.fullmatch(upstream.path), upstream
        assert not {".", ".."} & set(unquote(upstream.path).split("/")), upstream
    issuer = _read(addresses.issuer, text)
    if issuer is not None and issuer_problem(issuer) is None:
        assert issuer == text
        assert urlsplit(issuer).hostname
    listening = _read(addresses.listen_address, text)
    assert listening is None or addresses.listen_address(listening.text) == listening
    name = _read(addresses.name_or_address, text)
    assert name is None or addresses.name_or_address(name) == name
    network = _read(addresses.network, text)
    assert network is None or addresses.network(str(network)) == network


def _read(read: Callable[[object], Any], text: str) -> Any:
    """Return the value, None if it is refused; the reason fits a line of the terminal."""
    try:
        return read(text)
    except Unfit as unfit:
        reason = str(unfit)
    assert reason.isascii(), reason
    return None


def _routes(octets: bytes) -> None:
    """A path of the settings takes the requests that spell it, however they spell it."""
    line, _, other = octets.partition(b"\n")
    try:
        text = line.decode("utf-8")
        table = RouteTable.of(
            [Route.of(route(path="/" + text)), Route.of(route(prefix="/" + text))]
        )
    except (UnicodeDecodeError, SettingsError):
        return
    exact, prefix = table.routes
    try:
        path, _ = canonical(b"/" + line)
        below, _ = canonical(b"/" + line.rstrip(b"/") + b"/" + other)
        if b"?" not in line:
            assert table.find(b"app.example.com", path) in (exact, None), (text, path)
            assert table.find(b"app.example.com", below) in (exact, prefix, None), (text, below)
    except BadMessage:
        return


def _endpoint(octets: bytes) -> None:
    """An endpoint of a provider is https, on its host or on a full name, for all readers."""
    text = octets.decode("latin-1")
    issuer = "https://id.example.com/realm"
    document = {
        "issuer": issuer,
        "authorization_endpoint": text,
        "token_endpoint": issuer,
        "jwks_uri": issuer,
    }
    try:
        found = read_metadata(document, issuer=issuer, kind=KINDS["oidc"], algorithms=["ES256"])
    except ProviderError:
        return
    assert found.authorization_endpoint == text
    scheme, host = _as_browsers_repair(text)
    there = urlsplit(text)
    assert (scheme, there.scheme) == ("https", "https"), text
    name = host.lower().partition(":")[0]
    assert name == there.hostname, (name, there)
    assert "." in name, text
    try:
        ip_address(name)
    except ValueError:
        return
    raise AssertionError(text)


_KINDS = (_path, _host, _query, _target, _returns, _settings, _routes, _endpoint)

_TEXTS: dict[Callable[[bytes], None], tuple[bytes, ...]] = {
    _path: (
        b"/",
        b"/a/../b//c/./?q=%2f",
        b"/%7eu/%2e%2e/%2F",
        b"/a;b=c/..;d/e",
        b"/%c0%af/%E2%82%AC",
    ),
    _host: (
        b"a.example",
        b"A.Example.:443",
        b"[2001:DB8::1]:8080",
        b"192.0.2.1",
        b"a..b",
        b"a@b:1",
    ),
    _query: (b"a=b&c=%C3%A4+d&e", b"state=x&state=y", b"a=%zz", b"=&&=x", b"a=b;c=d"),
    _target: (
        b"https://app.example.com/a?b=c",
        b"http://[::1]:8080/",
        b"https://app.example.com@evil/",
        b"https:\\\\evil/",
        b"https://app.example.com:443@evil/",
        b"https://app.example.com\\@evil/",
        b"https://app.example.com/\\evil",
        b"//evil",
        b" javascript:alert(1)",
    ),
    _returns: (b"a/b\nc=d", b"\xe2\x82\xac\n#\\", b"a%20b"),
    _settings: (
        b"https://App.Example.com:8443/",
        b"http://[2001:db8:0::1]:80/a%20b/",
        "https://b\u00fccher.example".encode(),
        b"https://127.1",
        b"https://a.example/realm?x#y",
        b":443",
        b"[::1]:443",
        b"10.0.0.0/8",
        b"a_b.example.",
    ),
    _routes: (b"admin\nx", b"a b/\xc3\xa4\ny", b"a/../b\n..", b"a;b\n;c"),
    _endpoint: (
        b"https://id.example.com/authorize",
        b"https://accounts.example.org:8443/o?x=y",
        b"https://127.0.0.1/",
        b"https://localhost.:1/",
        b"https://id.example.com:x@evil.example/",
        b"https://0x7f.1/",
    ),
}

HARNESS = Harness(
    name="urls",
    check=check,
    seeds=tuple(
        bytes((number,)) + text for number, kind in enumerate(_KINDS) for text in _TEXTS[kind]
    ),
    words=(
        b"https://",
        b"http://",
        b"//",
        b"/\\",
        b"/../",
        b"/./",
        b"/.",
        b"..;",
        b"/;",
        b"%2e",
        b"%2f",
        b"%5c",
        b"%00",
        b"%25",
        b"%c0%ae",
        b"%e0%80%af",
        b"%EF%BC%8F",
        b"app.example.com",
        b"id.example.com",
        b".evil",
        b"@",
        b":443",
        b"[::1]",
        b"[::ffff:127.0.0.1]",
        b"%25eth0",
        b"127.0.0.1",
        b"0x7f000001",
        b"xn--",
        b"\xc3\x9f",
        b"\xef\xbc\x8e",
        b"\xe3\x80\x82",
        b"\xe2\x80\x8d",
        b"\xed\xa0\x80",
        b"\t",
        b"?",
        b"#",
        b"&",
        b"=",
        b"+",
    ),
    longest=2_200,
)
