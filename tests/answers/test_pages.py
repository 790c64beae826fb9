"""pomeriumd.answers.pages: every page, with friendly and with hostile contents."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd import errors
from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import CSRF_FIELD, GROUPS, Pages
from pomeriumd.errors import (
    BadMessage,
    BadToken,
    Denied,
    LoginFailed,
    MethodNotAllowed,
    NoRoute,
    PomeriumError,
    ProviderError,
    SettingsError,
    Unauthenticated,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from pomeriumd.http.events import Field, Request
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.standing import SessionLimits
from tests.support.calls import unread

PAGES = Pages()

NOW = 1_763_870_000.0

LIMITS = SessionLimits()

SECRET = "10.1.2.3:8080 refused"

PLAIN_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</title></main></html><script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "`onclick=alert(1)`",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<a href=javascript:alert(1)>",
    "javascript:alert(1)",
    "data:text/html,<script>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&colon;&NewLine;&Tab;",
    "{{ 7 * 7 }}{% include 'who.html' %}{# #}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "%3Cscript%3E",
    "\x00<\x00script\x00>",
    "\x1b[31m\r\n\r\n<html>",
    "\u202e<gnp.tpircs>",
    "\uff1cscript\uff1e",
    "\ud800<\udfff",
    "+ADw-script+AD4-",
    "<" * 5000,
    "@" * 5000,
    "a" * 100_000,
    "مرحبا <b>א</b>",
    "line\nbreak\u2028<i>",
)

hostile = st.sampled_from(HOSTILE) | st.text(
    alphabet=st.characters() | st.sampled_from("<>\"'&=/@`{}%# \n\x00\u202e"), min_size=1
)

TEMPLATES = "".join(
    path.read_text("utf-8")
    for path in (Path(__file__).parents[2] / "pomeriumd/answers/templates").iterdir()
)

TAGS = frozenset(re.findall(r"<([a-z][a-z0-9]*)", TEMPLATES))
"""Tags that we write."""

ATTRIBUTES = frozenset(re.findall(r' ([a-z-]+)="', TEMPLATES))
"""Attributes that we write; each has a value in quotes."""


def call(*fields: Field, host: bytes = b"app.example", method: bytes = b"GET") -> Call:
    """Make a call."""
    request = Request(method, host, None, b"/x?secret-in-path", b"q=1", list(fields), 0, None)
    return Call(request=request, request_id="req-0123456789", client="192.0.2.1")


def json_call() -> Call:
    """Make the call of a script."""
    return call((b"accept", b"application/json"))


def session(**identity: object) -> Session:
    """Make a session; the keywords are those of its identity."""
    known: dict[str, object] = {
        "issuer": "https://login.example",
        "subject": "sub-1",
        "email": "ada@example.com",
        "name": "Ada",
        "groups": ("staff", "on-call"),
    }
    return Session(
        id="the-sessions-own-id",
        identity=Identity(**(known | identity)),  # type: ignore[arg-type]  # keywords of a test
        issuer="https://authenticate.example",
        audience="app.example:443",
        auth_time=int(NOW) - 7200,
        checked=int(NOW) - 300,
        recheck=int(NOW) + 300,
        seen=int(NOW) - 10,
        expires=int(NOW) + 43_200,
    )


def classes(root: type[PomeriumError] = PomeriumError) -> Iterator[type[PomeriumError]]:
    """Give every error class of ``errors.py``."""
    if root.__module__ == errors.__name__:
        yield root
    for kind in root.__subclasses__():
        yield from classes(kind)


def one(kind: type[PomeriumError]) -> PomeriumError:
    """Make an error of a class; its text is nothing for a reader."""
    if issubclass(kind, Denied):
        return kind(SECRET, ["You are not on the list."])
    if issubclass(kind, LoginFailed):
        return kind(SECRET, "state-cookie", "The cookie did not come back.")
    if issubclass(kind, SettingsError):
        return kind([errors.Problem("policy[3].to", SECRET)])
    return kind(SECRET)


@attrs.define
class Seen(HTMLParser):
    """What a browser would build of a page: tags with their attributes, and its text."""

    tags: list[tuple[str, tuple[str, ...]]] = attrs.Factory(list)
    values: list[tuple[str, str]] = attrs.Factory(list)
    text: list[str] = attrs.Factory(list)
    other: list[str] = attrs.Factory(list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        """Note a comment: there is none."""
        self.other.append(data)

    def handle_pi(self, data: str) -> None:
        """Note an instruction: there is none."""
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        """Note a declaration: there is none."""
        self.other.append(data)

    def links(self) -> list[str]:
        """Give every address on the page."""
        return [value for name, value in self.values if name in {"href", "src", "action"}]


def read(answer: Answer) -> Seen:
    """Read a page as a browser would."""
    seen = Seen()
    seen.feed(answer.body.decode("utf-8"))
    seen.close()
    return seen


def words(answer: Answer) -> str:
    """Give a page's text, white space folded."""
    return " ".join("".join(read(answer).text).split())


def field(answer: Answer, name: bytes) -> list[bytes]:
    """Give all values of a field."""
    return [value for known, value in answer.fields if known == name]


Build = Callable[[str], Answer]

WITH_TEXT: dict[str, Build] = {
    "error of nobody's": lambda text: PAGES.error(RuntimeError(text), call()),
    "denied": lambda text: PAGES.error(Denied(text, [text, text]), call(), who=text),
    "login failed": lambda text: PAGES.error(
        LoginFailed(text, text, text), call(), again="/.pomerium/"
    ),
    "request id": lambda text: PAGES.error(
        NoRoute(text), attrs.evolve(call(), request_id=text, client=text)
    ),
    "host": lambda text: PAGES.error(
        NoRoute(text), call(host=text.encode("utf-8", "surrogatepass"))
    ),
    "who": lambda text: PAGES.who(
        call(),
        session(issuer=text, subject=text, email=text, name=text, groups=(text, text)),
        csrf=text,
        limits=LIMITS,
        now=NOW,
    ),
    "who, many groups": lambda text: PAGES.who(
        call(), session(groups=(text,) * 300), csrf=text, limits=LIMITS, now=NOW
    ),
    "who, other members": lambda text: PAGES.who(
        call(),
        attrs.evolve(session(), id=text, issuer=text, audience=text),
        csrf="c",
        limits=LIMITS,
        now=NOW,
    ),
    "sign out": lambda text: PAGES.sign_out(call(), csrf=text, who=text, recheck_minutes=60),
}
"""Each page with a foreign text everywhere that it takes one."""

WITH_LINK: dict[str, Build] = {
    "sign in": lambda url: PAGES.error(Unauthenticated("x"), call(), sign_in_url=url),
    "again": lambda url: PAGES.error(LoginFailed("x", "y", "z"), call(), again=url),
    "sign out": lambda url: PAGES.sign_out(call(), csrf="c", action=url, form_to=[url]),
    "signed out": lambda url: PAGES.signed_out(
        call(), recheck_minutes=60, provider_logout=True, home=url
    ),
    "onward": lambda url: PAGES.onward(call(), url),
    "who": lambda url: PAGES.who(
        call(), session(), csrf="c", limits=LIMITS, now=NOW, form_to=[url]
    ),
}
"""Each page with a foreign address everywhere that it takes one."""


def shape(tags: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Leave out the one tag that depends on a text: the place to break an address."""
    return [tag for tag in tags if tag[0] != "wbr"]


class HostileTests(SynchronousTestCase):
    """No text and no address from outside becomes more than text or an address."""

    def assert_clean(self, answer: Answer) -> Seen:
        """Check what holds for every page, whatever stands on it."""
        seen = read(answer)
        self.assertEqual({tag for tag, _ in seen.tags} - TAGS, set())
        self.assertEqual({name for _, names in seen.tags for name in names} - ATTRIBUTES, set())
        self.assertEqual(seen.other, [])
        for link in seen.links():
            self.assertRegex(link, r"\A(|/(?!/)[!-~]*|https?://[!-~]+)\Z")
        for _, value in answer.fields:
            self.assertRegex(value, rb"\A[ -~]*\Z")
        return seen

    @given(st.sampled_from(sorted(WITH_TEXT)), hostile)
    def test_text_stays_text(self, page: str, text: str) -> None:
        """A page with any text has exactly the tags and attributes of one with a plain word."""
        seen = self.assert_clean(WITH_TEXT[page](text))
        self.assertEqual(shape(seen.tags), shape(read(WITH_TEXT[page]("plain")).tags))

    @given(st.sampled_from(sorted(WITH_LINK)), hostile | st.text(alphabet="htps:/\\.@a;,' \n"))
    def test_address_stays_address(self, page: str, url: str) -> None:
        """Whatever is given as an address, the page's links lead to pages."""
        self.assert_clean(WITH_LINK[page](url))

    def test_every_known_trick(self) -> None:
        """Each known trick is tried in every place, not left to chance."""
        for text in HOSTILE:
            for build in (*WITH_TEXT.values(), *WITH_LINK.values()):
                self.assert_clean(build(text))

    def test_text_is_shown(self) -> None:
        """Escaping hides nothing: a reader sees the characters that were given."""
        page = words(PAGES.error(Denied("x", ["<b>\"&'</b>"]), call(), who="{{ 1 }}<i>"))
        self.assertIn("<b>\"&'</b>", page)
        self.assertIn("{{ 1 }}<i>", page)

    def test_pages_stay_small(self) -> None:
        """No text makes a page of more than a few hundred kilobytes."""
        for build in WITH_TEXT.values():
            self.assertLess(len(build("a" * 1000).body), 400_000)

    @given(hostile)
    def test_json_stays_json(self, text: str) -> None:
        """Any text goes into JSON as text."""
        answer = PAGES.error(Denied(text, [text]), json_call())
        self.assertEqual(len(json.loads(answer.body)["reasons"]), 1)
        self.assertTrue(answer.body.isascii())


ALL: dict[str, Callable[[Call], Answer]] = {
    "error": lambda c: PAGES.error(NoRoute("x"), c),
    "denied": lambda c: PAGES.error(Denied("x", ["y"]), c, who="ada@example.com"),
    "unauthenticated": lambda c: PAGES.error(Unauthenticated("x"), c, sign_in_url="/"),
    "login failed": lambda c: PAGES.error(LoginFailed("x", "y", "z"), c, again="/"),
    "who": lambda c: PAGES.who(c, session(), csrf="c", limits=LIMITS, now=NOW),
    "sign out": lambda c: PAGES.sign_out(c, csrf="c", who="ada@example.com"),
    "signed out": lambda c: PAGES.signed_out(c, recheck_minutes=60, provider_logout=False),
    "onward": lambda c: PAGES.onward(c, "https://login.example/end"),
}
"""Every page."""

WITH_FORM = {"who", "sign out"}


class EveryPageTests(SynchronousTestCase):
    """What holds for every page."""

    def test_fields(self) -> None:
        """Type, policy and the rest are exact; pages with a form let the browser say Origin."""
        for name, build in ALL.items():
            answer = build(call())
            referrer = b"same-origin" if name in WITH_FORM else b"no-referrer"
            self.assertEqual(
                answer.fields[:6],
                (
                    (b"content-type", b"text/html; charset=utf-8"),
                    (b"content-security-policy", PLAIN_POLICY),
                    (b"referrer-policy", referrer),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                    (b"x-pomerium-intercepted-response", b"true"),
                ),
            )

    def test_nothing_inline(self) -> None:
        """No page has a script, a style or a listener of its own."""
        for build in ALL.values():
            text = build(call()).body.decode().lower()
            for word in ("<script", "style=", "<style", "javascript:", "http-equiv"):
                self.assertNotIn(word, text)
            names = {name for _, names in read(build(call())).tags for name in names}
            self.assertEqual({name for name in names if name.startswith("on")}, set())

    def test_readable_by_a_screen_reader(self) -> None:
        """Each page has a language, one main, one h1, a title, and pictures with alt."""
        for build in ALL.values():
            seen = read(build(call()))
            tags = [tag for tag, _ in seen.tags]
            self.assertEqual([tags.count(tag) for tag in ("main", "h1", "title")], [1, 1, 1])
            self.assertIn(("lang", "en"), seen.values)
            self.assertTrue(all("alt" in names for tag, names in seen.tags if tag == "img"))

    def test_loads_only_our_assets(self) -> None:
        """What a page loads comes from its own host's assets."""
        for build in ALL.values():
            seen = read(build(call()))
            loaded = {value for name, value in seen.values if name == "src"}
            self.assertTrue(all(v.startswith("/.pomerium/assets/") for v in loaded))

    def test_request_id_and_host(self) -> None:
        """Each page names the request id and the host, and never path or query."""
        for build in ALL.values():
            page = build(call())
            self.assertIn("Request ID req-0123456789", words(page))
            self.assertIn("app.example", words(page))
            self.assertNotIn(b"secret-in-path", page.body)
            self.assertNotIn(b"q=1", page.body)

    def test_json_where_asked(self) -> None:
        """Each page is JSON for who asks for it, with the request id."""
        for build in ALL.values():
            answer = build(json_call())
            self.assertEqual(
                answer.fields[:5],
                (
                    (b"content-type", b"application/json"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                    (b"x-pomerium-intercepted-response", b"true"),
                ),
            )
            self.assertEqual(answer.status, build(call()).status)
            self.assertEqual(json.loads(answer.body)["request_id"], "req-0123456789")


class ErrorTests(SynchronousTestCase):
    """error() answers each error with its status, and says what to do."""

    def test_every_class(self) -> None:
        """Each class gives its status, its sentence and the request id, and no log text."""
        for kind in classes():
            page = PAGES.error(one(kind), call())
            self.assertEqual(page.status, kind.status)
            self.assertIn(" ".join(kind.public.split()), words(page))
            self.assertIn("req-0123456789", words(page))
            self.assertNotIn(SECRET, words(page))

    def test_every_class_as_json(self) -> None:
        """The same as JSON, in one shape."""
        for kind in classes():
            body = json.loads(PAGES.error(one(kind), json_call()).body)
            self.assertEqual(body["status"], kind.status)
            self.assertEqual(body["error"], kind.public or PomeriumError.public)
            self.assertLessEqual(
                {"error", "status", "request_id", "reasons", "sign_in_url"}, set(body)
            )
            self.assertNotIn(SECRET, json.dumps(body))

    def test_json_to_the_letter(self) -> None:
        """The shape of an error is what scripts rely on."""
        answer = PAGES.error(Denied(SECRET, ["You are not on the list."]), json_call(), who="a@b")
        self.assertEqual(
            json.loads(answer.body),
            {
                "error": "You are signed in, but you may not open this page.",
                "status": 403,
                "request_id": "req-0123456789",
                "reasons": ["You are not on the list."],
                "sign_in_url": None,
            },
        )

    def test_not_ours(self) -> None:
        """A bug is a 500 that shows nothing of itself."""
        page = PAGES.error(ZeroDivisionError(SECRET), call())
        self.assertEqual(page.status, 500)
        self.assertNotIn(SECRET, words(page))
        self.assertNotIn("ZeroDivision", words(page))

    def test_unread(self) -> None:
        """A request that could not be read gets its page, with the id and no host."""
        page = PAGES.error(BadMessage("x"), unread("r-1"))
        self.assertEqual(page.status, 400)
        self.assertIn("Request ID r-1", words(page))
        self.assertIn("<title>Request not understood</title>", page.body.decode())

    def test_denied(self) -> None:
        """A denial says who one is, why, and how to be somebody else."""
        page = PAGES.error(
            Denied("x", ["You are not on the list.", "You are in no group."]),
            call(),
            who="ada@example.com",
        )
        self.assertIn("Your account: ada@example.com", words(page))
        self.assertIn("Why You are not on the list. You are in no group.", words(page))
        self.assertEqual(read(page).links()[-2:], ["/.pomerium/sign_out", "/.pomerium/"])

    def test_who_is_for_denials(self) -> None:
        """No other error shows who is signed in, though the caller always says it."""
        for kind in classes():
            page = words(PAGES.error(one(kind), call(), who="ada@example.com"))
            self.assertEqual("ada@example.com" in page, kind is Denied)

    def test_unauthenticated(self) -> None:
        """A 401 has its challenge and says where to sign in."""
        url = "https://authenticate.example/.pomerium/sign_in?" + "x" * 2000
        answer = PAGES.error(Unauthenticated("x"), json_call(), sign_in_url=url)
        self.assertEqual(json.loads(answer.body)["sign_in_url"], url)
        self.assertEqual(field(answer, b"www-authenticate"), [b'Pomerium realm="app.example"'])
        page = PAGES.error(Unauthenticated("x"), call(), sign_in_url=url)
        self.assertEqual(read(page).links()[-1], url)

    def test_sign_in_is_for_401(self) -> None:
        """Signing in is offered where it helps: nowhere but at 401."""
        for kind in classes():
            answer = PAGES.error(one(kind), json_call(), sign_in_url="https://a.example/")
            offered = json.loads(answer.body)["sign_in_url"]
            self.assertEqual(offered is not None, kind is Unauthenticated)
            page = PAGES.error(one(kind), call(), sign_in_url="https://a.example/")
            self.assertEqual("https://a.example/" in read(page).links(), kind is Unauthenticated)

    def test_realm_cannot_be_broken(self) -> None:
        """A host that is no host does not get into the challenge."""
        answer = PAGES.error(Unauthenticated("x"), call(host=b'a", Basic realm="b'))
        self.assertEqual(field(answer, b"www-authenticate"), [b'Pomerium realm=""'])

    def test_login_failed(self) -> None:
        """A failed sign-in says which check, what it means, and has a way to begin anew."""
        error = LoginFailed(SECRET, "state-cookie", "The cookie did not come back.")
        page = PAGES.error(error, call(), again="https://app.example/")
        self.assertIn("The cookie did not come back.", words(page))
        self.assertIn("Check that failed state-cookie", words(page))
        self.assertEqual(read(page).links()[-1], "https://app.example/")
        body = json.loads(PAGES.error(error, json_call()).body)
        self.assertEqual(
            (body["check"], body["explain"]), ("state-cookie", "The cookie did not come back.")
        )

    def test_a_used_link_is_not_offered_again(self) -> None:
        """Loading a callback's address anew cannot help, so no button does that."""
        for error in (LoginFailed("x", "y", "z"), BadToken("x")):
            page = PAGES.error(error, call())
            self.assertNotIn("", read(page).links())

    def test_try_again(self) -> None:
        """Where the same request may succeed there is a button, but never for a form."""
        for error in (UpstreamUnreachable("x"), UpstreamTimeout("x"), ProviderError("x")):
            self.assertEqual(read(PAGES.error(error, call())).links()[-1], "")
            page = PAGES.error(error, call(method=b"POST"))
            self.assertNotIn("", read(page).links())

    def test_upstream_errors_are_told_apart(self) -> None:
        """Unreachable, broken, busy and late differ in words and tell if a retry is safe."""
        kinds = (UpstreamUnreachable, UpstreamBroken, UpstreamBusy, UpstreamTimeout)
        pages = [words(PAGES.error(kind(SECRET), call())) for kind in kinds]
        self.assertEqual(len(set(pages)), 4)
        safe = ["it is safe to try again" in page for page in pages]
        self.assertEqual(safe, [True, False, True, False])

    def test_a_page_needs_no_file(self) -> None:
        """All is read at the start: when descriptors run out, the page that says so is there."""
        pages = Pages()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            page = pages.error(UpstreamUnreachable("x"), call())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.assertEqual(page.status, 502)

    def test_when_to_come_back(self) -> None:
        """A 503 says it in its field and in JSON, and nothing else does."""
        for kind in classes():
            answer = PAGES.error(one(kind), json_call())
            seconds = field(answer, b"retry-after")
            self.assertEqual(len(seconds), 1 if kind.status == 503 else 0)
            body = json.loads(answer.body)
            self.assertEqual([b"%d" % body["retry_after"]] if seconds else [], seconds)

    def test_allow(self) -> None:
        """A 405 names the methods that there are."""
        answer = PAGES.error(MethodNotAllowed("x"), call(), allow="GET, HEAD")
        self.assertEqual(field(answer, b"allow"), [b"GET, HEAD"])


class WhoTests(SynchronousTestCase):
    """who() shows the session, and no more of it than is meant."""

    def who(self, given: Session, *, now: float = NOW, asked: Call | None = None) -> Answer:
        """Build the page."""
        return PAGES.who(asked or call(), given, csrf="c-s-r-f", limits=LIMITS, now=now)

    def test_shows(self) -> None:
        """Person, groups, host, and when everything was and ends."""
        page = words(self.who(session()))
        for part in (
            "Your session at app.example ",
            "Name Ada ",
            "E-mail ada@example.com ",
            "Groups staff on-call ",
            "User ID sub-1 ",
            "Identity provider https://login.example ",
            "Signed in 2 hours ago 23 Nov 2025, 01:53 UTC ",
            "Last confirmed by the provider 5 minutes ago 23 Nov 2025, 03:48 UTC ",
            "Next confirmation in 5 minutes 23 Nov 2025, 03:58 UTC ",
            "Ends if not used for 1 hour ",
            "Ends at the latest in 12 hours 23 Nov 2025, 15:53 UTC ",
        ):
            self.assertIn(part, page)

    def test_shows_what_is_missing(self) -> None:
        """Without a name, an e-mail or groups the page says so, and uses the user's id."""
        page = words(self.who(session(name=None, email=None, groups=())))
        self.assertIn("Signed in sub-1", page)
        self.assertNotIn("Name", page)
        self.assertIn("E-mail None that is verified", page)
        self.assertIn("Groups None", page)

    def test_recheck_is_due(self) -> None:
        """A recheck that is due comes with the next page."""
        page = words(self.who(session(), now=NOW + 301))
        self.assertIn("Next confirmation With the next page that you open", page)

    def test_many_groups(self) -> None:
        """Many groups are folded, and beyond a bound only counted."""
        page = self.who(session(groups=tuple(f"g{n}" for n in range(GROUPS + 50))))
        self.assertIn(f"{GROUPS + 50} groups g0 g1", words(page))
        self.assertIn(f"g{GROUPS - 1} and 50 more", words(page))
        self.assertNotIn(f"g{GROUPS} ", words(page))

    def test_a_shortened_limit_holds(self) -> None:
        """When the operator shortens the limit, the page shows the end that counts."""
        limits = SessionLimits(expire=10_800)
        asked = json_call()
        answer = PAGES.who(asked, session(), csrf="c", limits=limits, now=NOW)
        self.assertEqual(json.loads(answer.body)["expires"], int(NOW) + 3600)

    def test_form(self) -> None:
        """The form posts its token to the sign-out address."""
        seen = read(self.who(session()))
        self.assertEqual(seen.links()[-1], "/.pomerium/sign_out")
        for pair in (("method", "post"), ("name", CSRF_FIELD), ("value", "c-s-r-f")):
            self.assertIn(pair, seen.values)

    def test_json_to_the_letter(self) -> None:
        """The JSON has these members; one added to Session does not appear by itself."""
        self.assertEqual(
            json.loads(self.who(session(), asked=json_call()).body),
            {
                "user": "sub-1",
                "email": "ada@example.com",
                "name": "Ada",
                "groups": ["staff", "on-call"],
                "provider": "https://login.example",
                "host": "app.example",
                "signed_in": 1763862800,
                "checked": 1763869700,
                "recheck": 1763870300,
                "expires": 1763913200,
                "request_id": "req-0123456789",
            },
        )

    def test_keeps_to_itself(self) -> None:
        """The session's id and who issued it are on no form of the page."""
        for asked in (call(), json_call()):
            body = self.who(session(), asked=asked).body
            self.assertNotIn(b"the-sessions-own-id", body)
            self.assertNotIn(b"authenticate.example", body)


class SignOutTests(SynchronousTestCase):
    """sign_out() shows the button and says what ends when."""

    def test_button(self) -> None:
        """The form posts the token to the action; what ends now and later is said."""
        page = PAGES.sign_out(call(), csrf="c-s-r-f", who="ada@example.com", recheck_minutes=60)
        self.assertIn("You are signed in as ada@example.com.", words(page))
        self.assertIn("What ends now Your session here, at app.example.", words(page))
        self.assertIn("at the latest 60 minutes from now.", words(page))
        self.assertIn(("action", "/.pomerium/sign_out"), read(page).values)
        self.assertIn(("value", "c-s-r-f"), read(page).values)

    def test_other_action(self) -> None:
        """An action elsewhere is allowed by the policy; what is no link is ours."""
        page = PAGES.sign_out(call(), csrf="c", action="https://a.example:8443/out?x=1")
        self.assertIn(("action", "https://a.example:8443/out?x=1"), read(page).values)
        self.assertEqual(
            field(page, b"content-security-policy"),
            [PLAIN_POLICY.replace(b"'self'; base", b"'self' https://a.example:8443; base")],
        )
        page = PAGES.sign_out(call(), csrf="c", action="javascript:alert(1)")
        self.assertIn(("action", "/.pomerium/sign_out"), read(page).values)

    def test_json(self) -> None:
        """A script gets what it needs to post the form."""
        self.assertEqual(
            json.loads(PAGES.sign_out(json_call(), csrf="c-s-r-f", who="ada").body),
            {
                "signed_in_as": "ada",
                "action": "/.pomerium/sign_out",
                "method": "POST",
                "csrf_field": CSRF_FIELD,
                "csrf": "c-s-r-f",
                "request_id": "req-0123456789",
            },
        )


class SignedOutTests(SynchronousTestCase):
    """signed_out() says what has ended and what has not."""

    def test_without_the_provider(self) -> None:
        """A provider that was not told may let the next person in: the page warns."""
        page = PAGES.signed_out(call(), recheck_minutes=45, provider_logout=False, home="/")
        self.assertIn("at the latest 45 minutes from now.", words(page))
        self.assertIn("sign out there, too.", words(page))
        self.assertEqual(read(page).links()[-1], "/")

    def test_with_the_provider(self) -> None:
        """A provider that ended its session is said to have."""
        page = PAGES.signed_out(call(), provider_logout=True)
        self.assertIn("You are signed out at your identity provider, too.", words(page))
        self.assertNotIn("at the latest", words(page))

    def test_json(self) -> None:
        """The same for a script."""
        answer = PAGES.signed_out(json_call(), recheck_minutes=45, provider_logout=True)
        self.assertEqual(
            json.loads(answer.body),
            {
                "signed_out": True,
                "provider_logout": True,
                "recheck_minutes": 45,
                "request_id": "req-0123456789",
            },
        )


class OnwardTests(SynchronousTestCase):
    """onward() takes a person on without a redirect."""

    def test_by_field_and_by_link(self) -> None:
        """The browser goes by itself, and a link is there if it does not."""
        page = PAGES.onward(call(), "https://login.example/end?x=1;y='2'")
        self.assertEqual(page.status, 200)
        self.assertEqual(field(page, b"refresh"), [b"0; url=https://login.example/end?x=1;y='2'"])
        self.assertEqual(read(page).links()[-1], "https://login.example/end?x=1;y='2'")

    def test_no_link(self) -> None:
        """What is no link leads to one's own session, never where it says."""
        page = PAGES.onward(call(), "javascript:alert(1)")
        self.assertEqual(field(page, b"refresh"), [b"0; url=/.pomerium/"])


class PlainTests(SynchronousTestCase):
    """plain() is plain text."""

    def test_text(self) -> None:
        """Status, text and the fields that keep it text."""
        answer = PAGES.plain(200, "User-agent: *\nDisallow: /\n")
        self.assertEqual(answer.body, b"User-agent: *\nDisallow: /\n")
        self.assertEqual(
            answer.fields,
            (
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"x-content-type-options", b"nosniff"),
                (b"cache-control", b"no-store"),
                (b"x-pomerium-intercepted-response", b"true"),
            ),
        )
