"""
What the daemon tells of itself: one document, made by the supervisor, read by the command line.

Every field has a default: the two may be of different versions, right after an upgrade. No
field holds a secret, and none holds what a client sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override


@attrs.frozen(kw_only=True)
class GenerationStatus:
    """The settings in force."""

    digest: str = ""
    """Of the settings: 16 hex digits."""
    number: int = 0
    """Counts from the start of the daemon."""
    since: float = 0.0
    """Seconds since the epoch, as every moment here."""
    routes: int = 0


@attrs.frozen(kw_only=True)
class ReloadStatus:
    """How one reload ended."""

    at: float = 0.0
    outcome: str = ""
    """``good``, ``same`` (nothing had changed) or ``refused``."""
    error: str = ""
    """Why it was refused: all problems, one a line."""
    changes: tuple[str, ...] = ()
    """What changed, in sentences."""


@attrs.frozen(kw_only=True)
class ListenerStatus:
    """One listening socket."""

    name: str = ""
    """The setting that it is for."""
    address: str = ""
    from_: str = ""
    """``bound`` by us, or handed over by ``systemd``."""


@attrs.frozen(kw_only=True)
class UpstreamStatus:
    """Connections to applications, all pools of a worker together."""

    idle: int = 0
    busy: int = 0
    opening: int = 0
    waiting: int = 0
    """Exchanges that wait for a connection."""


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """One process that serves."""

    number: int = 0
    pid: int = 0
    """0 while there is none."""
    state: str = ""
    """``starting``, ``serving``, ``stopping`` or ``resting`` (it died, and waits to be started);
    of the one in reserve ``reserve`` in place of ``serving``."""
    since: float = 0.0
    """Since when it is in this state."""
    restarts: int = 0
    generation: int = 0
    connections: int = 0
    streams: int = 0
    sessions: int = 0
    """Sessions that it remembers to have verified."""
    upstream: UpstreamStatus = UpstreamStatus()


@attrs.frozen(kw_only=True)
class Status:
    """All of it."""

    version: str = ""
    services: str = ""
    pid: int = 0
    started: float = 0.0
    generation: GenerationStatus = GenerationStatus()
    last_reload: ReloadStatus | None = None
    listeners: tuple[ListenerStatus, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()
    """Those that serve, or should."""
    reserve: WorkerStatus | None = None
    """The one that takes the seat of another that dies; None where there is none."""
    connections: int = 0
    streams: int = 0
    autocert_missing: int = 0
    """Names that are to have a certificate of ``autocert`` and have none yet."""


def document(status: Status) -> dict[str, Any]:
    """Return it as what JSON can hold."""
    made: dict[str, Any] = _converter.unstructure(status)
    return made


def read(found: Mapping[str, Any]) -> Status:
    """
    Return what a document says; what is missing has its default, what is new is left out.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return _converter.structure(found, Status)
    except _UNREADABLE as error:
        raise ValueError(f"no status: {error}") from error


def read_reload(found: Mapping[str, Any]) -> ReloadStatus:
    """
    Return what a document says of one reload.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return _converter.structure(found, ReloadStatus)
    except _UNREADABLE as error:
        raise ValueError(f"no outcome of a reload: {error}") from error


_UNREADABLE = (TypeError, ValueError, AttributeError, KeyError, OverflowError)
"""What comes of a document that is none of ours; a count that is infinite among them."""

_converter = cattrs.Converter(detailed_validation=False)
_FROM = {"from_": override(rename="from")}  # a word of Python's own
_converter.register_structure_hook(
    ListenerStatus,
    make_dict_structure_fn(ListenerStatus, _converter, **_FROM),  # type: ignore[arg-type]
)
_converter.register_unstructure_hook(
    ListenerStatus,
    make_dict_unstructure_fn(ListenerStatus, _converter, **_FROM),  # type: ignore[arg-type]
)
