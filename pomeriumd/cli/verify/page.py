"""
What came of a request, as a page for a person or JSON for a program.

Shows what arrived: the person, the claims, the header fields. Credentials are shown by
name and length only: such a page ends in screenshots and tickets.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.pages import Pages
from pomeriumd.answers.safe import printable, short
from pomeriumd.cli.verify.assertion import Verdict
from pomeriumd.cli.verify.streams import NO_STORE, NOSNIFF, json_answer
from pomeriumd.daemon.redact import is_secret
from pomeriumd.http.events import Request

POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Everything from this host, nothing inline."""

ASSETS = "/assets/"
"""Where style, script and icon are; the proxy keeps ``/.pomerium/`` for itself."""

_CLAIMS = ("sub", "user", "name", "email", "groups", "iss", "aud", "iat", "exp")
"""Claims shown first; the others follow in order of their names."""


def shown_fields(request: Request) -> list[tuple[str, str]]:
    """Return the header fields as they may be shown, in wire order."""
    kept = []
    for name, value in request.fields:
        text = name.decode("latin-1")
        shown = f"[hidden, {len(value)} bytes]" if is_secret(text) else value.decode("latin-1")
        kept.append((text, shown))
    return kept


def shown_claims(claims: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the claims as text, the important ones first, without what names the session."""
    order = [name for name in _CLAIMS if name in claims]
    order += sorted(name for name in claims if name not in _CLAIMS and name not in ("sid", "jti"))
    return [(name, _claim(name, claims[name])) for name in order]


def _claim(name: str, value: object) -> str:
    if name in ("iat", "exp") and isinstance(value, int):
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class VerifyPage:
    """The page, its assets, and the JSON; built once."""

    def __init__(self) -> None:
        environment = Environment(
            autoescape=True,
            undefined=StrictUndefined,
            loader=PackageLoader("pomeriumd.cli"),
            finalize=printable,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template("verify.html")
        pages = Pages()
        script = files("pomeriumd.cli").joinpath("static", "verify.js").read_bytes()
        kind = (b"content-type", b"text/javascript; charset=utf-8")
        named = {
            "verify.css": pages.stylesheet(),
            "verify.js": Answer(200, (kind, NOSNIFF), script),
            "icon.svg": pages.icon(),
        }
        # A new version has a new address: what a browser keeps is never the wrong one.
        self._paths = {}
        self._assets = {}
        for name, answer in named.items():
            stem, _, ending = name.partition(".")
            version = hashlib.sha256(answer.body).hexdigest()[:12]
            self._paths[stem + ending] = path = f"{ASSETS}{stem}-{version}.{ending}"
            self._assets[path.encode()] = answer

    def asset(self, path: bytes) -> Answer | None:
        """Return the asset at this path, if there is one."""
        return self._assets.get(path)

    def html(self, request: Request, verdict: Verdict, client: str) -> Answer:
        """Return the page for a person."""
        claims = verdict.claims
        who = claims.get("name") or claims.get("email") or claims.get("sub")
        page = self._template.render(
            paths=self._paths,
            verified=verdict.verified,
            text=verdict.text,
            who=None if who is None else short(str(who)),
            claims=shown_claims(claims),
            fields=shown_fields(request),
            line=short(f"{request.method.decode('latin-1')} {request.path.decode('latin-1')}"),
            host=short(request.host.decode("latin-1")),
            client=client,
        )
        fields = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", POLICY),
            (b"referrer-policy", b"no-referrer"),
            NO_STORE,
            NOSNIFF,
        )
        return Answer(200, fields, page.encode("utf-8", "replace"))

    def json(self, request: Request, verdict: Verdict, client: str) -> Answer:
        """Return the same for a program."""
        body = {
            "verified": verdict.verified,
            "why": verdict.text,
            "claims": {name: value for name, value in verdict.claims.items() if name != "sid"},
            "method": request.method.decode("latin-1"),
            "host": request.host.decode("latin-1"),
            "path": request.path.decode("latin-1"),
            "headers": shown_fields(request),
            "client": client,
        }
        return json_answer(200, body)
