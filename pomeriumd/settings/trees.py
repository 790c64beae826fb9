"""
From the text of a settings file to a tree of nodes: YAML, JSON and TOML.

A YAML document is built from the parser's events, with none of PyYAML's constructors: every
node knows its line, a key that is there twice is refused, an alias costs what it stands for,
and no tag can make an object. Types are those of YAML 1.2: ``0644`` and ``1:30`` are no
numbers in disguise, and a date is a text. Only ``yes``, ``no``, ``on`` and ``off`` are
refused as bare words, because Pomerium takes them for true and false.

No error shows a value: a file with a forgotten space holds secrets where keys should be.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import yaml

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.node import Node, Scalar, shown_key

DEEPEST = 20
"""Lists and maps inside each other; our own settings need five."""

MOST_NODES = 500_000
"""Nodes of one file, each alias counted as often as what it stands for has nodes."""

LARGEST_NUMBER = 10**19
"""What a whole number may be; errors show numbers, and need not show longer ones."""

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_STANDARD = "tag:yaml.org,2002:"
_TAGS = frozenset({None, "!", *(_STANDARD + kind for kind in ("str", "map", "seq"))})
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,20}|[0-9]{1,20}\.[0-9]{0,20})(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_AMBIGUOUS = frozenset({"yes", "no", "on", "off"})


def parse(text: str, suffix: str) -> Node:
    """
    Return the tree of a settings file.

    Args:
        text: all of the file.
        suffix: of its name, in lower case; says which format it is.

    Raises:
        SettingsError: it cannot be read; the place is the line.
    """
    readers: dict[str, Callable[[str], Node]] = {
        ".yaml": yaml_tree,
        ".yml": yaml_tree,
        ".json": json_tree,
        ".toml": toml_tree,
    }
    if suffix not in readers:
        raise _fault("", "want a file whose name ends in .yaml, .yml, .json or .toml")
    try:
        return readers[suffix](text)
    except RecursionError:
        raise _fault("", f"want at most {DEEPEST} levels") from None


def _fault(place: str, text: str) -> SettingsError:
    return SettingsError([Problem(place, text)])


def yaml_tree(text: str) -> Node:
    """Return the tree of a YAML document."""
    try:
        return _Builder(yaml.parse(text, Loader=_PARSER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark is not None else ""
        raise _fault(where, f"is no YAML: {_said(error)}") from None
    except yaml.YAMLError:
        # A character that YAML does not allow; the text of the error shows what surrounds it.
        raise _fault("", "is no YAML: holds a character that is not allowed") from None


def _said(error: yaml.MarkedYAMLError) -> str:
    """Return what libyaml says, which quotes nothing; PyYAML's own parser quotes the file."""
    if not yaml.__with_libyaml__:
        return "cannot be parsed"
    return ascii(", ".join(filter(None, (error.context, error.problem))))[1:-1]


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"


@attrs.define
class _Builder:
    """Makes nodes of events, and counts them."""

    _events: Iterator[Any]
    _anchors: dict[str, Node] = attrs.Factory(dict)
    _sizes: dict[str, int] = attrs.Factory(dict)
    _count: int = 0

    def document(self) -> Node:
        node: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise self._refuse(event, "holds a second document; want one")
                node = self._node(next(self._events), 0)
        return node or Node({})

    def _refuse(self, event: Any, text: str) -> SettingsError:
        return _fault(_line(event), text)

    def _node(self, event: Any, depth: int) -> Node:
        if depth > DEEPEST:
            raise self._refuse(event, f"want at most {DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        self._grow(event, 1)
        if event.tag not in _TAGS:
            raise self._refuse(event, "has a tag; want a plain value")
        where = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event), where)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(tuple(self._items(depth)), where)
        else:
            node = Node(self._entries(depth), where)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            self._sizes[event.anchor] = self._count - before
        return node

    def _grow(self, event: Any, size: int) -> None:
        self._count += size
        if self._count > MOST_NODES:
            raise self._refuse(event, f"want at most {MOST_NODES} values, aliases counted in full")

    def _alias(self, event: Any) -> Node:
        # An anchor is known only when its node is complete: nothing can hold itself.
        if event.anchor not in self._anchors:
            raise self._refuse(
                event, "has an alias of nothing; put a value that begins with * in quotes"
            )
        self._grow(event, self._sizes[event.anchor])
        return self._anchors[event.anchor]

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, "want a text for a key")
            self._grow(event, 1)
            value = self._node(next(self._events), depth + 1)
            if event.value == "<<" and event.implicit[0]:
                merged = {**self._merged(event, value), **merged}
                continue
            if event.value in entries:
                raise self._refuse(event, f"'{shown_key(event.value)}' is there twice")
            # The line of the key, which is where an operator looks for it.
            entries[event.value] = Node(value.value, _line(event))
        return {**merged, **entries}

    def _merged(self, event: Any, value: Node) -> dict[str, Node]:
        """Return what ``<<`` brings in; of several maps the first one wins."""
        merged: dict[str, Node] = {}
        for source in value.items or (value,):
            if not isinstance(source.value, Mapping):
                raise self._refuse(event, "want a map, or a list of maps, to merge")
            merged = {**source.value, **merged}
        return merged

    def _scalar(self, event: Any) -> Scalar:
        value: str = event.value
        if event.tag is not None or not event.implicit[0]:
            return value
        if value in _WORDS:
            return _WORDS[value]
        if value.lower() in _AMBIGUOUS:
            raise self._refuse(event, f"want true or false, or {value.lower()} in quotes")
        if _INT.fullmatch(value):
            return int(value)
        return float(value) if _FLOAT.fullmatch(value) else value


def json_tree(text: str) -> Node:
    """Return the tree of a JSON document; JSON tells no lines."""

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _fault("", f"'{shown_key(key)}' is there twice")
            found[key] = value
        return found

    def constant(_: str) -> Any:
        raise _fault("", "holds a number that is none")

    try:
        return _plain_tree(json.loads(text, object_pairs_hook=entries, parse_constant=constant), 0)
    except json.JSONDecodeError as error:
        raise _fault(f"line {error.lineno}", f"is no JSON: {error.msg.lower()}") from None
    except ValueError:
        raise _fault("", "is no JSON: holds too long a number") from None


def toml_tree(text: str) -> Node:
    """Return the tree of a TOML document; the parser tells no lines of what is well formed."""
    try:
        return _plain_tree(tomllib.loads(text), 0)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line ([0-9]+),", str(error))
        where = f"line {line[1]}" if line else ""
        raise _fault(where, "is no TOML, or holds a key twice") from None
    except ValueError:
        raise _fault("", "is no TOML: holds too long a number") from None


def _plain_tree(value: Any, depth: int) -> Node:
    if depth > DEEPEST:
        raise _fault("", f"want at most {DEEPEST} levels")
    if isinstance(value, dict):
        return Node({key: _plain_tree(child, depth + 1) for key, child in value.items()})
    if isinstance(value, list):
        return Node(tuple(_plain_tree(child, depth + 1) for child in value))
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise _fault("", "holds too large a number")
    if value is None or isinstance(value, (str, int, float, bool)):
        return Node(value)
    return Node(str(value))
