"""
Settings as bytes, for another process of ours to read a little at a time.

A header, then certificates and routes in frames of some fifty. The reader may do something
else between two frames; ten thousand routes in one piece would stop its loop for a tenth of a
second. What is long (a CA's certificates) stands before the frames, once for all routes that
have it.

The frames are pickles: one that came from elsewhere could run any code. They travel in a
memfd only, which the process that reads the settings is given by its parent and which nobody
else has a descriptor of; nothing of a client is in them, and no file or socket is read so.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import mmap
import os
import pickle
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import attrs

import pomeriumd
from pomeriumd.daemon.expiry import Expiries, expiries_of
from pomeriumd.pieces import Pieces, finish
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import Secret

EACH = 50
"""Routes or certificates of a frame."""

MOST_NAMES = 2_000
"""Users, groups, domains and headers of one frame's routes, or names of its certificates, but for
its first one: as they go into bytes and back faster than fifty routes do, this keeps any frame
within a millisecond or two."""

_MARK = f"pomeriumd {pomeriumd.__version__} settings\n".encode("ascii")
"""Before all else: who reads must be of the version that wrote."""


_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError),
    *(IndexError, KeyError, TypeError, ValueError),
)
"""What comes of bytes that are no pickle of ours."""


class BadFrames(Exception):
    """The bytes are no settings that this process could read; the text says what to do."""


@attrs.frozen(kw_only=True)
class Framed:
    """What travels: settings, and what a process needs to know besides."""

    settings: Settings
    digest: str
    kept: Secret | None
    """The shared secret that was made because the settings have none."""
    expiries: Expiries = attrs.field(default=Expiries(), eq=False)
    """Of the certificates, once written: who reads the header has no others."""

    @property
    def shared_secret(self) -> bytes:
        """Return the one in force."""
        secret = self.settings.shared_secret or self.kept
        if secret is None:
            raise BadFrames("there is no shared_secret, neither set nor kept; restart pomeriumd")
        return secret.reveal()


@attrs.frozen(kw_only=True)
class _Header:
    framed: Framed
    """Without certificates, and its clusters, like the whole, without routes."""
    shared: int
    certificates: int
    routes: tuple[int, ...]
    """How many the whole has, then each cluster."""


LONG = 256
"""Bytes from which on a value is written once and named where it is used."""


class _Pickler(pickle.Pickler):
    """Writes one frame; long values go to a list that all frames share."""

    def __init__(self, file: BinaryIO, shared: dict[bytes, int]) -> None:
        super().__init__(file, protocol=5)
        self._shared = shared

    def persistent_id(self, found: Any) -> int | None:
        """Return the number of a long value; None for what is written in its place."""
        if type(found) is not bytes or len(found) < LONG:
            return None
        return self._shared.setdefault(found, len(self._shared))


class _Unpickler(pickle.Unpickler):
    """Reads one frame."""

    def __init__(self, file: Any, shared: list[bytes]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, number: Any) -> bytes:
        """Return the long value of a number."""
        value: bytes = self._shared[number]
        return value


def write(file: BinaryIO, framed: Framed) -> None:
    """Write settings where another process will read them."""
    settings = framed.settings
    empty = attrs.evolve(
        settings,
        certificates=(),
        routes=(),
        clusters=tuple(attrs.evolve(cluster, routes=()) for cluster in settings.clusters),
    )
    shared: dict[bytes, int] = {}
    frames = io.BytesIO()
    for frame in (*_cut(settings.certificates), *_cut(settings.all_routes)):
        _Pickler(frames, shared).dump(frame)
    header = _Header(
        framed=attrs.evolve(framed, settings=empty, expiries=expiries_of(settings.certificates)),
        shared=len(shared),
        certificates=len(settings.certificates),
        routes=(len(settings.routes), *(len(cluster.routes) for cluster in settings.clusters)),
    )
    file.write(_MARK)
    pickle.dump(header, file, protocol=5)
    for value in shared:
        pickle.dump(value, file, protocol=5)
    file.write(frames.getbuffer())
    file.flush()


def sealed(framed: Framed) -> int:
    """
    Return the descriptor of memory that holds settings and that nobody can change.

    Raises:
        OSError: there is no descriptor, or no memory, left.
    """
    descriptor = memory()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            write(file, framed)
        seal(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def memory() -> int:
    """Return the descriptor of memory to write settings to; raise OSError."""
    return os.memfd_create("settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(descriptor: int) -> None:
    """Let nobody change the memory any more."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def _cut(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    frame: list[Any] = []
    names = 0
    for item in items:
        more = _names(item)
        if frame and (len(frame) == EACH or names + more > MOST_NAMES):
            yield tuple(frame)
            frame, names = [], 0
        frame.append(item)
        names += more
    if frame:
        yield tuple(frame)


def _names(item: Any) -> int:
    lists = ("allowed_users", "allowed_groups", "allowed_domains", "set_request_headers")
    facts = getattr(item, "facts", None)
    return sum(len(getattr(item, name, ())) for name in lists) + len(getattr(facts, "names", ()))


def read(descriptor: int) -> Framed:
    """Return the settings in one piece: where nobody is served."""
    return finish(reading(descriptor))


def header(descriptor: int) -> Framed:
    """Return the settings without their certificates and routes, raising as ``reading`` does."""
    with _opened(descriptor) as memory, _whole():
        return _header(memory).framed


def reading(descriptor: int) -> Pieces[Framed]:
    """
    Return the settings that were written, yielding wherever the work may be interrupted.

    Args:
        descriptor: of the memfd. Its offset is neither used nor moved: other processes have
            the same one.

    Raises:
        BadFrames: another version wrote it, or it is not whole.
        OSError: it cannot be read.
    """
    with _opened(descriptor) as memory, _whole():
        return (yield from _assembled(memory))


def _opened(descriptor: int) -> mmap.mmap:
    try:
        # Private, as some kernels map sealed memory in no other way.
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    except ValueError:
        raise BadFrames("no settings have been written; reload again") from None


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        text = f"the settings cannot be read ({type(error).__name__}); reload again"
        raise BadFrames(text) from None


def _header(memory: mmap.mmap) -> _Header:
    if memory.readline() != _MARK:
        raise BadFrames(
            f"the settings were written by another version than {pomeriumd.__version__}, which "
            "reads them; restart pomeriumd to run the one that is installed"
        )
    header: _Header = pickle.load(memory)  # noqa: S301  # see above
    return header


def _assembled(memory: mmap.mmap) -> Pieces[Framed]:
    header = _header(memory)
    yield
    # A new unpickler each time: what one remembers would all be forgotten in one go.
    shared: list[bytes] = []
    for _ in range(header.shared):
        shared.append(pickle.load(memory))  # noqa: S301  # see above
        yield
    certificates: list[Any] = []
    while len(certificates) < header.certificates:
        certificates += _Unpickler(memory, shared).load()
        yield
    routes: list[Any] = []
    while len(routes) < sum(header.routes):
        routes += _Unpickler(memory, shared).load()
        yield
    rest = iter(routes)
    own, *theirs = (tuple(islice(rest, count)) for count in header.routes)
    empty = header.framed.settings
    settings = attrs.evolve(
        empty,
        certificates=tuple(certificates),
        routes=own,
        clusters=tuple(
            attrs.evolve(cluster, routes=its)
            for cluster, its in zip(empty.clusters, theirs, strict=True)
        ),
    )
    return attrs.evolve(header.framed, settings=settings)
