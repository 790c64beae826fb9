"""What the sources found, before it is checked: values that know where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from pomeriumd.errors import Problem

Scalar = str | int | float | bool | bytes | None
"""A leaf; ``bytes`` is what a file held that a ``KEY_file`` names."""


@attrs.frozen
class Unreadable:
    """In place of a value that could not be had."""

    text: str
    """Why, fit for the operator."""


@attrs.frozen
class Node:
    """One value of the file or the environment."""

    value: Scalar | Unreadable | tuple[Node, ...] | Mapping[str, Node] = attrs.field(repr=False)
    where: str = ""
    """``line 42``, ``environment COOKIE_SECRET``; empty where the format tells nothing."""
    name: str = ""
    """The key it was given under, if that is not its key here: ``cookie_secret_file``."""
    path: str = ""
    """From the top: ``policy[3].from``. Set by :func:`placed`."""

    def problem(self, text: str) -> Problem:
        """Return a problem that stands here."""
        return Problem(place(self.path, self.where), text)

    @property
    def entries(self) -> Mapping[str, Node]:
        """Return the entries of a map; none if this is no map."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """Return the items of a list; none if this is no list."""
        return self.value if isinstance(self.value, tuple) else ()


def place(path: str, where: str) -> str:
    """Return a place as the operator reads it: ``policy[3].from (line 42)``."""
    return f"{path} ({where})" if path and where else path or where


def placed(node: Node, path: str = "") -> Node:
    """Return the same tree with every node's path from the top filled in."""
    value = node.value
    if isinstance(value, Mapping):
        value = {
            key: placed(child, _below(path, child.name or key)) for key, child in value.items()
        }
    elif isinstance(value, tuple):
        value = tuple(placed(child, f"{path}[{index}]") for index, child in enumerate(value))
    return Node(value, node.where, node.name, path)


def _below(path: str, key: str) -> str:
    shown = shown_key(key)
    return f"{path}.{shown}" if path else shown


LONGEST_KEY = 64
"""Characters of an unknown key that are shown."""


_WORDS = re.compile(r"[_-]*(?:(?:[^\W\d_]{1,24}[0-9]{0,4}|[0-9]{1,4})(?![^\W_])[_-]*)*")
"""Words of letters, maybe numbered: what names are made of, and random text is not."""


def shown_key(key: str) -> str:
    """
    Return a key fit for a place: ASCII, and only as far as it looks like a key.

    A forgotten space makes a key of ``cookie_secret:c2VjcmV0``, and a slip of the indent one
    of the secret alone: what stands behind the first odd character, or is no word, could be it.
    """
    found = _WORDS.match(key[:LONGEST_KEY])
    head = found[0] if found else ""
    return ascii(head)[1:-1] + ("" if head == key else "...")
