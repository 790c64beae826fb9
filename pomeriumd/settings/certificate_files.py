"""
Certificates that no setting names one by one: a directory's, and those that systemd hands over.

Three ways to lay a pair out are known: ``NAME.pem`` with key and chain in one file, ``NAME.crt``
beside ``NAME.key``, and ``NAME/fullchain.pem`` beside ``NAME/privkey.pem``, as certbot's live/
has them. Nothing is checked here; what cannot be read is said in its place.

Source: systemd.exec(5), CREDENTIALS; certbot's user guide, "Where are my certificates".
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping

import attrs

from pomeriumd.settings.certificates import Entry
from pomeriumd.settings.files import LARGEST_NAMED, Files
from pomeriumd.settings.node import Node, Unreadable
from pomeriumd.settings.sources import reason

DIRECTORY = "certificates_dir"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
CREDENTIAL = "certificates"
"""How the credentials begin that are certificates: others are secrets of the settings."""

CHAIN, KEY = "fullchain.pem", "privkey.pem"
PARTS = ("cert.pem", "chain.pem")
"""Certbot's names; the last two are in the first."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


@attrs.frozen
class _Laid:
    """Which files a pair consists of."""

    place: str
    chain: str
    key: str


def in_directory(path: str, files: Files) -> list[Entry]:
    """
    Return what a directory holds, sorted by name.

    Raises:
        OSError: it cannot be read.
    """
    laid = _laid(files.listing(path), directories=True)
    return [entry for one in laid if (entry := _read(f"{path.rstrip('/')}/", one, files))]


def in_credentials(environment: Mapping[str, str], files: Files) -> list[Entry]:
    """Return what systemd handed over as certificates, sorted by name; nothing without systemd."""
    path = environment.get(CREDENTIALS, "")
    if not path:
        return []
    try:
        names = [name for name in files.listing(path) if name.startswith(CREDENTIAL)]
    except OSError as error:
        why = Unreadable(reason(error))
        return [Entry(path, why, why)]
    found = (_read(f"{path.rstrip('/')}/", one, files) for one in _laid(names, directories=False))
    return [entry for entry in found if entry]


def is_credential(place: str, environment: Mapping[str, str]) -> bool:
    """Return whether a pair of this place came from :func:`in_credentials`."""
    path = environment.get(CREDENTIALS, "").rstrip("/")
    return bool(path) and place.startswith(f"{_shown(path)}/{CREDENTIAL}")


def _laid(names: Iterable[str], *, directories: bool) -> Iterator[_Laid]:
    """Yield the pairs that these names make; a name with no ending we know may be a directory."""
    there = sorted(names)
    all_of_them = set(there)
    for name in there:
        stem, dot, ending = name.rpartition(".")
        if name.endswith(KEY):
            # A directory that systemd handed over: its files have its name in front.
            beside = name.removesuffix(KEY) + CHAIN
            if beside not in all_of_them:
                yield _Laid(name, beside, name)
        elif name.endswith(CHAIN):
            yield _Laid(name, name, name.removesuffix(CHAIN) + KEY)
        elif any(
            name.endswith(part) and name.removesuffix(part) + CHAIN in all_of_them for part in PARTS
        ):
            continue
        elif dot and ending == "pem":
            yield _Laid(name, name, name)
        elif dot and ending == "crt":
            yield _Laid(name, name, f"{stem}.key")
        elif dot and ending == "key":
            if f"{stem}.crt" not in all_of_them:
                yield _Laid(name, f"{stem}.crt", name)
        elif directories:
            yield _Laid(f"{name}/{CHAIN}", f"{name}/{CHAIN}", f"{name}/{KEY}")


def _read(directory: str, laid: _Laid, files: Files) -> Entry | None:
    """Return a pair; None for a directory, or another file, that has neither half of one."""
    chain, key = (_held(directory + name, files) for name in (laid.chain, laid.key))
    if isinstance(chain, OSError) and isinstance(key, OSError):
        if chain.errno in _NOT_THERE and key.errno in _NOT_THERE:
            return None
        key = chain
    return Entry(
        _shown(directory + laid.place),
        *(
            Unreadable(f"{_shown(directory + name)} {reason(half)}")
            if isinstance(half, OSError)
            else half
            for name, half in ((laid.chain, chain), (laid.key, key))
        ),
    )


def _shown(path: str) -> str:
    return ascii(path)[1:-1]


def _held(path: str, files: Files) -> bytes | OSError:
    try:
        return files.read(path, LARGEST_NAMED)
    except OSError as error:
        return error


def with_directory(tree: Node, files: Files) -> tuple[Node, list[Entry]]:
    """Return the tree, and what the directory holds that it names; or the tree with the reason."""
    node = tree.entries.get(DIRECTORY)
    if node is None or not isinstance(node.value, str) or not node.value.startswith("/"):
        return tree, []
    try:
        return tree, in_directory(node.value, files)
    except OSError as error:
        why = attrs.evolve(node, value=Unreadable(f"{node.value!a} {reason(error)}"))
        return attrs.evolve(tree, value={**tree.entries, DIRECTORY: why}), []
