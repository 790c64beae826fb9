"""How a setting says what it is: marks that stand in its type annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


class Unfit(ValueError):
    """
    A value that cannot be used. Its text goes to the operator, so no secret is in it.

    A class of its own, because the text of a chance ValueError (of a decoder, say) may
    hold what it could not decode.
    """


@attrs.frozen
class Doc:
    """What the manual says about a setting."""

    text: str
    """One or more plain sentences."""
    default: str = ""
    """The default as an operator would write it, where it cannot be told from the value."""
    example: str = ""
    """A value as it stands in YAML, where the kind alone does not show it."""


@attrs.frozen
class Reads:
    """
    How one scalar is read.

    ``read`` takes what the file or the environment holds (text, number, bool, or the octets
    of a file) and returns the setting's value, or raises Unfit with a text that says
    what was found and what is wanted, and that never holds a secret.
    """

    read: Callable[[object], Any]
    kind: str
    """What the manual calls such a value: ``duration``, ``URL``."""
    secret: bool = False
    file: bool = False
    """Whether ``KEY_file`` may name a file that holds the value."""
    only_one: str = ""
    """What a list of it would be several of; a list of one is then taken as the one."""


@attrs.frozen
class ReadsSome:
    """How one text, or a list of texts, is read: each by itself, then all together."""

    read: Callable[[object], str]
    together: Callable[[tuple[str, ...]], Any]
    kind: str
    secret: bool = False
    file: bool = False


@attrs.frozen
class ReadsPairs:
    """How a map of names to texts is read: each name and each value by itself."""

    name: Callable[[object], str]
    value: Callable[[object], str]
    kind: str
    secret: bool = False
    file: bool = False
    """Whether ``KEY_file`` may name a file that holds the map, in YAML or JSON."""
    switch: str = ""
    """A name that, whatever its value, makes the map an empty one."""


Mark = Reads | ReadsSome | ReadsPairs
"""Any of the ways in which a setting is read."""
