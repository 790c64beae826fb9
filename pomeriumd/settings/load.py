"""From a file's path and an environment to frozen settings."""

from __future__ import annotations

from collections.abc import Mapping

from pomeriumd.settings.check import check
from pomeriumd.settings.model import Settings
from pomeriumd.settings.sources import gather


def load(path: str, environment: Mapping[str, str]) -> Settings:
    """
    Return the settings that a file and an environment say.

    Args:
        path: of a YAML, JSON or TOML file. Paths in it count from its directory.
        environment: of the process; it goes over the file.

    Raises:
        SettingsError: something is wrong; it holds every problem with its place. The path
            is not in it: say it once, above.
    """
    return check(gather(path, environment))
