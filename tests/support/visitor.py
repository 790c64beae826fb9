"""A browser's HTTP without the browser: cookies, redirects and forms, over real sockets."""

from __future__ import annotations

import html
import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import attrs

from tests.support.processes import PATIENCE_SECONDS

REDIRECTS = 20
"""A browser gives up about here, too."""

NAVIGATION = {
    "accept": "text/html,application/xhtml+xml",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}

SESSIONS = {"__Host-_pomerium", "__Host-_pomerium_authenticate"}
"""At an application's host, and at authenticate's."""


@attrs.frozen
class Page:
    """An answer, and the way to it."""

    url: str
    status: int
    fields: Mapping[str, str]
    """Names in lower case; of several of one name the last."""
    text: str
    way: tuple[str, ...]
    """The addresses that were asked, this page's last."""

    @property
    def check(self) -> str:
        """The check that the page names; none is a failure of the test."""
        found = re.search(r"<code>([a-z-]+)</code>", self.text)
        assert found is not None, self.text
        return found[1]

    @property
    def request_id(self) -> str:
        """The id that the page asks to tell."""
        found = re.search(r"Request ID <code>([0-9a-f-]+)</code>", self.text)
        assert found is not None, self.text
        return found[1]

    def form(self, **given: str) -> tuple[str, dict[str, str]]:
        """Return where the page's first form goes, and what it sends."""
        found = re.search(r"<form.*?</form>", self.text, re.DOTALL)
        assert found is not None, self.text
        action = re.search(r'action="([^"]*)"', found[0])
        hidden = {
            _attribute(field, "name"): _attribute(field, "value")
            for field in re.findall(r"<(?:input|button)[^>]*>", found[0])
            if "name=" in field and "value=" in field
        }
        return urljoin(self.url, html.unescape(action[1]) if action else ""), {**hidden, **given}


def _attribute(field: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', field)
    return html.unescape(found[1]) if found else ""


@attrs.define(eq=False)
class Visitor:
    """
    One browser profile. Every host name is this machine.

    Args:
        authority: the one that is trusted, PEM.
    """

    authority: bytes
    cookies: dict[tuple[str, str, str], str] = attrs.field(factory=dict, init=False)
    """By host, name and path."""
    _trust: ssl.SSLContext = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Trust the one authority."""
        self._trust = ssl.create_default_context(cadata=self.authority.decode("ascii"))

    def get(self, url: str, *, follow: bool = True, **fields: str) -> Page:
        """Open an address, and follow where it leads."""
        return self._go("GET", url, None, {**NAVIGATION, **_named(fields)}, follow=follow)

    def script(self, url: str) -> Page:
        """Ask as a page's script does."""
        return self._go("GET", url, None, {"accept": "application/json"}, follow=False)

    def post(self, url: str, form: Mapping[str, str], *, follow: bool = True) -> Page:
        """Send a form."""
        fields = {**NAVIGATION, "content-type": "application/x-www-form-urlencoded"}
        return self._go("POST", url, urlencode(form), fields, follow=follow)

    def submit(self, page: Page, *, follow: bool = True, **given: str) -> Page:
        """Send the first form of a page."""
        return self.post(*page.form(**given), follow=follow)

    @property
    def sessions(self) -> set[str]:
        """The names of the cookies that hold a session of ours."""
        return {name for _, name, _ in self.cookies} & SESSIONS

    def _go(
        self, method: str, url: str, body: str | None, fields: dict[str, str], *, follow: bool
    ) -> Page:
        way: list[str] = []
        for _ in range(REDIRECTS):
            way.append(url)
            status, got, text = self._ask(method, urlsplit(url), body, fields)
            if not follow or status not in (301, 302, 303, 307):
                return Page(url, status, got, text, tuple(way))
            url, method, body = urljoin(url, got["location"]), "GET", None
        raise AssertionError(f"went in circles: {way}")

    def _ask(
        self, method: str, parts: SplitResult, body: str | None, fields: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._connect(port)
        if parts.scheme == "https":
            connection.sock = self._trust.wrap_socket(connection.sock, server_hostname=host)
        path = parts.path or "/"
        try:
            connection.request(
                method,
                path + (f"?{parts.query}" if parts.query else ""),
                body,
                {**fields, **self._sent(host, path)},
            )
            answer = connection.getresponse()
            text = answer.read().decode("utf-8")
        finally:
            connection.close()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                self._keep(host, value)
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, text

    def _connect(self, port: int) -> socket.socket:
        """Open a connection to whoever has this port."""
        return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)

    def _sent(self, host: str, path: str) -> dict[str, str]:
        mine = [
            f"{name}={value}"
            for (at, name, below), value in self.cookies.items()
            if at == host and path.startswith(below)
        ]
        return {"cookie": "; ".join(mine)} if mine else {}

    def _keep(self, host: str, field: str) -> None:
        pair, *attributes = field.split(";")
        name, _, value = pair.partition("=")
        said = dict(_attribute_of(one) for one in attributes)
        key = (host, name, said.get("path", "/"))
        if said.get("max-age") == "0" or "1970" in said.get("expires", ""):
            self.cookies.pop(key, None)
        else:
            self.cookies[key] = value


def _attribute_of(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name.lower(), value


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}
