"""
The roles that a process can run, and which settings each of them cannot do without.

The checker asks for what is written here, and the manual says it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeVar

import attrs

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.fields import one_of
from pomeriumd.settings.reads import Unfit

T = TypeVar("T")

PROXY, AUTHENTICATE, AUTHORIZE = ROLES = ("proxy", "authenticate", "authorize")
"""Every role, in the order in which they are always written."""

ALL = "all"
"""What stands for every role in a settings file."""

role = one_of(ALL, *ROLES, not_yet=("cache", "databroker"))


def together(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the roles that these words name, in their order."""
    if not words:
        raise Unfit("want at least one role, got an empty list")
    if ALL in words and len(words) > 1:
        raise Unfit(f"want {ALL} by itself; it holds the others")
    for word in words:
        if words.count(word) > 1:
            raise Unfit(f"{word} is there twice")
    return ROLES if ALL in words else tuple(name for name in ROLES if name in words)


def spoken(roles: Collection[str]) -> str:
    """Return some roles as a sentence has them: ``proxy, authenticate and authorize``."""
    *first, last = (name for name in ROLES if name in roles)
    return f"{', '.join(first)} and {last}" if first else last


@attrs.frozen
class Need:
    """A key that a role needs."""

    key: str
    unless: str = ""
    """When it can do without; for the manual."""


_SECRET = Need("shared_secret", "the process runs all three roles: it then makes one")
_BEHIND = Need("certificates", "`autocert` or `insecure_server` is set")

NEEDS = {
    PROXY: (
        _SECRET,
        Need("authenticate_service_url"),
        Need(
            "authorize_service_url",
            "there is `authorize_service_urls`, or the process runs authorize too",
        ),
        _BEHIND,
    ),
    AUTHENTICATE: (
        _SECRET,
        Need("cookie_secret"),
        Need("authenticate_service_url"),
        Need("idp_provider"),
        Need("idp_client_id"),
        Need("idp_client_secret"),
        _BEHIND,
    ),
    AUTHORIZE: (
        _SECRET,
        Need("authenticate_service_url", "there are `clusters`"),
        Need("idp_provider", "there are `clusters`"),
        Need(
            "certificates",
            "`grpc_insecure` is set, or `grpc_address` is on loopback or, beside a proxy, not set",
        ),
    ),
}
"""By role, in the order of the manual. Whether ``certificates`` are needed depends on other
values: a rule asks for them."""

BY_CLUSTER = frozenset({"authenticate_service_url", "idp_provider"})
"""What each cluster says for itself, so that an authorize with clusters needs no other."""


def needing(key: str, services: Collection[str] = ROLES) -> list[str]:
    """Return which of some roles need a key."""
    return [role for role in services if key in {need.key for need in NEEDS[role]}]


def missing(services: Collection[str], given: Collection[str]) -> Iterator[tuple[str, str]]:
    """
    Yield each key that is missing and who needs it, as a sentence goes on: ``proxy needs it``.

    Args:
        services: the roles of this process.
        given: the keys that the operator wrote.
    """
    for key in dict.fromkeys(need.key for name in services for need in NEEDS[name]):
        roles = needing(key, services)
        if key in BY_CLUSTER and "clusters" in given and AUTHORIZE in roles:
            roles.remove(AUTHORIZE)
        if not roles or key in given or _can_do_without(key, services, given):
            continue
        instead = key in BY_CLUSTER and roles == [AUTHORIZE]
        verb = "needs" if len(roles) == 1 else "need"
        yield key, f"{spoken(roles)} {verb} it{', or clusters' if instead else ''}"


def _can_do_without(key: str, services: Collection[str], given: Collection[str]) -> bool:
    match key:
        case "shared_secret":
            return len(services) == len(ROLES)
        case "authorize_service_url":
            return AUTHORIZE in services or "authorize_service_urls" in given
        case "certificates":
            return True  # other values say whether they are needed: see role_rules
    return False


def needed(value: T | None, key: str) -> T:
    """
    Return a value that is there because a role of this process needs it.

    Raises:
        SettingsError: it is not: the settings were made by hand, or for another role.
    """
    if value is None:
        raise SettingsError([Problem(key, "missing; a role of this process needs it")])
    return value
