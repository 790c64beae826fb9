"""
The manual's section on memory: what is kept, how much of it at the most, and what moves that.

The constants stand in packages that this one does not know, so their values stand here a
second time; a test compares them, and another one fills each memory and weighs it
(``tests/support/held.py``, which also says how connections were weighed).
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

KIB = 1 << 10
MIB = 1 << 20


@attrs.frozen(kw_only=True)
class Held:
    """One thing that a worker keeps."""

    what: str
    most: str
    """How much of it there may be, with the last part of a name of ``bounds`` in braces."""
    size: int
    """Bytes of memory at the most, rounded up from what was measured."""
    usual: int
    """Bytes when it is full of what browsers send and providers say."""
    moved: str = "nothing"
    """The setting that moves it."""
    bounds: tuple[tuple[str, int], ...] = ()
    """The constants behind it, by module and name, and their values."""

    @property
    def count(self) -> str:
        """Return ``most`` with its numbers."""
        return self.most.format(**{name.rpartition(".")[2]: value for name, value in self.bounds})


WORKER = (
    Held(
        what="Sessions that were verified",
        most="{KNOWN:,}; 2 KiB each, 25 KiB with all the {GROUPS_SIZE:,} bytes of groups that one "
        "may have",
        size=260 * MIB,
        usual=20 * MIB,
        bounds=(
            ("pomeriumd.proxy.sessions.KNOWN", 10_000),
            ("pomeriumd.session.groups.GROUPS_SIZE", 6_000),
        ),
    ),
    Held(
        what="Decisions that an authorize service made",
        most="{KEPT:,}, each with at most 32 reasons of 64 bytes",
        size=48 * MIB,
        usual=8 * MIB,
        moved="`decision_max_age`: 0 keeps none",
        bounds=(("pomeriumd.proxy.decisions.KEPT", 10_000),),
    ),
    Held(
        what="Header fields of requests, with what was worked out of them",
        most="{BLOCKS:,} blocks and {BLOCKS_SIZE:,} bytes as they came, {MOST} notes on each",
        size=104 * MIB,
        usual=24 * MIB,
        bounds=(
            ("pomeriumd.http.request_heads.BLOCKS", 8_192),
            ("pomeriumd.http.request_heads.BLOCKS_SIZE", 4_194_304),
            ("pomeriumd.http.notes.MOST", 4),
        ),
    ),
    Held(
        what="Request lines",
        most="{LINES:,} and {LINES_SIZE:,} bytes as they came",
        size=4 * MIB,
        usual=2 * MIB,
        bounds=(
            ("pomeriumd.http.request_heads.LINES", 4_096),
            ("pomeriumd.http.request_heads.LINES_SIZE", 1_048_576),
        ),
    ),
    Held(
        what="Hashes of lines and fields that came once",
        most="{OFFERS} for each of those that half of the two rows above may have",
        size=2 * MIB,
        usual=2 * MIB,
        bounds=(("pomeriumd.http.recent.OFFERS", 4),),
    ),
    Held(
        what="Signed assertions, for a minute each",
        most="{KEPT_MOST:,} and {KEPT_SIZE:,} bytes of fields",
        size=40 * MIB,
        usual=8 * MIB,
        bounds=(
            ("pomeriumd.access.assertion.KEPT_MOST", 4_096),
            ("pomeriumd.access.assertion.KEPT_SIZE", 16_777_216),
        ),
    ),
    Held(
        what="Tokens of renewed sessions, for {REMEMBERED_SECONDS} s each",
        most="{REMEMBERED:,}; 6 KiB each, and never more than a provider's answer of "
        "{DEFAULT_SIZE:,} bytes",
        size=260 * MIB,
        usual=6 * MIB,
        bounds=(
            ("pomeriumd.authenticate.renewal.REMEMBERED", 1_024),
            ("pomeriumd.authenticate.renewal.REMEMBERED_SECONDS", 60),
            ("pomeriumd.oidc.client.DEFAULT_SIZE", 262_144),
        ),
    ),
    Held(
        what="Requests to the provider under way",
        most="{MAX_AT_ONCE}, each with at most {MAX_RECEIVED:,} bytes of answer",
        size=64 * MIB,
        usual=MIB,
        bounds=(
            ("pomeriumd.oidc.client.MAX_AT_ONCE", 64),
            ("pomeriumd.oidc.agent.MAX_RECEIVED", 1_048_576),
        ),
    ),
    Held(
        what="The provider's metadata and keys, and TLS options for its hosts",
        most="{MAX_KEYS} keys, {HOSTS} hosts",
        size=2 * MIB,
        usual=MIB,
        bounds=(
            ("pomeriumd.oidc.keyset.MAX_KEYS", 64),
            ("pomeriumd.net.verify.HOSTS", 64),
        ),
    ),
    Held(
        what="Names of fields and hosts, options of `Connection`",
        most="{VERDICTS_MOST:,} and {_NAMES_KEPT:,} names, 1,024 hosts, {OPTIONS_MOST} lists of "
        "{OPTIONS_SIZE} bytes twice",
        size=4 * MIB,
        usual=MIB,
        bounds=(
            ("pomeriumd.access.names.VERDICTS_MOST", 4_096),
            ("pomeriumd.http.head._NAMES_KEPT", 2_048),
            ("pomeriumd.http.fields.OPTIONS_MOST", 256),
            ("pomeriumd.http.fields.OPTIONS_SIZE", 256),
        ),
    ),
    Held(
        what="Log lines that nobody takes",
        most="{WAITING:,} bytes; later ones are dropped and counted",
        size=2 * MIB,
        usual=0,
        bounds=(("pomeriumd.daemon.lines.WAITING", 1_048_576),),
    ),
    Held(
        what="Numbers for the metrics",
        most="{OUTCOMES:,} outcomes, {ROUTES:,} routes, {DESTINATIONS} applications; in "
        "{SIZE:,} bytes that the supervisor reads too, {SPOTS:,} ways there are remembered",
        size=30 * MIB,
        usual=MIB,
        moved="`policy`, `routes`",
        bounds=(
            ("pomeriumd.daemon.series.OUTCOMES", 32_768),
            ("pomeriumd.daemon.series.ROUTES", 1_000),
            ("pomeriumd.daemon.series.DESTINATIONS", 256),
            ("pomeriumd.daemon.tally.SPOTS", 32_768),
            ("pomeriumd.daemon.cells.SIZE", 8_388_608),
        ),
    ),
    Held(
        what="Answers gathered in one turn of the loop",
        most="{MOST} connections, {HELD_SIZE:,} bytes each",
        size=4 * MIB,
        usual=0,
        bounds=(
            ("pomeriumd.net.turn_end.MOST", 64),
            ("pomeriumd.net.transport.HELD_SIZE", 65_536),
        ),
    ),
    Held(
        what="Routes, and all that was built of them; twice while a reload is under way, and for "
        "as long as exchanges of before go on",
        most="{MOST_ROUTES:,}; 7 KiB each, 1 MiB more where `tls_custom_ca` is a whole bundle",
        size=70 * MIB,
        usual=MIB,
        moved="`policy`, `routes`",
        bounds=(("pomeriumd.settings.check.MOST_ROUTES", 10_000),),
    ),
)
"""What each worker keeps, whatever its connections do."""

PLAIN = 2 * KIB
TLS = 24 * KIB
EXCHANGE = 11 * KIB

CONNECTION = (
    Held(what="Open, without TLS", most="1", size=PLAIN, usual=PLAIN, moved="`max_connections`"),
    Held(what="Open, with TLS", most="1", size=TLS, usual=TLS, moved="`max_connections`"),
    Held(
        what="A request under way, with its connection to the application",
        most="1; where `upstream_max_connections` are in use, {LINE:,} more wait for each "
        "application, and {SPARE} connections to it are kept idle",
        size=EXCHANGE,
        usual=EXCHANGE,
        moved="`upstream_max_connections`",
        bounds=(
            ("pomeriumd.net.upstreams.LINE", 1_024),
            ("pomeriumd.net.upstreams.SPARE", 64),
        ),
    ),
    Held(
        what="A head that arrives",
        most="{head_size:,} bytes",
        size=64 * KIB,
        usual=2 * KIB,
        bounds=(("pomeriumd.http.limits.Limits.head_size", 65_536),),
    ),
    Held(
        what="Requests behind the one that is served",
        most="{pipelined:,} bytes, and what one read brings ({READ_SIZE:,})",
        size=128 * KIB,
        usual=0,
        bounds=(
            ("pomeriumd.http.limits.Limits.pipelined", 65_536),
            ("pomeriumd.net.transport.READ_SIZE", 65_536),
        ),
    ),
    Held(
        what="An answer that the client does not take, a body that the application does not take",
        most="{HELD_SIZE:,} bytes, and what one read brings",
        size=128 * KIB,
        usual=0,
        bounds=(("pomeriumd.net.transport.HELD_SIZE", 65_536),),
    ),
    Held(
        what="The head of an answer",
        most="{response_head_size:,} bytes",
        size=256 * KIB,
        usual=2 * KIB,
        bounds=(("pomeriumd.http.limits.Limits.response_head_size", 262_144),),
    ),
    Held(
        what="A form for one of our own pages",
        most="{small_body:,} bytes",
        size=64 * KIB,
        usual=0,
        bounds=(("pomeriumd.http.limits.Limits.small_body", 65_536),),
    ),
)
"""What one connection of a client may take, at one time or another."""

PROCESS = 60 * MIB
"""A worker that has nothing to do, the one in reserve, and the supervisor."""

UNSENT = 131_072
"""``pomeriumd.net.transport.UNSENT_SIZE``."""

_HEAD = """\
## Memory

All that is kept has a bound. The numbers were measured on Debian 12 with Python 3.11: memories by
filling them with what takes the most (`python -m tests.support.held`), connections by what the
resident size of the real daemon grows by with each of some thousand
(`python -m tests.support.held_open`).

A **worker** takes {process} when it has just begun, as the one in reserve does for as long as it is
that, and up to this beside:

| What is kept | At most | Memory at the most | Usual, when full |
|---|---|---|---|
"""

_CONNECTION = """
Each **connection** of a client has these. They do not all come together: half a MiB is the worst
that one can do.

| What is kept | At most | Memory at the most | Moved by |
|---|---|---|---|
"""

_EXAMPLE = """
`max_connections` and `upstream_max_connections` are shared out among the workers, each gets its
part rounded up: with 4 workers, `max_connections: 10000` is 2,500 for each. Each worker has a limit
of open files of its own, and checks it at the start against its part.

The kernel has buffers beside all this: {unsent:,} bytes of what waits for a slow client and what is
on its way, and what an application sends faster than its client reads, up to the last number of
`net.ipv4.tcp_rmem`; `net.ipv4.tcp_mem` is the bound for all of it.

**For instance**, a host with 2 workers and 10,000 browsers connected over TLS, of which 1,000 wait
for an answer:

| | Each | How many | Together |
|---|---|---|---|
"""


_END = """
Give it {give}. With each memory full of what takes the most, and every client in the middle of an
answer that it does not take, it is {worst}: a good value for `MemoryMax=` of the unit. Most of
that is people with hundreds of groups and a provider with giant tokens, which no stranger can bring
about.
"""


def section() -> str:
    """Return the section as Markdown."""
    parts = [
        _HEAD.format(process=_shown(PROCESS)),
        *(_row(held, _shown(held.usual), moved=held.moved) for held in WORKER),
        _CONNECTION,
        *(_row(held, held.moved) for held in CONNECTION),
        _EXAMPLE.format(unsent=UNSENT),
        *_example(),
    ]
    return "".join(parts)


def _row(held: Held, last: str, *, moved: str = "nothing") -> str:
    what = held.what.format(**{name.rpartition(".")[2]: value for name, value in held.bounds})
    by = "" if moved == "nothing" else f" (moved by {moved})"
    return f"| {what}{by} | {held.count} | {_shown(held.size)} | {last} |\n"


def _example() -> Iterator[str]:
    usual = sum(held.usual for held in WORKER)
    most = sum(held.size for held in WORKER)
    rows = (
        ("Processes: the workers, the one in reserve, the supervisor", PROCESS, 4),
        ("What a worker keeps, usual and full", usual, 2),
        ("Connections with TLS", TLS, 10_000),
        ("Requests under way", EXCHANGE, 1_000),
    )
    total = sum(size * count for _, size, count in rows)
    for what, size, count in rows:
        yield f"| {what} | {_shown(size)} | {count:,} | {_shown(size * count)} |\n"
    yield f"| **All** | | | **{_shown(total)}** |\n"
    stalled = 10_000 * 128 * KIB
    worst = total + 2 * (most - usual) + stalled
    yield _END.format(give=_gib(2 * total), worst=_gib(worst))


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _shown(size: int) -> str:
    if size == 0:
        return "next to nothing"
    if size < MIB:
        return f"{size // KIB} KiB"
    return f"{size // MIB:,} MiB"
