"""The secrets that all keys are made from."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    RootSecret,
    SigningKeyPEM,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Keyed:
    """The secrets that all keys are made from."""

    shared_secret: Annotated[
        RootSecret | None,
        Doc(
            "32 random bytes in base64: the root of all keys between services and of the route "
            "sessions. Equal on every replica of every role. With `services: all` it may be left "
            "out; one is then made and kept in `state_dir`.",
            default="made once",
        ),
    ] = None
    shared_secret_previous: Annotated[
        RootSecret | None,
        Doc(
            "What was made with this secret is still taken, and nothing is made with it any more: "
            "for the time of a rotation. See [secrets.md](secrets.md)."
        ),
    ] = None
    cookie_secret: Annotated[
        RootSecret | None,
        Doc(
            "32 random bytes in base64, other than `shared_secret`: seals the cookies of the "
            "authenticate service. Equal on every replica. `head -c32 /dev/urandom | base64` "
            "makes one."
        ),
    ] = None
    cookie_secret_previous: Annotated[
        RootSecret | None, Doc("The same for `cookie_secret` as the one above for `shared_secret`.")
    ] = None
    signing_key: Annotated[
        SigningKeyPEM | None,
        Doc(
            "The P-256 key that signs `x-pomerium-jwt-assertion`, PEM (or base64 of it).",
            default="derived from `shared_secret`",
        ),
    ] = None
