"""Which of somebody's groups go into a session, when there are more than it can hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import orjson

from pomeriumd.session.claims import GROUP_COUNT, TEXT_SIZE

GROUPS_SIZE = 6_000
"""Bytes that all groups together may take in a session, as JSON: a quote or a backslash in a
name is two there. The hand-off travels in a URL, half as large again, and a request target
ends at 16 KiB (fronts at 8 KiB)."""


def fitting(groups: Iterable[str], named: Collection[str] = ()) -> tuple[str, ...]:
    """
    Return the groups that go into a session.

    Args:
        groups: as the provider gave them.
        named: those that some policy names. They come first, so that a person in
            thousands of groups is still let in by the one that counts.

    Returns:
        Each group once, in the provider's order; all of them if they fit.
    """
    wanted = [g for g in dict.fromkeys(groups) if 0 < len(g) <= TEXT_SIZE]
    kept: set[str] = set()
    room = GROUPS_SIZE
    for group in sorted(wanted, key=lambda group: group not in named):
        size = len(orjson.dumps(group)) + 1
        if size <= room and len(kept) < GROUP_COUNT:
            kept.add(group)
            room -= size
    return tuple(group for group in wanted if group in kept)
