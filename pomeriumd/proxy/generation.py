"""
One generation: everything that the settings mean, built once and frozen.

A reload builds a whole new one and swaps one reference; an exchange takes the reference
at its start and finishes under it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from pomeriumd.access.assertion import IdentityHeaders
from pomeriumd.access.authorizer import Authorizer
from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.forward import Way
from pomeriumd.proxy.logins import Logins
from pomeriumd.proxy.own import OwnPages
from pomeriumd.proxy.replies import Replies
from pomeriumd.proxy.sessions import Sessions


@attrs.frozen(kw_only=True, eq=False)
class Generation:
    """What one exchange is served under, from its first step to its last."""

    routes: RouteTable
    ways: Mapping[Route, Way]
    authorizer: Authorizer
    sessions: Sessions
    logins: Logins
    identity: IdentityHeaders
    own: OwnPages
    trusted: TrustedProxies
    replies: Replies
    authenticate: Callable[[Call], Awaitable[Answer]]
    authenticate_host: bytes | None
    """None where authenticate is none of the services here."""
    small_body: int
    """Bytes that a page of ours takes."""
