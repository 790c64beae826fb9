"""The second listening socket: plain http, which leads to https."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import ListenAddress
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Redirecting:
    """The second listening socket: plain http, which leads to https."""

    http_redirect_addr: Annotated[
        ListenAddress | None,
        Doc(
            "Where to listen for plain http as well. Browsers are sent on to https, path and query "
            "kept, for the hosts of the routes and of authenticate and for no other; "
            "`use_proxy_protocol` holds there, too. See "
            "[operating.md](operating.md#plain-http-leads-to-https).",
            default="none",
            example=":80",
        ),
    ] = None
