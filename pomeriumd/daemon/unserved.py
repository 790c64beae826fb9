"""What settings may say already, and the daemon does not do yet: refused, never ignored."""

from __future__ import annotations

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.model import Settings
from pomeriumd.settings.roles import ROLES


def refuse_unserved(settings: Settings) -> None:
    """
    Refuse settings that would not hold.

    Raises:
        SettingsError: there are some.
    """
    problems = []
    if settings.services != ROLES:
        problems.append(Problem("services", f"not yet: {settings.service}; want all"))
    if settings.grpc_address is not None:
        problems.append(Problem("grpc_address", "not yet; nothing is needed in its place"))
    if problems:
        raise SettingsError(problems)
