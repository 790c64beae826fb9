"""The log, and the places that a process has for itself."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Directory,
    Flag,
    LogLevel,
    SocketPath,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Running:
    """The log, and the places that a process has for itself."""

    log_level: Annotated[LogLevel, Doc("`debug`, `info`, `warn` or `error`.")] = "info"
    pomerium_debug: Annotated[Flag, Doc("Write log lines for people instead of JSON.")] = False
    state_dir: Annotated[
        Directory,
        Doc(
            "A directory of our own that outlives a restart.",
            default="`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/pomeriumd`, else "
            "`~/.local/state/pomeriumd`",
            example="/var/lib/pomerium",
        ),
    ]
    control_socket: Annotated[
        SocketPath | None,
        Doc(
            "The unix socket where `pomeriumd status` and `pomeriumd reload` ask; for our user and "
            "root alone. At most 107 bytes.",
            default="`$RUNTIME_DIRECTORY/control.sock`, else `control.sock` in `state_dir`",
            example="/run/pomerium/control.sock",
        ),
    ] = None
    """None where no file was read."""
