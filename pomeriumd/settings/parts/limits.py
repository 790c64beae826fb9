"""How long and how much of anything."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Connections,
    Wait,
    WaitOrForever,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Limited:
    """How long and how much of anything."""

    default_upstream_timeout: Annotated[
        WaitOrForever,
        Doc(
            "How long an application may take to begin its answer, from the end of the request, "
            "where its route says nothing. 0 waits without end.",
            default="30s",
        ),
    ] = 30.0
    timeout_read: Annotated[
        WaitOrForever,
        Doc(
            "How long a client may stall while it sends a body. 0 waits without end.", default="30s"
        ),
    ] = 30.0
    timeout_write: Annotated[
        WaitOrForever,
        Doc(
            "How long a client may take in nothing of a response. 0 stands for `timeout_idle`; a "
            "stream that flows is never cut.",
            default="0s",
        ),
    ] = 0.0
    timeout_read_header: Annotated[
        Wait,
        Doc("How long the head of a request may take to arrive.", default="10s"),
    ] = 10.0
    timeout_idle: Annotated[
        Wait,
        Doc(
            "How long a connection may stay open between two requests, and how long an application "
            "may stall while it takes a request or gives an answer.",
            default="5m",
        ),
    ] = 300.0
    max_connections: Annotated[
        Connections,
        Doc(
            "How many connections of clients may be open; one more waits until one has left. "
            "Shared out among the workers, see [Memory](#memory)."
        ),
    ] = 10_000
    upstream_max_connections: Annotated[
        Connections,
        Doc(
            "How many connections one upstream may be given; what is above them waits. Shared out "
            "among the workers."
        ),
    ] = 256
