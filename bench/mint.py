"""
Mints sessions of ours, by the code of the checkout under whose Python it runs.

It stands alone, so that it can be run by a checkout other than its own: an order comes as
JSON on standard input, the tokens go to standard output, one a line.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode

HOURS_14 = 14 * 3600


def main() -> None:
    """Carry the order out."""
    order = json.load(sys.stdin)
    keys = SharedKeys.derived([base64.b64decode(order["shared_secret"])]).route_session
    now = int(time.time())  # noqa: TID251  # the proxy under measurement looks at the clock, too
    hosts = order["hosts"]
    for number in range(order["count"]):
        person = number % order["people"]
        session = Session(
            id=secrets.token_urlsafe(16),
            identity=Identity(
                issuer=order["provider"],
                subject=f"0b8f6a52-7c1d-4e3f-9a6b-{person:012d}",
                email=f"user{person}@example.com",
                name=f"User {person}",
                groups=("staff", "engineering"),
            ),
            issuer=order["issuer"],
            audience=f"{hosts[number % len(hosts)]}:443",
            auth_time=now,
            checked=now,
            recheck=now + 600,
            seen=now,
            expires=now + HOURS_14,
        )
        sys.stdout.write(encode(session, keys) + "\n")


if __name__ == "__main__":
    main()
