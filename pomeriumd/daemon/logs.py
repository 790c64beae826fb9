"""
The log: Twisted's events as JSON lines, or readable ones on a terminal.

``observer_for`` opens the log that twistd's options and the settings ask for. What it
gives is an ``ILogObserver``: the root service puts it on the application as a component,
before twistd begins logging. twistd then opens nothing itself, so that ``--logfile``,
``--syslog`` and SIGUSR1 are ours to honour.

Keys as in Pomerium's own log: ``level``, ``time``, ``message``, then the event's fields.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.daemon.access_log import AccessEntry, AccessLog, Clock, json_line
from pomeriumd.daemon.lines import Descriptor, Lines, LogFile, Sink, Syslog
from pomeriumd.daemon.redact import HIDDEN, fields, is_secret, scrub

__all__ = ["AccessEntry", "AccessLog", "LineObserver", "observer_for"]

LEVELS = {
    "trace": 0,
    "debug": 0,
    "info": 1,
    "warn": 2,
    "warning": 2,
    "error": 3,
    "critical": 4,
    "fatal": 4,
    "panic": 4,
}
"""Rank of every name that ``log_level`` takes, Pomerium's and Twisted's."""

TRACEBACK_SIZE = 8_192
"""Most characters of a traceback; its end is kept, since the cause stands there."""

LINE_SIZE = 65_536
"""Most bytes of one line; the fields of a longer one are left out."""

_COLOURS = {"debug": "2", "info": "36", "warn": "33", "error": "31", "critical": "1;31"}
_CHATTER = ("Starting factory ", "Stopping factory ", "{cls} connection ")
"""How the sentences begin that Twisted writes at info for each connection that its clients make,
and for each line between supervisor and worker."""
_LEGACY = frozenset(
    {"message", "system", "time", "isError", "format", "logLevel", "failure", "why"}
)
"""What twisted.python.log puts into each event beside the new names."""


@implementer(ILogObserver)
class LineObserver:
    """
    Write each event of the wanted levels as one line; never raise.

    Args:
        sink: where lines go.
        level: the lowest level wanted, a name in LEVELS.
        readable: lines for a person instead of JSON.
        colour: with the colours of a terminal.
    """

    def __init__(
        self, sink: Sink, *, level: str = "info", readable: bool = False, colour: bool = False
    ) -> None:
        self._lowest = LEVELS[level.lower()]
        self.readable = readable
        self.colour = colour
        self._when = Clock()
        self._now = 0.0
        self.lines = Lines(sink, self._dropped)
        self._access: AccessLog | None = None

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on; a name in LEVELS."""
        self._lowest = LEVELS[level.lower()]
        if self._access is not None:
            self._access.encode = self._encoding()

    def __call__(self, event: LogEvent) -> None:
        """Write the event, if its level is wanted."""
        try:
            level = event.get("log_level", LogLevel.info).name
            if str(event.get("log_format", "")).startswith(_CHATTER):
                level = "debug"
            if LEVELS.get(level, LEVELS["info"]) < self._lowest:
                return
            self._now = float(event.get("log_time", 0.0))
            line = self._line(level, *_message_and_fields(event))
        except Exception as error:  # noqa: BLE001  # an observer that raises loses the event
            name = type(error).__name__
            line = self._line("error", "a log event could not be written", {"error": name})
        self.lines.add(line)
        self.lines.flush()

    def access_log(self, clock: IReactorTime) -> AccessLog:
        """Return the access log that shares this observer's lines, order and form."""
        self._access = AccessLog(self.lines, clock, self._encoding())
        return self._access

    def _encoding(self) -> Callable[[AccessEntry, str], bytes] | None:
        """Return what makes access lines at the present level; None where none are wanted."""
        if self._lowest > LEVELS["info"]:
            return None
        return self._entry_for_a_person if self.readable else json_line

    def close(self) -> None:
        """Write the last lines, within a bounded time; nothing may be logged after it."""
        self.lines.close()

    def _dropped(self, count: int) -> bytes:
        text = "log lines were dropped: the log took none; is its disk full, or its reader stuck?"
        return self._line("warn", text, {"dropped": count})

    def _line(self, level: str, message: str, more: Mapping[str, object]) -> bytes:
        when = self._when.text(self._now)
        if self.readable:
            return self._for_a_person(level, when, message, more)
        head = {"level": level, "time": when, "message": message}
        # Twice: first in order, and last in say.
        line = orjson.dumps({**head, **more, **head}, option=orjson.OPT_APPEND_NEWLINE)
        if len(line) > LINE_SIZE:
            line = orjson.dumps({**head, "left_out": len(line)}, option=orjson.OPT_APPEND_NEWLINE)
        return line

    def _for_a_person(
        self, level: str, when: str, message: str, more: Mapping[str, object]
    ) -> bytes:
        rest = {
            name: value for name, value in more.items() if name not in ("namespace", "traceback")
        }
        detail = "".join(f" {_printable(name)}={_shown(value)}" for name, value in rest.items())
        trace = "".join(
            f"\n    {_printable(line)}" for line in str(more.get("traceback", "")).splitlines()
        )
        if self.colour:
            word = f"\x1b[{_COLOURS.get(level, '0')}m{level:<8}\x1b[0m"
            detail = f"\x1b[2m{detail}\x1b[0m" if detail else ""
        else:
            word = f"{level:<8}"
        text = f"{when[11:23]} {word} {_printable(message)}{detail}{trace}"
        return text[: LINE_SIZE // 4].encode("utf-8", "backslashreplace") + b"\n"

    def _entry_for_a_person(self, entry: AccessEntry, when: str) -> bytes:
        where = (entry.host + entry.path).decode("latin-1")
        text = f"{entry.status} {entry.method.decode('latin-1')} {where} {entry.duration_ms:.1f} ms"
        more = {
            "user": entry.user,
            "decision": entry.decision,
            "reasons": ",".join(entry.reasons),
            "error": entry.error,
            "request_id": entry.request_id,
        }
        said = {name: value for name, value in more.items() if value}
        return self._for_a_person("info", when, text, said)


def _message_and_fields(event: LogEvent) -> tuple[str, dict[str, object]]:
    """Return the event's sentence, and its fields with secrets hidden by name."""
    # The sentence is made from fields whose secrets are gone already, or it would
    # quote them.
    hidden: dict[str, Any] = {
        name: HIDDEN if is_secret(name) else value for name, value in event.items()
    }
    message = scrub(formatEvent(hidden))
    own: dict[object, object] = {
        name: value
        for name, value in event.items()
        if not name.startswith("log_") and name not in _LEGACY
    }
    more = fields(own)
    if "log_namespace" in event:
        more["namespace"] = str(event["log_namespace"])
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        more["error"] = failure.type.__name__ if failure.type is not None else "Exception"
        more["traceback"] = _traceback(failure)
        message = message or f"{more['error']}: {scrub(failure.getErrorMessage())}"
    return message, more


def _traceback(failure: Failure) -> str:
    """Return the failure's traceback with its causes, bounded and without secrets."""
    try:
        value = failure.value
        lines = traceback.format_exception(None, value, failure.getTracebackObject())
        text = "".join(lines)
    except Exception as error:  # noqa: BLE001  # a __str__ of somebody's may raise anything
        return f"no traceback: {type(error).__name__}"
    return scrub(text[-TRACEBACK_SIZE:])


def _printable(text: str) -> str:
    """Return the text without what a terminal would obey: escapes, also the C1 ones."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _shown(value: object) -> str:
    text = _printable(value if isinstance(value, str) else str(value))
    return repr(text) if " " in text or not text else text


def observer_for(
    twistd: Mapping[str, Any], *, level: str = "info", debug: bool = False
) -> LineObserver:
    """
    Open the log that twistd's options ask for, and return its observer.

    Standard output unless twistd goes into the background (then ``twistd.log``, as
    always) or ``--logfile`` or ``--syslog`` say otherwise. Opened before the process
    changes root, directory or user.

    Args:
        twistd: twistd's own options: C{Options.parent} in C{makeService}.
        level: the setting C{log_level}.
        debug: the setting C{pomerium_debug}: readable lines even where nobody watches.

    Raises:
        OSError: the file cannot be opened; the text has its path.
        SystemExit: a daemon was told to log to standard output.
    """
    stays = bool(twistd.get("nodaemon") or twistd.get("debug"))
    path = twistd.get("logfile") or ("-" if stays else "twistd.log")
    if twistd.get("syslog"):
        return LineObserver(Syslog(str(twistd.get("prefix") or "pomeriumd")), level=level)
    if path != "-":
        file = LogFile(Path(path).absolute())
        _turn_on_signal(file)
        return LineObserver(file, level=level, readable=debug)
    if not stays:
        sys.exit("Daemons cannot log to stdout, exiting!")
    terminal = os.isatty(1)
    return LineObserver(
        Descriptor(1),
        level=level,
        readable=terminal or debug,
        colour=terminal and not os.environ.get("NO_COLOR"),
    )


def _turn_on_signal(file: LogFile) -> None:
    """Let SIGUSR1 rotate the file, unless somebody else uses the signal; as twistd does."""
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: file.turn())
