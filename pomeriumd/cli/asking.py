"""Asks the running daemon on its control socket, and says in a sentence why that fails."""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import orjson

from pomeriumd.answers.safe import printable
from pomeriumd.errors import SettingsError
from pomeriumd.settings.load import SYSTEMD_SOCKETS, control_sockets

CONFIG = "/etc/pomerium/config.yaml"
"""The settings of a daemon that nobody named."""

ANSWER_SIZE = 16 << 20
"""Bytes of an answer; a thousand workers and a reload of 10,000 changes are a part of it."""

_WHERE = "-c FILE names the daemon's settings, --socket PATH its socket"


class NotAsked(Exception):
    """The daemon could not be asked; the text says what was tried and what to do."""


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which daemon."""
    config = click.option(
        "-c",
        "--config",
        metavar="FILE",
        help=f"The daemon's settings, for its control_socket.  [default: {CONFIG}, if it exists]",
    )
    path = click.option(
        "--socket", "path", metavar="PATH", help="The control socket itself; no file is read."
    )
    return config(path(command))


def places(config: str | None, path: str | None, environment: Mapping[str, str]) -> Sequence[str]:
    """
    Return where the control socket may be, the likeliest first.

    Raises:
        NotAsked: two were named, or the settings do not say.
    """
    if path is not None:
        if config is not None:
            raise NotAsked("-c and --socket are both there; want one of them")
        return (path,)
    if config is None and not os.path.exists(CONFIG):  # noqa: PTH110  # Path would raise
        return SYSTEMD_SOCKETS
    try:
        return control_sockets(config or CONFIG, environment)
    except SettingsError as error:
        raise NotAsked(
            f"{ascii(config or CONFIG)[1:-1]}: {error}\nIt is read to find the control socket; "
            "--socket PATH does without"
        ) from error


def ask(paths: Sequence[str], request: str, seconds: float) -> dict[str, Any]:
    """
    Return what the first daemon that is found answers.

    Args:
        paths: where to look, one after the other.
        request: ``status`` or ``reload``.
        seconds: how long all of the answer may take.

    Raises:
        NotAsked: none could be asked, or it answers with an error.
    """
    failures = []
    for path in paths:
        try:
            answer = _answer(path, request.encode("ascii") + b"\n", seconds)
        except FileNotFoundError:
            continue
        except OSError as error:
            failures.append(f"{printable(path)}: {_why(error, path, seconds)}")
            continue
        return _document(answer, path)
    if failures:
        raise NotAsked("\n".join(failures))
    tried = " nor ".join(map(printable, paths))
    raise NotAsked(f"no socket at {tried}: is the daemon running? {_WHERE}")


def _answer(path: str, request: bytes, seconds: float) -> bytes:
    """Return all that comes back, and nothing if it is too much."""
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(seconds)
        asking.connect(path)
        asking.sendall(request)
        pieces, size = [], 0
        while piece := asking.recv(65_536):
            pieces.append(piece)
            size += len(piece)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if size > ANSWER_SIZE:
                return b""
            asking.settimeout(left)
    return b"".join(pieces)


def _why(error: OSError, path: str, seconds: float) -> str:
    if isinstance(error, PermissionError):
        return (
            f"user {_name(os.geteuid())} may not open it: it is for {_owner(path)} and root; "
            "use sudo"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"the daemon whose socket this was is gone: start it, or {_WHERE}"
    if isinstance(error, TimeoutError):
        return (
            f"no answer in {seconds:.0f} s: the daemon is stopped, or busy beyond measure; its "
            "log and `top` may say why"
        )
    if isinstance(error, ConnectionError):
        return _cut()
    return f"{(error.strerror or str(error)).lower()}; {_WHERE}"


def _cut() -> str:
    return (
        "closed without an answer: it answers its own user and root alone, and you are "
        f"{_name(os.geteuid())}; use sudo, or try again if it was just stopping"
    )


def _owner(path: str) -> str:
    try:
        return f"user {_name(os.stat(path).st_uid)}"  # noqa: PTH116  # a text is all we have
    except OSError:
        return "the daemon's user"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _document(answer: bytes, path: str) -> dict[str, Any]:
    if not answer:
        raise NotAsked(f"{printable(path)}: {_cut()}")
    try:
        found = orjson.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotAsked(f"{printable(path)}: what answers there is no pomeriumd; {_WHERE}")
    if isinstance(found.get("error"), str) and "outcome" not in found:
        raise NotAsked(f"{printable(path)}: {printable(found['error'])}")
    return found
