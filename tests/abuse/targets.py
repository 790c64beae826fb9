# ruff: noqa: RUF001 - look-alikes are what it is about
"""
Where nobody may be sent: a corpus made by rule from the grammar of URLs.

``ELSEWHERE`` holds texts that lead a browser away from https://app.example.com, might do
so for some reader, or are no URL that is read in one way; all of them have to be refused.
``AT_HOME`` holds what has to pass, to the letter: without it a validator that refuses all
would do.

Source: RFC 3986; the WHATWG URL standard for what browsers repair (section 4.4: leading
and trailing controls and spaces go, tabs and line ends go anywhere, backslashes are
slashes, any number of slashes follows a special scheme); UTS 46 for hosts; the first
fixes of oauth2-proxy, mod_auth_openidc and Pomerium that were not enough (R1).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from urllib.parse import quote

HOME = "app.example.com"
EVIL = "evil.example"
GOOD = f"https://{HOME}"

SCHEMES = (
    *("", "https:", "http:", "HTTPS:", "hTTps:", "ftp:", "ws:", "wss:", "file:", "blob:"),
    *("javascript:", "data:", "vbscript:", "about:", "view-source:https:", "intent:", "x:"),
    *("https:https:", "//https:", "httpſ:", "https&colon;", "https%3A"),
)
SLASHES = (
    *("", "/", "//", "///", "////", "\\", "\\\\", "/\\", "\\/", "/\\/", "//\\", "\\//"),
    *("/./", "/../", "/.//", "//../", "%2f%2f", "%2F/", "%5c%5c", "%5C/", "//;@", "//:@"),
)
INVISIBLE = (
    *("\t", "\n", "\r", "\r\n", "\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x1f", " "),
    *("\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u200d", "\u2028", "\u2060", "\u3000"),
    *("\u202e", "\ufeff", "\ufffd", "\U000e0041"),
)
ESCAPED = ("%00", "%09", "%0a", "%0d%0a", "%20", "%7f", "%c2%a0", "%e2%80%8b", "%2500", "%2509")
DELIMITERS = "!\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~"
"""All ASCII punctuation but the slash, behind which a path of ours begins."""

LOOK_ALIKES = (
    *("аpp.example.com", "app.exаmple.com", "app.example.соm", "ａｐｐ.example.com"),
    *("ⓐⓟⓟ.example.com", "𝐚𝐩𝐩.example.com", "ªpp.example.com", "app。example。com"),
    *("app．example．com", "app｡example.com", "app.exampℓe.com", "app.examp1e.com"),
    *("app.exɑmple.com", "aƿp.example.com", "app.ｅxample.com", "xn--app-5cd.example.com"),
    *("xn--pp-6kc.example.com", "app.xn--exmple-cua.com", "xn--app.example.com"),
    *("app.example.com․evil.example", "ap\u0440.example.com", "app.example.com\u0000"),
)
FOLDED = "／＼？＃＠：．。％⁄∕⧸╱℀℁㏂︓﹕⩴﹖﹟﹫"
"""Characters that some reader folds into a delimiter after the check (UTS 46, NFKC)."""

UNBOUNDED = (
    *(f"{HOME}.{EVIL}", f"{HOME}{EVIL}", f"{HOME}-{EVIL}", f"{HOME}_{EVIL}", f"{HOME}.evil"),
    *("evilapp.example.com", "evil-app.example.com", "evil_app.example.com", "xapp.example.com"),
    *(f"{HOME}.", f"{HOME}..", f".{HOME}", f"..{HOME}", "app..example.com", f"*.{HOME}"),
    *("app.example.co", "app.example.comm", "pp.example.com", "app-example.com", "appxexample.com"),
    *("app.examplexcom", "example.com", "com", "x.app.example.com", "APP.EXAMPLE.COM.evil"),
    *(f"{HOME}%2e{EVIL}", f"{HOME}%00.{EVIL}", f"{HOME}%2f.{EVIL}", f"{HOME}%252f.{EVIL}"),
    *("localhost", "wiki.example.com", "app.example.com.example.com", "app", "nowhere"),
    *("a" * 253, ".".join(["a" * 63] * 4), "auth.example.com.evil.example"),
)
ADDRESSES = (
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "0.0.0.0"),  # noqa: S104 - a text
    *(
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fe80::1%25lo]",
    ),
    *("[2001:db8::2]", "[2001:db8:0:0:0:0:0:1]", "[2001:0db8::1]", "2001:db8::1", "[v1.x]"),
    *("[2001:DB8::1]", "[2001:db8::1", "2001:db8::1]", "[[2001:db8::1]]", "[app.example.com]"),
)
PORTS = (
    *("8443", "80", "0", "65536", "99999", "4430", "0443", "00443", "443x", "+443", "-443"),
    *(" 443", "443 ", "443:443", "４４３", "٤٤٣", "", "443@evil.example", "443\\evil.example"),
)
CREDENTIALS = (
    *("app.example.com", "app.example.com:443", ":", "user", "user:pass", "user:", "%40"),
    *("app.example.com%2f", "app.example.com%3a443", "https:%2f%2fapp.example.com", "@"),
)


def _shapes() -> Iterator[str]:
    """Schemes and slashes, in every pair."""
    for scheme, slashes in product(SCHEMES, SLASHES):
        yield f"{scheme}{slashes}{EVIL}/"
        if scheme in ("", "https:", "http:", "HTTPS:") and (scheme, slashes) != ("https:", "//"):
            yield f"{scheme}{slashes}{HOME}/"


def _unseen() -> Iterator[str]:
    """Something that some reader drops, at every border of a URL."""
    for sign in (*INVISIBLE, *ESCAPED):
        for whole in (f"https://{EVIL}/a", f"//{EVIL}/a", "javascript:alert(1)", f"/{EVIL}"):
            for at in sorted({0, 1, whole.find(":") + 1}):
                yield whole[:at] + sign + whole[at:]
        for at in (0, 5, 7, 8, 11, len(GOOD)):
            yield GOOD[:at] + sign + GOOD[at:] + "/"
    for sign in INVISIBLE:
        yield f"{GOOD}/a{sign}b"
        yield f"{GOOD}/{sign}"
        yield f"{GOOD}/?a={sign}//{EVIL}/"


def _escaped() -> Iterator[str]:
    """One URL behind one, two and three layers of percent encoding, whole and in parts."""
    for whole in (f"https://{EVIL}/", f"//{EVIL}/", f"/\\{EVIL}/", f"{GOOD}/", f"{GOOD}@{EVIL}/"):
        layered = whole
        for _ in range(3):
            layered = quote(layered, safe="")
            yield layered
            yield layered.lower()
            yield f"/{layered}"
        for part in ":/.\\@e":
            for code in (f"%{ord(part):02x}", f"%25{ord(part):02X}", f"%u00{ord(part):02x}"):
                yield whole.replace(part, code, 1) if part in whole[:9] else f"//{code}{EVIL}"
    for overlong in ("%c0%af", "%e0%80%af", "%f0%80%80%af", "%c1%9c"):
        yield f"{overlong}{overlong}{EVIL}/"
        yield f"https:{overlong}{overlong}{EVIL}/"
        yield f"{GOOD}{overlong}.{EVIL}/"


def _delimited() -> Iterator[str]:
    """Both names with each sign between them, either way round."""
    for sign in (*DELIMITERS, *FOLDED, *INVISIBLE, *ESCAPED):
        for one, two in ((HOME, EVIL), (EVIL, HOME), (EVIL, f"@{HOME}"), (HOME, f"@{EVIL}")):
            yield f"https://{one}{sign}{two}/"
    for name in CREDENTIALS:
        yield f"https://{name}@{EVIL}/"
        yield f"https://{name}@{HOME}/"
        yield f"//{name}@{EVIL}/"
        yield f"https:{name}@{EVIL}/"


def _hosts() -> Iterator[str]:
    """Names that look, end or begin like ours; addresses; ports that are not ours."""
    for host in (*UNBOUNDED, *LOOK_ALIKES, *ADDRESSES):
        for before in ("https://", "//"):
            yield f"{before}{host}/"
        yield f"https://{host}:443/x"
    for port in PORTS:
        yield f"https://{HOME}:{port}/"
        yield f"//{HOME}:{port}/"
    for host in (HOME.upper(), "App.example.com", "app.Example.com"):
        yield f"https://{host}.{EVIL}/"
        yield f"https://{EVIL}/{host}"


def _split() -> Iterator[str]:
    """Line ends that would begin a header field of the attacker's, or a body."""
    fields = (f"Location: https://{EVIL}/", "Set-Cookie: a=b", f"Refresh: 0;url=//{EVIL}", "")
    for end, field in product(("\r\n", "\n", "\r", "\u560d\u560a", "\u0a0d"), fields):
        yield f"{GOOD}/{end}{field}"
        yield f"{GOOD}/{end}{end}<script>alert(1)</script>{field}"


def _paths() -> Iterator[str]:
    """Signs that no path or query may hold as they are: browsers repair each in their own way."""
    for sign in ("\\", "\\\\", "#", '"', "^", "`", "é", "／", "\\..\\", "\\@", "#@"):
        for before, after in (("/", ""), ("/", f"{EVIL}/"), ("/a", f"/{EVIL}"), ("/?a=", "//")):
            yield f"{GOOD}{before}{sign}{after}"
        yield f"{GOOD}{sign}/{EVIL}/"


def _long() -> Iterator[str]:
    """More than anybody needs."""
    for size in (1_900, 2_000, 2_001, 4_096, 7_000):
        yield f"https://{EVIL}/{'a' * size}"
        yield f"{'/' * size}{EVIL}"
        yield f"https://{'a.' * (size // 2)}{HOME}/"
        yield f"https://{'a' * size}@{EVIL}/"
        yield " " * size + f"https://{EVIL}/"
    for size in (2_001, 4_096, 7_000):
        yield f"{GOOD}/{'a' * size}"


def _scripts() -> Iterator[str]:
    """What runs instead of leading anywhere."""
    for scheme in ("javascript", "JavaScript", "vbscript", "data", "livescript", "jAvAsCrIpT"):
        for sign in ("", "\t", "\n", "\0", "&#9;", "&Tab;", "%09", "\u00a0"):
            for rest in ("alert(1)", f"//{HOME}/%0aalert(1)"):
                yield f"{scheme}{sign}:{rest}"
                yield f"{scheme[:4]}{sign}{scheme[4:]}:{rest}"
        yield f"\x01{scheme}:alert(1)"
        yield f"&#{ord(scheme[0])};{scheme[1:]}:alert(1)"


def _relative() -> Iterator[str]:
    """What means something only beside another URL."""
    yield from ("/", "/a", "/a?b", ".", "..", "../", "?x", "#x", "a", EVIL, f"{EVIL}/", HOME)
    yield from (f"{HOME}/", f"{HOME}:443/", "null", "undefined", "0", "%", "%zz", "[]", "{}")


def _all() -> Iterator[str]:
    for rule in (
        *(_shapes, _unseen, _escaped, _delimited, _hosts, _split, _paths),
        *(_long, _scripts, _relative),
    ):
        yield from rule()


AT_HOME = (
    f"{GOOD}/",
    f"{GOOD}/deep/link",
    f"{GOOD}/deep/link?with=query&and=more",
    f"{GOOD}/?",
    f"{GOOD}/a?b?c//d",
    f"{GOOD}/a/?next=https://{EVIL}/",
    f"{GOOD}/https://{EVIL}/",
    f"{GOOD}/@{EVIL}/",
    f"{GOOD}/a%20b/%C3%A9",
    f"{GOOD}/a%0d%0aLocation:%20https://{EVIL}/",
    f"{GOOD}/;jsessionid=1/a;b=c",
    f"{GOOD}/~user/-._!$&'()*+,=:@",
    f"{GOOD}/a?%00%0a%5c",
    f"{GOOD}/?javascript:alert(1)",
    f"{GOOD}/a" + "/b" * 900,
    f"{GOOD}/" + "a" * 1_900,
    *(f"{GOOD}/{sign}x?{sign}" for sign in "!$&'()*+,-.:;=@_~"),
)
"""At https://app.example.com; ends there, letter by letter."""

ELSEWHERE = tuple(dict.fromkeys(text for text in _all() if text not in AT_HOME))
"""Several hundred to a few thousand texts, each once, in the order of the rules."""
