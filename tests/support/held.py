"""
What each memory of a worker takes when it is full, for the table in the settings manual.

``python -m tests.support.held`` fills them one after the other, with what costs the most, and
prints the bytes that tracemalloc counts: those of Python's objects, which is all of it but for
OpenSSL's. Fillers return what they have filled, so that it lives as long as it is measured.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import attrs
from twisted.internet.task import Clock

from pomeriumd.access import names
from pomeriumd.access.assertion import KEPT_MOST, IdentityHeaders
from pomeriumd.access.decision import Deny
from pomeriumd.authenticate.renewal import REMEMBERED, Confirmed
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.daemon.build import building
from pomeriumd.daemon.lines import WAITING, Lines
from pomeriumd.daemon.series import DESTINATIONS, OUTCOMES
from pomeriumd.daemon.tally import Tally
from pomeriumd.daemon.world import World
from pomeriumd.http import fields as http_fields
from pomeriumd.http import head as http_head
from pomeriumd.http.host import authority
from pomeriumd.http.limits import Limits
from pomeriumd.http.notes import Notes
from pomeriumd.http.recent import OFFERS
from pomeriumd.http.request_heads import BLOCKS, LINES, RequestHeads
from pomeriumd.oidc.grant import Grant
from pomeriumd.pieces import finish
from pomeriumd.proxy.decisions import KEPT, Decisions
from pomeriumd.proxy.sessions import KNOWN, Sessions
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.known import Known
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.token import encode
from tests.support.elsewhere import Elsewhere
from tests.support.exchanges import compiled, ended
from tests.support.rig import NoProvider
from tests.support.settings import AUTHENTICATE, ISSUER, SHARED, make_settings, route
from tests.support.upstreams import MemoryUpstreams

NOW = 1_790_000_000
HOST = b"app.example.com"
Filler = Callable[[], object]


def identity(number: int, groups: int) -> Identity:
    """Return a person with so many groups of 28 characters."""
    return Identity(
        issuer=ISSUER,
        subject=f"248289761001-{number}",
        email=f"person.{number}@example.com",
        name=f"Person Number {number}",
        groups=tuple(f"team-{number:08d}-and-its-{one:05d}" for one in range(groups)),
    )


def session(number: int, groups: int) -> Session:
    """Return a session of that person."""
    return Session(
        id=f"{number:032x}",
        identity=identity(number, groups),
        issuer=AUTHENTICATE.text,
        audience="app.example.com:443",
        auth_time=NOW,
        checked=NOW,
        recheck=NOW + 600,
        seen=NOW,
        expires=NOW + 50_000,
    )


def sessions(groups: int, count: int = KNOWN) -> Filler:
    """Fill the verified sessions."""

    def fill() -> object:
        keys = SharedKeys.derived([SHARED]).route_session
        made = Sessions(
            keys=keys,
            issuer=AUTHENTICATE.text,
            shape=CookieShape(
                name="_pomerium", domain=None, secure=True, http_only=True, same_site="Lax"
            ),
            limits=SessionLimits(expire=50_000, idle=3600, recheck=600, recheck_max=3600),
            audiences={HOST: "app.example.com:443"},
        )
        for number in range(count):
            token = encode(session(number, groups), keys)
            assert made._verified(("app.example.com:443", token, True), NOW) is not None
        return made

    return fill


def decisions(reasons: int, size: int, count: int = KEPT) -> Filler:
    """Fill the decisions from elsewhere, of sessions that are known; each with such reasons."""
    at = compiled()
    known = [
        Known(session(0, 0), ("app.example.com:443", f"token-{number}", True), None)
        for number in range(count)
    ]

    def fill() -> object:
        clock = Clock()
        remote = Elsewhere(heard={})
        made = Decisions(remote=remote, clock=clock, now=clock.seconds, max_age=60.0)
        for number, who in enumerate(known):
            made.decide(at, who)
            words = tuple(f"{number}-{one}".ljust(size, "x") for one in range(reasons))
            remote.asked.pop().gives(Deny(words), generation=f"{number:016x}")
        assert len(made.memory.kept) == count, len(made.memory.kept)
        return made

    return fill


def heads(block: Callable[[int], bytes], notes: int, count: int = BLOCKS) -> Filler:
    """Fill the blocks of fields, with as many notes of the size of a block for each."""

    def fill() -> object:
        made = RequestHeads(Limits())
        for number in range(count):
            head = b"GET / HTTP/1.1" + block(number)
            for _ in range(2):
                _, judged, _ = made.read(head)
            kept: Notes = judged.notes
            for key in range(notes):
                kept.keep(key, bytes(len(head)))
        return made

    return fill


def browsers(number: int) -> bytes:
    """Return the fields of a browser with a session: some 1 KB."""
    return (
        b"\r\nhost: app.example.com\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
        b"Gecko/20100101 Firefox/128.0\r\naccept: text/html,application/xhtml+xml\r\n"
        b"accept-language: en-US,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\n"
        b"sec-fetch-dest: document\r\nsec-fetch-mode: navigate\r\nsec-fetch-site: none\r\n"
        b"cookie: _pomerium=%0600d\r\n\r\n" % number
    )


def tiny(number: int) -> bytes:
    """Return as many fields as may be, as small as may be: the objects outweigh the bytes."""
    few = b"".join(
        b"%c%c:%02d\r\n" % (103 + one // 26, 97 + one % 26, one % 100) for one in range(126)
    )
    return b"\r\nhost:a\r\nx:%d\r\n" % number + few + b"\r\n"


def lines(size: int, count: int = LINES) -> Filler:
    """Fill the request lines, each so long."""

    def fill() -> object:
        made = RequestHeads(Limits())
        for number in range(count):
            target = b"/%0*d" % (size - 15, number)
            for _ in range(2):
                made.read(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)
        return made

    return fill


def offers() -> object:
    """Fill what was offered once to both memories."""
    made: list[set[int]] = [set(), set()]
    for one, most in zip(made, (LINES, BLOCKS), strict=True):
        one.update(hash(b"%d" % number) for number in range(most // 2 * OFFERS))
    return made


def assertions(groups: int, count: int = KEPT_MOST) -> Filler:
    """Fill the signed assertions."""

    def fill() -> object:
        made = IdentityHeaders(SigningKey.derived(SHARED))
        for number in range(count):
            made.lines(session(number, groups), f"h{number}.example.com", NOW)
        return made

    return fill


def renewals(size: int, count: int = REMEMBERED) -> Filler:
    """Fill the answers to refresh tokens, each token so long."""

    def fill() -> object:
        return {
            bytes([number % 256]) * 16 + b"%d" % number: Confirmed(
                Grant(
                    identity=identity(number, 10),
                    refresh_token="r" * (size - 8) + f"{number:08d}",
                    id_token="i" * (size - 8) + f"{number:08d}",
                    access_token="a" * (size - 8) + f"{number:08d}",
                ),
                NOW,
            )
            for number in range(count)
        }

    return fill


def small_things() -> object:
    """Fill what is remembered of names, hosts and options."""
    names.VERDICTS.clear()
    for number in range(names.VERDICTS_MOST):
        names.ends_here(b"x-%062d" % number)
    for number in range(http_head._NAMES_KEPT):
        http_head._NAMES[b"X-%062d" % number]
    for number in range(1024):
        authority(b"%063d.%063d.%063d.%061d" % (0, 0, 0, number))
    for number in range(256):
        http_fields.clients_options(
            b",".join(b"%x" % (number * 100 + one) for one in range(64))[:256]
        )
    return names.VERDICTS, http_head._NAMES


def log() -> object:
    """Fill the lines that wait for a log that takes none."""

    class Stuck:
        def write(self, octets: bytearray) -> int:
            return 0

        def wait(self, seconds: float) -> None:
            pass

        def close(self) -> None:
            pass

    made = Lines(Stuck(), lambda count: b"%d\n" % count)
    while made.size + 400 <= WAITING:
        made.add(b"x" * 399 + b"\n")
    return made


def tally() -> object:
    """Fill the numbers of a worker whose routes are all in use, each with four outcomes."""
    made, at = Tally(), compiled()
    for number in range(OUTCOMES // 4):
        one = attrs.evolve(at, id=f"{number:016x}")
        for status in (200, 302, 403, 502):
            made.count([(ended(one, status=status), 0.01)])
    for number in range(DESTINATIONS):
        made.upstream(f"10.0.{number}.1:8080")
    # The cells and what they mean are no memory of Python's.
    return made, bytes(made.memory)


def generation(count: int) -> Filler:
    """Build a generation with so many routes, each for three people and a group."""

    def fill() -> object:
        settings = make_settings(
            *(
                route(
                    f"h{number}.example.com",
                    place=f"policy[{number}]",
                    allowed_users=tuple(f"p{one}.{number}@example.com" for one in range(3)),
                    allowed_groups=(f"group-{number}",),
                )
                for number in range(count)
            )
        )
        world = World(
            agent=NoProvider(),
            clock=Clock(),
            now=lambda: NOW,
            random=bytes,
            connector=MemoryUpstreams(),
        )
        return settings, finish(building(settings, SHARED, world, Limits()))

    return fill


FILLERS: Mapping[str, Filler] = MappingProxyType(
    {
        "sessions, 3 groups": sessions(3),
        "sessions, 200 groups": sessions(200, 1_000),
        "decisions, 3 reasons": decisions(3, 20),
        "decisions, 32 reasons": decisions(32, 64),
        "blocks, a browser's": heads(browsers, 2),
        "blocks, a browser's, 4 notes": heads(browsers, 4),
        "blocks, tiny fields": heads(tiny, 0),
        "blocks, tiny fields, 4 notes": heads(tiny, 4),
        "lines, 40 bytes": lines(40),
        "lines, 256 bytes": lines(256),
        "offers": offers,
        "assertions, 3 groups": assertions(3),
        "assertions, 150 groups": assertions(150),
        "renewals, tokens of 1.5 KB": renewals(1_500),
        "renewals, tokens of 64 KB": renewals(65_536, 64),
        "names, hosts, options": small_things,
        "log": log,
        "tally": tally,
        "generation of 1,000 routes": generation(1_000),
    }
)


def taken(filler: Filler) -> int:
    """Return the bytes that live on after a filler has run."""
    gc.collect()
    tracemalloc.start()
    try:
        filled = filler()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del filled
    return size


def report() -> Iterator[str]:
    """Measure all."""
    for name, filler in FILLERS.items():
        yield f"{taken(filler) / (1 << 20):8.2f} MiB  {name}"


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)  # noqa: T201
