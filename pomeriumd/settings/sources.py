"""
Where settings come from: one file, the environment over it, and the files that they name.

Makes one tree; what cannot be had stands in it as Unreadable, so that the checker reports
it at its place together with all else. Nothing is checked here.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.fields import SECRET_SIZE
from pomeriumd.settings.files import LARGEST_FILE, LARGEST_NAMED, Files, absolute
from pomeriumd.settings.keys import (
    CLUSTER_KEYS,
    GLOBAL_KEYS,
    MTLS_KEYS,
    ROUTE_KEYS,
    ROUTE_LISTS,
    Key,
    file_forms,
)
from pomeriumd.settings.known import environment_names
from pomeriumd.settings.node import Node, Unreadable
from pomeriumd.settings.reads import ReadsPairs, ReadsSome
from pomeriumd.settings.trees import parse, yaml_tree

CONTROL = "control_socket"
SOCKET = "control.sock"
"""What the control socket is called in a directory of ours."""

PAIRS, CLUSTERS, MTLS = "certificates", "clusters", "downstream_mtls"


def gather(path: str, environment: Mapping[str, str], files: Files) -> Node:
    """
    Return the tree of all that was found.

    Args:
        path: of the settings file. Paths in it count from its directory.
        environment: of the process; an empty variable counts as none.
        files: reads all files, and knows afterwards which, also when this fails.

    Raises:
        SettingsError: the file itself cannot be read or is malformed.
    """
    tree = outline(path, environment, files)
    if not isinstance(tree.value, Mapping):
        return tree
    beside = _Beside(files, os.path.dirname(absolute(path)))  # noqa: PTH120 - a text is all we want
    return Node(_with_files(dict(tree.value), beside))


def outline(path: str, environment: Mapping[str, str], files: Files) -> Node:
    """
    Return the tree as :func:`gather` does, without opening any file that it names.

    Raises:
        SettingsError: the file itself cannot be read or is malformed.
    """
    try:
        text = files.read(path, LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError([Problem("", "is not UTF-8")]) from None
    except OSError as error:
        raise SettingsError([Problem("", reason(error))]) from None
    tree = parse(text, os.path.splitext(path)[1].lower())  # noqa: PTH122 - a text is all we want
    # A file that holds comments only says nothing, and nothing is a map of nothing.
    entries = {} if tree.value is None else tree.value
    if not isinstance(entries, Mapping):
        return tree
    found = _over(dict(entries), _from_environment(environment))
    found.setdefault("state_dir", _state_dir(environment))
    if CONTROL not in found:
        found |= _control_socket(environment, found["state_dir"])
    # No line: the whole begins on the first one, and that is where nothing is missing.
    return Node(found)


def reason(error: OSError) -> str:
    """Return why a file cannot be read, in the system's words and with no path twice."""
    return f"cannot be read: {(error.strerror or 'unknown reason').lower()}"


@attrs.frozen
class _Beside:
    """The files that are named, from the directory of the settings file."""

    files: Files
    directory: str

    def read(self, path: str) -> bytes:
        """Return what a file holds; raise OSError."""
        return self.files.read(os.path.join(self.directory, path), LARGEST_NAMED)  # noqa: PTH118 - text


def _over(entries: dict[str, Node], above: dict[str, Node]) -> dict[str, Node]:
    """Lay the environment over the file; either spelling of a key covers both of the file."""
    for name in above:
        key = file_forms(GLOBAL_KEYS).get(name) or GLOBAL_KEYS.get(name)
        if key is not None:
            entries.pop(key.name, None)
            entries.pop(key.file_form, None)
    return {**entries, **above}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Node]:
    found = {}
    keys = {**GLOBAL_KEYS, **file_forms(GLOBAL_KEYS)}
    for name, key in keys.items():
        text = environment.get(name.upper())
        if text:
            is_file = name != key.name
            found[name] = _variable(key, text, f"environment {name.upper()}", is_file=is_file)
    for variable in sorted(environment_names()):
        if environment.get(variable):
            found[variable.lower()] = Node(environment[variable], f"environment {variable}")
    return found


def _variable(key: Key, text: str, where: str, *, is_file: bool) -> Node:
    if is_file:
        return Node(text, where)
    if key.name in ROUTE_LISTS:
        return _encoded_list(text, where)
    if key.name in (PAIRS, CLUSTERS, MTLS):
        return Node(Unreadable("stands in the settings file only"), where)
    if isinstance(key.marks, ReadsPairs):
        return _pairs(text, where)
    if key.many or (isinstance(key.marks, ReadsSome) and "," in text):
        items = (item.strip() for item in text.split(","))
        return Node(tuple(Node(item, where) for item in items if item), where)
    return Node(text, where)


def _encoded_list(text: str, where: str) -> Node:
    """Return the routes of POLICY or ROUTES: base64 of a YAML list."""
    try:
        octets = base64.b64decode("".join(text.split()), validate=True)
        tree = yaml_tree(octets.decode("utf-8"))
    except (binascii.Error, ValueError):
        return Node(Unreadable("want base64 of a YAML list, got neither"), where)
    except SettingsError as error:
        return Node(Unreadable("; ".join(map(str, error.problems))), where)
    return _marked(tree, lambda line: f"{where}, {line}")


def _marked(node: Node, mark: Callable[[str], str]) -> Node:
    """Say with each line what it is a line of."""
    value = node.value
    if isinstance(value, Mapping):
        value = {key: _marked(child, mark) for key, child in value.items()}
    elif isinstance(value, tuple):
        value = tuple(_marked(child, mark) for child in value)
    return attrs.evolve(node, value=value, where=mark(node.where))


def _pairs(text: str, where: str) -> Node:
    """Return a map: a JSON object, or ``Key:Value,Key2:Value2``."""
    if text.lstrip().startswith("{"):
        try:
            loaded: Any = json.loads(text)
        except (ValueError, RecursionError):
            return Node(Unreadable("want a JSON object of texts, got no JSON"), where)
        if not all(isinstance(value, str) for value in loaded.values()):
            return Node(Unreadable("want a JSON object of texts, got another value in it"), where)
        return Node({name: Node(value, where) for name, value in loaded.items()}, where)
    found = {}
    for piece in text.split(","):
        name, colon, value = piece.partition(":")
        if not colon:
            return Node(Unreadable("want Key:Value,Key2:Value2 or a JSON object"), where)
        found[name.strip()] = Node(value.strip(), where)
    return Node(found, where)


def _state_dir(environment: Mapping[str, str]) -> Node:
    """Return where systemd, XDG or the home directory would have our state."""
    # systemd lists several directories with colons between them; the first one is ours.
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Node(given, "environment STATE_DIRECTORY")
    if home := environment.get("XDG_STATE_HOME"):
        return Node(f"{home}/pomeriumd", "environment XDG_STATE_HOME")
    if home := environment.get("HOME"):
        return Node(f"{home}/.local/state/pomeriumd", "environment HOME")
    return Node(
        Unreadable("missing; want it here, or STATE_DIRECTORY or HOME in the environment"),
        "",
    )


def _control_socket(environment: Mapping[str, str], state_dir: Node) -> dict[str, Node]:
    """Return where the control socket is, in what systemd made for us or in the state."""
    given = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return {CONTROL: Node(f"{given}/{SOCKET}", "environment RUNTIME_DIRECTORY")}
    parent = state_dir.value
    if not isinstance(parent, str) or not parent.startswith("/") or not parent.isprintable():
        return {}  # that is a problem of state_dir, and one is enough
    return {CONTROL: Node(f"{parent}/{SOCKET}", state_dir.where, "state_dir")}


def _with_files(entries: dict[str, Node], beside: _Beside) -> dict[str, Node]:
    """Put in place of each key that names a file what the file holds."""
    found = _part_files(entries, GLOBAL_KEYS, beside)
    if PAIRS in found:
        found[PAIRS] = _each(found[PAIRS], lambda pair: _pair_files(pair, beside))
    if CLUSTERS in found:
        found[CLUSTERS] = _each(
            found[CLUSTERS], lambda cluster: _part_files(cluster, CLUSTER_KEYS, beside)
        )
    mtls = found.get(MTLS)
    if mtls is not None and isinstance(mtls.value, Mapping):
        found[MTLS] = attrs.evolve(mtls, value=_inlined(dict(mtls.value), MTLS_KEYS, beside))
    return found


def _part_files(entries: dict[str, Node], keys: dict[str, Key], beside: _Beside) -> dict[str, Node]:
    """Do it for what has routes: the whole, or one cluster."""
    found = _inlined(entries, keys, beside)
    for name in ROUTE_LISTS:
        if name in found:
            found[name] = _each(found[name], lambda route: _inlined(route, ROUTE_KEYS, beside))
    return found


def _each(node: Node, change: Any) -> Node:
    items = tuple(
        attrs.evolve(item, value=change(dict(item.value)))
        if isinstance(item.value, Mapping)
        else item
        for item in node.items
    )
    return attrs.evolve(node, value=items) if isinstance(node.value, tuple) else node


def _pair_files(entries: dict[str, Node], beside: _Beside) -> dict[str, Node]:
    return {
        name: _held(node, beside) if name in ("cert", "key") else node
        for name, node in entries.items()
    }


def _inlined(entries: dict[str, Node], keys: dict[str, Key], beside: _Beside) -> dict[str, Node]:
    forms = file_forms(keys)
    found: dict[str, Node] = {}
    for name, node in entries.items():
        key = forms.get(name)
        if key is None:
            found.setdefault(name, node)
        elif key.name in entries:
            text = f"{key.name} is there too; want one of them"
            found[key.name] = Node(Unreadable(text), node.where, name)
        else:
            held = _held(node, beside)
            if isinstance(key.marks, ReadsPairs) and isinstance(held.value, bytes):
                held = _map_in(held.value, node)
            found[key.name] = attrs.evolve(held, name=name)
    return found


def _map_in(octets: bytes, named: Node) -> Node:
    """Return the map that a file holds, each entry with the file's line beside the key's."""
    suffix = ".json" if str(named.value).endswith(".json") else ".yaml"

    def mark(line: str) -> str:
        return ", ".join(filter(None, (named.where, line and f"the file's {line}")))

    try:
        tree = parse(octets.decode("utf-8-sig"), suffix)
    except UnicodeDecodeError:
        return attrs.evolve(named, value=Unreadable("is not UTF-8"))
    except SettingsError as error:
        text = "; ".join(f"the file's {p}" if p.place else p.text for p in error.problems)
        return attrs.evolve(named, value=Unreadable(text))
    if not tree.value:
        # Nobody names a file in order to set nothing: it was cut short.
        return attrs.evolve(named, value=Unreadable("the file is empty; want a map"))
    return attrs.evolve(_marked(tree, mark), where=named.where)


def _held(node: Node, beside: _Beside) -> Node:
    """Return what the file holds that a node names."""
    path = node.value
    if not isinstance(path, str) or not path:
        return attrs.evolve(node, value=Unreadable("want the path of a file"))
    try:
        octets = beside.read(path)
    except OSError as error:
        shown = f"{path!a} " if _is_path(path) else "want the path of a file; this one "
        return attrs.evolve(node, value=Unreadable(shown + reason(error)))
    return attrs.evolve(node, value=octets)


def _is_path(text: str) -> bool:
    """Return whether a text can be shown: some put the secret itself where its file belongs."""
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        return "/" in text
    return "/" in text and len(octets) < SECRET_SIZE
