# ruff: noqa: RUF001 - look-alikes are what it is about
"""
Redirects (abuse cases 4.3): nobody is ever led to a place that is not listed.

The corpus is in targets.py. Every place of ours that leads somewhere is a sink here, and
each gets the corpus over the wire; where only a holder of our keys could put a text (into
a seal, into a signed link), the test holds them: the validator is asked there, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import attrs
import orjson

from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.seal import seal
from pomeriumd.session.handoff import HANDOFF_SECONDS, Handoff, seal_handoff
from pomeriumd.session.session import Identity
from pomeriumd.session.sign_in import SignInRequest, sign_in_url, sign_out_url
from tests.abuse.targets import AT_HOME, ELSEWHERE, EVIL
from tests.support.browser import APP, AUTH, LISTED, ROUTES, SIX, WIKI, SignInCase
from tests.support.leads import VOID, astray, is_html, leads, page
from tests.support.provider import challenge_of
from tests.support.rig import ALICE, NAVIGATION, Chance, Got
from tests.support.settings import COOKIE, ISSUER, SHARED

WAITING: dict[str, str] = {}
"""Rows of 4.3 that cannot be tested today: none."""

SHARED_KEYS = SharedKeys.derived([SHARED])
OWN_KEYS = OwnKeys.derived([COOKIE])

REFUSED = frozenset({200, 302, 400, 404, 431})
"""Statuses that an abuse may get: pages, redirects to ourselves, refusals; never a 5xx."""

Sink = Callable[[str], Got]


class RedirectCase(SignInCase):
    """Texts on their way into every place that leads somewhere."""

    def setUp(self) -> None:
        """Have chance for seals of the test's own."""
        super().setUp()
        self.chance = Chance(count=1 << 20)

    def never_leads_away(self, sink: Sink, texts: Iterable[str]) -> None:
        """Assert that no text, given to a sink, leads anywhere but to listed places."""
        for text in texts:
            got = sink(text)
            self.assertEqual(astray(got, LISTED), [], text)
            self.assertIn(got.status, REFUSED, text)
        self.assertEqual(self.rig.upstreams.opened, [])

    def leads_home(self, sink: Sink) -> None:
        """Assert that what has to pass passes, to the letter."""
        for text in AT_HOME:
            self.assertIn(text, leads(sink(text)))

    def login_cookie(self, audience: str, content: dict[str, Any], keys: Any) -> str:
        """Return the name of a login's cookie that a holder of our keys made up."""
        login = f"{int(self.clock.seconds()):09x}{'A' * 22}"
        context = f"login 1\n{audience}\n{login}".encode()
        sealed = seal(keys, orjson.dumps(content), context=context, random=self.chance)
        host = audience.partition(":")[0]
        self.browser.cookies[host, f"__Host-_pomerium_login_{login}".encode()] = sealed.encode()
        return login

    def asked_to_sign_in(self, text: str) -> Got:
        """Ask authenticate to sign somebody in who wants to go there."""
        asked = SignInRequest(redirect=text, login="id.hash")
        now = self.clock.seconds()
        return self.browser.open(sign_in_url(SHARED_KEYS.signed_url, AUTH, asked, now))

    def at_provider(self, text: str) -> str:
        """Have a sign-in under way that is to end there; return its state."""
        return self.login_cookie(
            "auth.example.com:443",
            {
                "verifier": "v" * 43,
                "nonce": "n" * 43,
                "issuer": ISSUER,
                "redirect": text,
                "login": "id.hash",
            },
            OWN_KEYS.login,
        )


class SignInTargetTests(RedirectCase):
    """R1: a sign-in ends where it began, at a listed host, or it does not end."""

    row = "R1"
    VARIANTS = ELSEWHERE

    def route_host(self, text: str) -> Got:
        """Give the target to a route host's own page, encoded as a form would."""
        query = urlencode({"pomerium_redirect_uri": text})
        return self.browser.open(f"{APP}/.pomerium/sign_in?{query}")

    def route_host_raw(self, text: str) -> Got:
        """Give it as it is."""
        return self.browser.open(f"{APP}/.pomerium/sign_in?pomerium_redirect_uri={text}")

    def signed_in(self, text: str) -> Got:
        """Ask authenticate for a hand-off to there."""
        got = self.asked_to_sign_in(text)
        self.assertFalse(any(url.startswith(ISSUER) for url in leads(got)))
        return got

    def provider_says_no(self, text: str) -> Got:
        """Come back from the provider with an error: the page has a way to begin again."""
        state = self.at_provider(text)
        return self.browser.open(f"{AUTH}/oauth2/callback?state={state}&error=access_denied")

    def navigates(self, text: str) -> Got:
        """Open the text as an address at the route host."""
        return self.browser.ask("app.example.com", b"/" + text.encode(), *NAVIGATION)

    def test_at_a_route_host(self) -> None:
        """Its sign-in page comes back to this very host, or refuses."""
        self.never_leads_away(self.route_host, self.VARIANTS)
        self.leads_home(self.route_host)

    def test_at_a_route_host_unencoded(self) -> None:
        """The same with what can stand in a query as it is, every second one."""
        plain = [text for text in self.VARIANTS if re.fullmatch(r"[!-\"$-~]+", text)]
        self.assertGreater(len(plain), 500)
        self.never_leads_away(self.route_host_raw, plain[::2])

    def test_at_a_route_host_only_that_host(self) -> None:
        """Another listed host is no target either: a link to one host ends at that host."""
        for text in (f"{WIKI}/", f"{SIX}/", f"{AUTH}/", f"{AUTH}/.pomerium/sign_out", f"{ISSUER}/"):
            got = self.route_host(text)
            self.assertEqual(leads(got)[1:], [f"{APP}/"], text)

    def test_at_authenticate(self) -> None:
        """A signature does not make a target: nobody goes to the provider for one."""
        self.never_leads_away(self.asked_to_sign_in, self.VARIANTS)
        self.assertEqual(self.provider.urls, [])

    def test_at_authenticate_when_signed_in(self) -> None:
        """Nor is a session handed over to one."""
        self.sign_in()
        self.rig.upstreams.opened.clear()
        self.never_leads_away(self.signed_in, self.VARIANTS[::3])
        for text in AT_HOME:
            (url,) = leads(self.signed_in(text))
            self.assertTrue(url.startswith(f"{APP}/.pomerium/callback/?"))

    def test_sealed_in_the_transaction(self) -> None:
        """Even from under our own seal it is no target: the route may have gone meanwhile."""
        self.never_leads_away(self.provider_says_no, self.VARIANTS[1::3])
        self.leads_home(self.provider_says_no)

    def test_sealed_in_the_transaction_of_a_good_sign_in(self) -> None:
        """The same when the provider says yes; every 15th, since each costs a signature."""

        def exchanged(text: str) -> Got:
            state = self.at_provider(text)
            asked = {
                "client_id": "pomerium",
                "state": state,
                "nonce": "n" * 43,
                "redirect_uri": f"{AUTH}/oauth2/callback",
                "code_challenge": challenge_of("v" * 43),
                "code_challenge_method": "S256",
            }
            return self.browser.open(self.provider.visit(f"{ISSUER}/?{urlencode(asked)}"))

        self.never_leads_away(exchanged, self.VARIANTS[::15])
        for text in AT_HOME:
            (url,) = leads(exchanged(text))
            self.assertTrue(url.startswith(f"{APP}/.pomerium/callback/?"))

    def test_as_an_address(self) -> None:
        """A double slash, a backslash, an encoded host in a path: it stays a path of ours."""
        sent = [text for text in self.VARIANTS if re.fullmatch(r"[^\s\x00-\x20\x7f]+", text)]
        self.never_leads_away(self.navigates, sent[::2])

    def test_the_transaction_has_the_last_word(self) -> None:
        """Nothing that is added to a URL on the way changes where the sign-in ends."""
        names = ("pomerium_redirect_uri", "redirect_uri", "rd", "target", "next", "redirect")
        for name, text in product(names, self.VARIANTS[::700]):
            browser = self.new_browser()
            more = urlencode({name: text})
            url = browser.until(f"{APP}/deep?a=b", f"{AUTH}/oauth2/callback")
            url = browser.until(f"{url}&{more}", f"{APP}/.pomerium/callback/")
            got = browser.open(f"{url}&{more}")
            self.assertEqual(got.field(b"location"), f"{APP}/deep?a=b".encode())

    def test_must_pass(self) -> None:
        """A whole sign-in ends at the page that was wanted, letter by letter."""
        for text in AT_HOME:
            browser = self.new_browser()
            url = f"{APP}/.pomerium/sign_in?{urlencode({'pomerium_redirect_uri': text})}"
            last = browser.open(browser.until(url, f"{APP}/.pomerium/callback/"))
            self.assertEqual(last.field(b"location").decode(), text)

    def test_must_pass_from_an_address(self) -> None:
        """Deep links, ports, capitals in the host, IPv6: each comes back to where it was."""
        for authority, target, wanted in (
            ("app.example.com", "/deep/link?a=b&c=%20", f"{APP}/deep/link?a=b&c=%20"),
            ("APP.Example.COM", "/x", f"{APP}/x"),
            ("app.example.com.", "/x", f"{APP}/x"),
            ("app.example.com:443", "/x?", f"{APP}/x?"),
            ("app.example.com:8443", "/x", f"{APP}/x"),
            ("wiki.example.com:8443", "/Ä", f"{WIKI}/%C3%84"),
            ("wiki.example.com", "/a?b=//c", f"{WIKI}/a?b=//c"),
            ("[2001:db8::1]", "/a", f"{SIX}/a"),
            ("[2001:DB8:0:0:0:0:0:1]", "/a", f"{SIX}/a"),
            ("app.example.com", "//evil.example/%2e%2e/x", f"{APP}/x"),
            ("app.example.com", '/a?"<>`{|}^\\', f"{APP}/a?%22<>%60{{|}}%5E%5C"),
        ):
            browser = self.new_browser()
            got = browser.ask(
                authority, quote(target, safe='/%?&=:"<>`{|}^\\').encode(), *NAVIGATION
            )
            url = got.field(b"location").decode()
            self.assertEqual(parse_qs(urlsplit(url).query)["pomerium_redirect_uri"], [wanted])


PARAMETERS = (
    *("rd", "url", "next", "return_to", "returnTo", "redirect", "redirect_uri", "redirect_url"),
    *("target", "target_link_uri", "login_uri", "continue", "goto", "dest", "ReturnUrl", "u"),
    *("post_logout_redirect_uri", "logout_uri", "pomerium_redirect_uri", "pomerium_callback_uri"),
    *("pomerium_programmatic_destination_url", "error_uri", "iss", "state", "code", "refresh"),
)
"""Names by which our peers, or we, take a place to go to."""

PAGES = (
    *(f"{APP}/", f"{APP}/.pomerium", f"{APP}/.pomerium/", f"{APP}/.pomerium/sign_in"),
    *(f"{APP}/.pomerium/sign_out", f"{APP}/.pomerium/callback/", f"{APP}/.pomerium/callback"),
    *(f"{APP}/.pomerium/api/v1/login", f"{APP}/.pomerium/refresh", f"{APP}/robots.txt"),
    *(f"{AUTH}/", f"{AUTH}/.pomerium", f"{AUTH}/.pomerium/", f"{AUTH}/.pomerium/sign_in"),
    *(f"{AUTH}/.pomerium/sign_out", f"{AUTH}/.pomerium/signed_out", f"{AUTH}/oauth2/callback"),
    *(f"{AUTH}/.pomerium/callback/", f"{AUTH}/oauth2/sign_in", f"{AUTH}/oauth2/start"),
    *(f"{AUTH}/.well-known/pomerium", f"{SIX}/", f"{WIKI}/.pomerium/sign_in"),
)
"""Pages of ours, and some that peers have."""

HEADERS = (
    *(b"host-override", b"referer", b"origin", b"forwarded", b"x-forwarded-host"),
    *(b"x-forwarded-proto", b"x-forwarded-uri", b"x-forwarded-prefix", b"x-forwarded-server"),
    *(
        b"x-original-url",
        b"x-original-uri",
        b"x-rewrite-url",
        b"x-host",
        b"x-auth-request-redirect",
    ),
    *(b"x-forwarded-port", b"x-forwarded-scheme", b"x-real-ip", b"destination", b"from"),
)
"""Fields from which a peer put a redirect together."""


class EverySinkTests(RedirectCase):
    """R2: sign-out, renewal, starting over, scripts' windows: all ask the one validator."""

    row = "R2"
    VARIANTS = tuple(product(PAGES, PARAMETERS))

    def trail(self, text: str, again: int = 0) -> None:
        """Put a trail that leads there into the browser, under our own seal."""
        plain = orjson.dumps({"redirect": text, "again": again})
        context = b"trail 1\nauth.example.com:443"
        sealed = seal(OWN_KEYS.login, plain, context=context, random=self.chance)
        self.browser.cookies["auth.example.com", b"__Host-_pomerium_trail"] = sealed.encode()

    def starts_over(self, text: str) -> Got:
        """Come back from the provider when only the trail is left."""
        self.trail(text)
        return self.browser.open(f"{AUTH}/oauth2/callback?code=x&state=x")

    def started_over_already(self, text: str) -> Got:
        """The second time within ten minutes: a page, with a way to begin again."""
        self.trail(text, again=int(self.clock.seconds()))
        return self.browser.open(f"{AUTH}/oauth2/callback?code=x&state=x")

    def signs_out(self, text: str) -> Got:
        """Follow a route host's sign-out to authenticate."""
        url = sign_out_url(
            SHARED_KEYS.signed_url,
            AUTH,
            session_id="session-1",
            redirect=text,
            now=self.clock.seconds(),
        )
        return self.browser.open(url)

    def signed_out(self, text: str) -> Got:
        """Come back from the provider's own sign-out."""
        context = b"signed out 1\nauth.example.com:443"
        state = seal(OWN_KEYS.login, text.encode(), context=context, random=self.chance)
        return self.browser.open(f"{AUTH}/.pomerium/signed_out?state={state}")

    def signed_out_unsealed(self, text: str) -> Got:
        """The same with a state that anybody can write."""
        return self.browser.open(f"{AUTH}/.pomerium/signed_out?{urlencode({'state': text})}")

    def handed_off(self, text: str) -> Got:
        """Bring a hand-off for a login whose cookie is lost."""
        now = int(self.clock.seconds())
        handoff = Handoff(
            session=self.rig.session(ALICE),
            login=f"{now:09x}{'B' * 22}.digest",
            redirect=text,
            expires=now + HANDOFF_SECONDS,
        )
        sealed = seal_handoff(SHARED_KEYS.handoff, handoff, random=self.chance)
        return self.browser.open(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={sealed}")

    def handed_off_late(self, text: str) -> Got:
        """The same when another tab has signed in meanwhile."""
        self.browser.cookies["app.example.com", b"__Host-_pomerium"] = self.rig.token().encode()
        return self.handed_off(text)

    def finished(self, text: str) -> Got:
        """End a login whose own cookie, under our seal, has the text for its target."""
        now = int(self.clock.seconds())
        login = self.login_cookie(
            "app.example.com:443", {"secret": "s", "target": text}, SHARED_KEYS.route_login
        )
        handoff = Handoff(
            session=self.rig.session(ALICE),
            # base64url of the digest of the secret "s", as session/login.py makes it
            login=f"{login}.{DIGEST_OF_S}",
            redirect=f"{APP}/",
            expires=now + HANDOFF_SECONDS,
        )
        sealed = seal_handoff(SHARED_KEYS.handoff, handoff, random=self.chance)
        return self.browser.open(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={sealed}")

    def sinks(self) -> tuple[Sink, ...]:
        """Return every place that is given a place to go to."""
        return (
            *(self.starts_over, self.started_over_already, self.signs_out, self.signed_out),
            *(self.handed_off, self.handed_off_late, self.finished),
        )

    def test_every_sink(self) -> None:
        """Each refuses its part of the corpus, and all of them together see the whole."""
        sinks = self.sinks()
        for number, sink in enumerate(sinks):
            self.never_leads_away(sink, ELSEWHERE[number :: len(sinks)])

    def test_every_sink_with_the_worst(self) -> None:
        """What leads a browser away by the plainest means, at each of them."""
        plain = (
            *(f"https://{EVIL}/", f"//{EVIL}/", f"/\\{EVIL}/", f"{APP}@{EVIL}/", f"{APP}.{EVIL}/"),
            *("javascript:alert(1)", f"{APP}:8443/", f"{APP}\r\nLocation: //{EVIL}/", f"{APP}/é"),
            *(f"https:{EVIL}", f"\t//{EVIL}", f"{APP}\\@{EVIL}/", "data:text/html,x", f"{AUTH}/"),
        )
        for sink in self.sinks():
            self.never_leads_away(sink, plain)

    def test_must_pass(self) -> None:
        """What is ours passes each of them, to the letter."""
        for sink in (
            *(self.starts_over, self.started_over_already, self.signs_out, self.signed_out),
            *(self.handed_off, self.handed_off_late, self.finished),
        ):
            self.leads_home(sink)

    def test_a_state_that_is_not_ours(self) -> None:
        """Without a seal there is nothing to lead to."""
        self.never_leads_away(self.signed_out_unsealed, (*ELSEWHERE[::5], f"{APP}/x"))
        self.assertNotIn(f"{APP}/x", leads(self.signed_out_unsealed(f"{APP}/x")))

    def test_parameters_that_nobody_reads(self) -> None:
        """Whatever a page is told under whatever name: no answer leads there."""
        for (url, name), text in zip(self.VARIANTS, _round(ELSEWHERE), strict=False):
            for value in (f"https://{EVIL}/", text):
                got = self.browser.open(f"{url}?{urlencode({name: value})}")
                self.assertEqual(astray(got, LISTED), [], (url, name, value))
                self.assertIn(got.status, REFUSED | {401}, (url, name, value))

    def test_forms_that_nobody_reads(self) -> None:
        """The same in a form's body."""
        form = (b"content-type", b"application/x-www-form-urlencoded")
        for url, name in self.VARIANTS:
            body = urlencode({name: f"https://{EVIL}/"}).encode()
            got = self.browser.open(url, form, method=b"POST", body=body)
            self.assertEqual(astray(got, LISTED), [], (url, name))
            self.assertIn(got.status, {200, 400, 401, 404, 405}, (url, name))

    def test_fields_that_nobody_reads(self) -> None:
        """No redirect is made of what a header field says."""
        texts = (EVIL, f"https://{EVIL}/", f"/\\{EVIL}")
        for name, text, url in product(HEADERS, texts, PAGES[::2]):
            got = self.browser.open(url, (name, text.encode()))
            self.assertEqual(astray(got, LISTED), [], (name, text, url))

    def test_hosts_that_are_not_ours(self) -> None:
        """A request for another host is led nowhere at all."""
        for name in (EVIL, f"{EVIL}:443", "app.example.com.evil.example", "xapp.example.com"):
            for target in (b"/", b"/.pomerium/sign_in", b"/.pomerium", b"/oauth2/callback"):
                got = self.browser.ask(name, target, *NAVIGATION)
                self.assertEqual(got.status, 404 if target != b"/.pomerium" else got.status)
                self.assertFalse([url for url in leads(got) if EVIL in url])
                self.assertEqual(astray(got, ()), [])

    def test_no_sink_is_missing_here(self) -> None:
        """What writes a Location or a Refresh stands in these files; a new one needs a test."""
        product_ = Path(__file__).parents[2] / "pomeriumd"
        writes = re.compile(
            r"""b["'](?:location|refresh)["'],|http-equiv|redirectTo""", re.IGNORECASE
        )
        files = {
            str(file.relative_to(product_))
            for pattern in ("**/*.py", "**/*.html")
            for file in product_.glob(pattern)
            if writes.search(file.read_text("utf-8"))
        }
        self.assertEqual(
            files - {"http/fields.py"},
            # The last one has test_plain_http.py to itself.
            {
                *("answers/pages.py", "authenticate/redirects.py", "proxy/logins.py"),
                "proxy/plain_http.py",
            },
        )


DIGEST_OF_S = "_p-xa_624D7bD_H3qbyoCdFY0bmb5d1ppauf28-4Tgo"


def _round(texts: tuple[str, ...]) -> Iterable[str]:
    """Give the texts again and again."""
    while True:
        yield from texts


SCRIPTS = (
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "javascript&#58;x"),
    *("data:text/html,<script>alert(1)</script>", "vbscript:x", "\x01javascript:alert(1)"),
    *(
        " javascript:alert(1)",
        "javascript://app.example.com/%0aalert(1)",
        "blob:x",
        "//evil.example",
    ),
    *("https://evil.example/", "java&Tab;script:x", "&#106;avascript:x", "feed:javascript:x"),
)
"""What would run, or lead away, if a page made a link of it."""

MARKUP = (
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'><svg onload=alert(1)>"),
    *("</title><script>x</script>", "</bdi></main><form action=//evil.example><input name=p>"),
    *("<a href=//evil.example>x</a>", "<base href=//evil.example/>", "<!--", "-->", "<![CDATA["),
    *(
        "<meta http-equiv=refresh content=0;url=//evil.example>",
        "<style>*{x:y}</style>",
        "&lt;b&gt;",
    ),
    *('" onfocus=alert(1) autofocus x="', "' style='x:expression(y)", "` onload=x", "<b", "</"),
    *(
        "<scr\0ipt>x</scr\0ipt>",
        "\x3c\xc0script",
        "+ADw-script+AD4-",
        "%3Cscript%3E",
        "\\x3cscript",
    ),
    *("</textarea><iframe src=//evil.example>", "<object data=//evil.example>", "<plaintext>"),
    *("<details open ontoggle=alert(1)>", '<math><mi//xlink:href="data:x,<script>y</script>">'),
    *(
        "＜script＞",
        "\u2028<script>",
        "<\u200bscript>",
        "{{7*7}}<b>",
        "]]><x>",
        "<?xml?><x>",
        "&#60;b>",
    ),
)
"""What would be more than text on a page that did not escape."""

CLAIMS = ("name", "email", "sub", "groups", "iss", "preferred_username", "picture", "profile")


class PageCase(RedirectCase):
    """Every page that a person may be shown, with a stranger's text wherever one can stand."""

    routes = (
        ROUTES[0],
        attrs.evolve(ROUTES[1], allow_any_authenticated_user=False, allowed_groups=("nobody",)),
        ROUTES[2],
    )

    def pages(self, text: str) -> list[Got]:
        """Return the answers to all that a text can be put into."""
        sent = quote(text, safe="")
        browser = self.browser
        got = [
            browser.open(f"{APP}/{sent}?{sent}"),
            browser.open(f"{APP}/.pomerium/{sent}"),
            browser.open(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={sent}"),
            browser.open(f"{APP}/.pomerium/sign_in?pomerium_redirect_uri={sent}"),
            browser.open(f"{APP}/.pomerium/sign_out?{sent}={sent}"),
            browser.open(f"{AUTH}/{sent}"),
            browser.open(f"{AUTH}/.pomerium/sign_in?{sent}"),
            browser.open(f"{AUTH}/.pomerium/signed_out?state={sent}"),
            browser.open(f"{AUTH}/oauth2/callback?state={sent}&code={sent}"),
            browser.open(f"{AUTH}/oauth2/callback?error={sent}&error_description={sent}"),
            browser.open(f"https://elsewhere.example/{sent}"),
            self.refused_by_provider(text),
        ]
        with_field = (b"x-any", text.encode("utf-8")) if text.isprintable() else (b"x-any", b"x")
        got.append(browser.open(f"{APP}/.pomerium/sign_out", with_field, (b"accept", b"text/html")))
        return got

    def refused_by_provider(self, text: str) -> Got:
        """Come back with an error, and the provider's own words."""
        state = self.at_provider(f"{APP}/")
        more = urlencode({"state": state, "error": "access_denied", "error_description": text})
        return self.browser.open(f"{AUTH}/oauth2/callback?{more}")

    def person(self, text: str) -> list[Got]:
        """Return the pages that show a person whose every claim is the text."""
        browser = self.new_browser()
        address = f"a@{text}" if "@" not in text else None
        who = {"subject": text, "email": address, "name": text, "groups": (text, text + "x")}
        for issuer, audience in ((text, "app.example.com:443"), (ISSUER, "wiki.example.com:8443")):
            token = self.rig.token(Identity(issuer=issuer, **who), audience=audience)  # type: ignore[arg-type]
            host = audience.partition(":")[0]
            browser.cookies[host, b"__Host-_pomerium"] = token.encode()
        urls = (f"{APP}/.pomerium/", f"{APP}/.pomerium/sign_out", f"{WIKI}/")
        return [browser.open(url) for url in urls]


class LinkTests(PageCase):
    """R3: no link, form or redirect ever has a scheme but http(s); pages run nothing."""

    row = "R3"
    VARIANTS = SCRIPTS

    def judge(self, got: Got, text: str) -> None:
        """Assert that an answer leads nowhere but home, and that its page can run nothing."""
        self.assertEqual(astray(got, LISTED), [], text)
        if not is_html(got):
            return
        for tag, given in page(got).elements:
            self.assertNotIn(tag, {"script", "iframe", "object", "embed", "base", "svg", "style"})
            for name, _ in given:
                self.assertFalse(name.startswith("on") or name in {"style", "srcdoc"}, (tag, given))
        policy = got.field(b"content-security-policy").decode()
        self.assertEqual(got.field(b"x-content-type-options"), b"nosniff")
        directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
        self.assertEqual(directives["default-src"], "'none'")
        self.assertEqual(directives["base-uri"], "'none'")
        self.assertEqual(directives["frame-ancestors"], "'none'")
        for name, value in directives.items():
            self.assertNotRegex(value, r"unsafe|data:|blob:|\*|http:", name)
        for target in directives["form-action"].split():
            self.assertTrue(target == "'self'" or target in LISTED, policy)

    def test_on_every_page(self) -> None:
        """Given in an address, a parameter, the provider's words."""
        for text in self.VARIANTS:
            for got in self.pages(text):
                self.judge(got, text)

    def test_in_claims(self) -> None:
        """A person's own name, groups or issuer are text, and never a link."""
        for text in self.VARIANTS:
            given = self.person(text)
            self.assertEqual([got.status for got in given], [200, 200, 403])
            for got in given:
                self.judge(got, text)

    def test_in_claims_the_whole_way(self) -> None:
        """The same from a provider's token, through a sign-in, on the page of one's session."""
        for text in self.VARIANTS[::3]:
            claims = {name: text for name in CLAIMS if name not in ("sub", "iss")}
            self.provider.claims = {**claims, "groups": [text], "profile": text}
            browser = self.new_browser()
            self.sign_in(browser=browser)
            self.judge(browser.open(f"{APP}/.pomerium/"), text)
            self.judge(browser.open(f"{AUTH}/.pomerium/"), text)

    def test_in_the_providers_metadata(self) -> None:
        """An endpoint of another scheme is refused before anybody is sent there."""
        for text in (*self.VARIANTS[:11], "//evil.example", *self.VARIANTS[12:]):
            for name in ("authorization_endpoint", "end_session_endpoint"):
                if text == "https://evil.example/":
                    continue  # another full name is the provider's right: see O18
                self.start(*self.routes)
                self.provider.metadata = {name: text}
                got = self.browser.open(self.browser.until(f"{APP}/", AUTH))
                self.assertEqual(got.status, 503, text)
                self.judge(got, text)


class MarkupTests(PageCase):
    """R4: what a stranger gives never changes what a page is made of."""

    row = "R4"
    VARIANTS = MARKUP

    def setUp(self) -> None:
        """Learn what pages are made of when nobody attacks."""
        super().setUp()
        harmless = [
            *(got for word in ("harmless", "", "h" * 300) for got in self.pages(word)),
            *self.person("harmless"),
            *self.person("harm@less"),
            self.browser.open(f"{AUTH}/oauth2/callback?%"),
        ]
        self.known = {tuple(page(got).skeleton) for got in harmless if is_html(got)}

    def judge(self, got: Got, text: str) -> None:
        """Assert that an answer is made as one is without the text, and is whole."""
        if got.status == 302:
            self.assertEqual(got.body, b"", text)
        if not is_html(got):
            return
        read, source = page(got), got.body.decode()
        self.assertIn(tuple(read.skeleton), self.known, text)
        self.assertNotRegex(source, r"<(?!/?[a-z!])", text)
        self.assertTrue(source.rstrip().endswith("</html>"), text)
        opened = [tag for tag, _ in read.elements if tag not in VOID]
        for tag in set(opened):
            self.assertGreaterEqual(source.count(f"</{tag}>"), opened.count(tag), (tag, text))

    def test_on_every_page(self) -> None:
        """Elements and attributes are those of a harmless word; a redirect has no body at all."""
        for text in (*self.VARIANTS, *SCRIPTS):
            for got in self.pages(text):
                self.judge(got, text)

    def test_in_claims(self) -> None:
        """Names, groups, subjects and issuers of every sort are text."""
        for text in self.VARIANTS:
            given = self.person(text)
            self.assertEqual([got.status for got in given], [200, 200, 403])
            for got in given:
                self.judge(got, text)
            self.assertIn(" ".join(_visible(text).split()), page(given[0]).words)

    def test_in_a_host(self) -> None:
        """A Host that could be markup is refused, and not repeated (Twisted CVE-2022-39348)."""
        for text in self.VARIANTS:
            if not text.isascii() or any(sign in text for sign in "\0\r\n"):
                continue
            for host in (text, f"app.example.com{text}", f"{text}.example.com"):
                got = self.browser.ask(host, b"/", *NAVIGATION)
                self.assertEqual(got.status, 400, host)
                self.judge(got, text)
                self.assertNotIn(text, page(got).words)
                self.assertEqual(astray(got, ()), [])


class NoLeakTests(RedirectCase):
    """R5: who has no session is answered by us; the application is not even asked."""

    row = "R5"
    VARIANTS = tuple(
        product(
            (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND"),
            (
                NAVIGATION,
                ((b"accept", b"application/json"),),
                ((b"accept", b"*/*"), (b"sec-fetch-mode", b"cors")),
                ((b"x-requested-with", b"XMLHttpRequest"),),
                ((b"content-type", b"application/x-www-form-urlencoded"), *NAVIGATION),
                ((b"sec-fetch-dest", b"iframe"), (b"sec-fetch-mode", b"navigate")),
                ((b"authorization", b"Basic YTpi"),),
                ((b"authorization", b"Bearer x"), (b"expect", b"100-continue")),
                ((b"range", b"bytes=0-9"), (b"if-none-match", b"*")),
            ),
            ("none", "rubbish", "of another host", "ended", "idle", "stale", "of mallory"),
        )
    )

    def session(self, kind: str) -> bytes:
        """Return the cookie of somebody who may not see the application."""
        now = int(self.clock.seconds())
        return {
            "none": b"",
            "rubbish": b"__Host-_pomerium=eyJhbGciOiJub25lIn0.e30.",
            "of another host": self.rig.cookie(audience="wiki.example.com:8443"),
            "ended": self.rig.cookie(expires=now - 61),
            "idle": self.rig.cookie(seen=now - 3601, checked=now - 3601, auth_time=now - 9000),
            "stale": self.rig.cookie(checked=now - 3601),
            "of mallory": self.rig.cookie(issuer="https://other.example"),
        }[kind]

    def test_nothing_of_the_application(self) -> None:
        """No method, field or broken session gets one byte to it, or one byte of a body back."""
        secret = b"what=protected-words&password=hunter2"
        for method, fields, kind in self.VARIANTS:
            cookie = self.session(kind)
            body = secret if method in (b"POST", b"PUT", b"PATCH", b"PROPFIND") else b""
            client = self.rig.connect()
            lines = [method + b" /page HTTP/1.1", b"host: app.example.com"]
            lines += [name + b": " + value for name, value in fields]
            lines += [b"cookie: " + cookie] if cookie else []
            lines += [b"content-length: %d" % len(body)] if body else []
            client.sends(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            answer = client.got()
            if answer.startswith(b"HTTP/1.1 100"):
                answer = answer.partition(b"\r\n\r\n")[2]
            self.assertIn(answer[:12], (b"HTTP/1.1 302", b"HTTP/1.1 401"), (method, kind))
            for word in (b"protected-words", b"hunter2"):
                self.assertNotIn(word, answer)
            # A page that posts itself would carry what was posted here to somewhere else.
            self.assertNotIn(b"<form", answer)
            self.assertNotIn(b"<input", answer)
        self.assertEqual(self.rig.upstreams.opened, [])
        self.assertEqual(self.rig.upstreams.held, [])


def _visible(text: str) -> str:
    """Return a text as safe.printable shows it, for texts of this file."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", "\ufffd", text)
