"""
When which names are to be ordered: a function of what is there, what went wrong, and now.

Pure. A name is due when no certificate is there for it that is good for more than a third of its
life. All names that are due go into as few orders as they can, one for each domain; a name that
failed is ordered by itself from then on, so that it holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from pomeriumd.acme.problems import HOOK, NOT_KEPT, UNREACHABLE

MOST_NAMES = 50
"""Names of one certificate; authorities take a hundred, and each makes the handshake longer."""

LEFT = 1 / 3
"""Of its life, when a certificate is renewed."""

SOON, LATE = 30.0, 300.0
"""Seconds after a first failure: of one that cost the authority nothing, and of a refusal. Let's
Encrypt allows five failed proofs of a name an hour; after 0, 5, 15 and 35 minutes it is four."""

LONGEST = {SOON: 3600.0, LATE: 43_200.0}
"""That the doubled pause may come to."""

JITTER = 0.25
"""Of a pause, at the most, on top of it."""

TELLING = frozenset({"rejectedIdentifier", "unsupportedIdentifier", "caa"})
"""Kinds of problem that are about one name, whether or not the authority says which."""

CHEAP = frozenset({UNREACHABLE, HOOK, NOT_KEPT})
"""Outcomes that no authority counts."""


@attrs.frozen(kw_only=True)
class Kept:
    """One certificate that is there."""

    file: str
    names: frozenset[str]
    begin: float
    """Seconds since the epoch, as the end."""
    end: float
    must_staple: bool

    @property
    def renewal(self) -> float:
        """Return from when on it is to be renewed."""
        return self.end - (self.end - self.begin) * LEFT


@attrs.frozen(kw_only=True)
class Trouble:
    """What went wrong with a name the last time."""

    failures: int
    """In a row; 0 of a name that is only to be ordered by itself."""
    next: float
    """When to try again: seconds since the epoch."""
    outcome: str
    text: str


@attrs.frozen
class Agenda:
    """What is to be done now, and when to look again."""

    orders: tuple[tuple[str, ...], ...]
    """Each the names of one certificate, sorted."""
    next: float
    """Seconds since the epoch: now, if there is something; infinity where there never will be."""
    renewal: float
    """When the next of the certificates in use is to be renewed; infinity if there are none."""


def agenda(
    wanted: Iterable[str],
    kept: Sequence[Kept],
    troubles: Mapping[str, Trouble],
    now: float,
    *,
    must_staple: bool,
) -> Agenda:
    """
    Return what is to be ordered.

    Args:
        wanted: names; a wildcard as ``*.example.com``.
        kept: what is there.
        troubles: by name.
        now: seconds since the epoch.
        must_staple: whether certificates are to be good with a stapled response only; one that
            is the other way round counts as none.
    """
    good = [one for one in kept if one.must_staple == must_staple]
    due: list[str] = []
    later = renewal = float("inf")
    for name in wanted:
        until = max((one.renewal for one in good if name in one.names), default=0.0)
        trouble = troubles.get(name)
        begin = until if trouble is None else max(until, trouble.next)
        if begin <= now:
            due.append(name)
        else:
            later = min(later, begin)
        if until:
            renewal = min(renewal, until)
    alone = [(name,) for name in due if name in troubles]
    together = _grouped(sorted(set(due) - troubles.keys()))
    orders = tuple(sorted([*alone, *together]))
    return Agenda(orders, now if orders else later, renewal)


def _grouped(names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(domain(name), []).append(name)
    for group in groups.values():
        for first in range(0, len(group), MOST_NAMES):
            yield tuple(group[first : first + MOST_NAMES])


def domain(name: str) -> str:
    """Return the domain that a name is ordered with: its parent's, or itself at the top."""
    host = name.removeprefix("*.")
    if host != name or host.count(".") < 2:  # noqa: PLR2004  # example.com is a domain itself
        return host
    return host.partition(".")[2]


def troubled(
    before: Trouble | None,
    *,
    outcome: str,
    text: str,
    retry_after: float,
    now: float,
    chance: float,
) -> Trouble:
    """
    Return what is remembered of a failure.

    Args:
        before: of the failure before it, if there was one.
        outcome: one of ``problems.OUTCOMES``.
        text: what went wrong.
        retry_after: seconds that the authority wants us to wait; 0 if it did not say.
        now: seconds since the epoch.
        chance: 0 to 1, by which two hosts do not come at one moment.
    """
    failures = 1 if before is None else before.failures + 1
    first = SOON if outcome in CHEAP else LATE
    pause = min(first * 2 ** min(failures - 1, 30), LONGEST[first])
    pause = max(pause, retry_after) * (1 + JITTER * chance)
    return Trouble(failures=failures, next=now + pause, outcome=outcome, text=text)
