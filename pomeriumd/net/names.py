"""
Looking up names, with an answer in every case.

Twisted's resolver takes a ``gaierror`` for "no such name". What the C library reports of
the system itself (no descriptor left to read the hosts file or ask a server with) comes as
another ``OSError``, which it loses: whoever waits for the name then waits for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet._resolver import GAIResolver  # no public way to hand it a getaddrinfo
from twisted.internet.interfaces import IHostnameResolver


def resolver(reactor: Any, look_up: Callable[..., Any] = socket.getaddrinfo) -> IHostnameResolver:
    """
    Return the resolver for a reactor.

    Args:
        reactor: with threads; none is begun before the first look-up.
        look_up: as ``socket.getaddrinfo``.
    """

    def looked_up(*asked: Any, **more: Any) -> Any:
        try:
            return look_up(*asked, **more)
        except socket.gaierror:
            raise
        except OSError as error:
            raise socket.gaierror(socket.EAI_SYSTEM, str(error)) from error

    return GAIResolver(reactor, getaddrinfo=looked_up)
