"""From a file's path and an environment to frozen settings."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from pomeriumd.errors import SettingsError
from pomeriumd.settings.automatic import with_kept
from pomeriumd.settings.canonical import digest
from pomeriumd.settings.certificate_files import in_credentials, is_credential, with_directory
from pomeriumd.settings.certificates import Beside
from pomeriumd.settings.check import check, structure
from pomeriumd.settings.files import Files
from pomeriumd.settings.keys import GLOBAL_KEYS
from pomeriumd.settings.model import Settings
from pomeriumd.settings.node import placed
from pomeriumd.settings.sources import CONTROL, SOCKET, gather, outline


@attrs.frozen(kw_only=True)
class Loaded:
    """What came of reading a settings file: settings, or what is wrong."""

    settings: Settings | None
    error: SettingsError | None
    """It is there if, and only if, the settings are not."""
    files: Mapping[str, str] = attrs.field(repr=False)
    """The SHA-256 of each file that was read, or ``files.UNREADABLE``, by its absolute path
    as it is named."""
    digest: str
    """Of what the settings say, see ``canonical``; empty if there are none."""


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
    files = Files()
    return with_kept(check(gather(path, environment, files)), files)


def load_whole(
    path: str,
    environment: Mapping[str, str],
    now: float | None,
    present: Settings | None = None,
) -> Loaded:
    """
    Return the settings as they are to serve, or why not, and which files were read for it.

    Beside what ``load`` does, certificates are valid today and for the names that are served.

    Args:
        path: as there.
        environment: as there.
        now: seconds since the epoch; None where it is not asked which certificates can serve
            today, and whom: whoever asks finds out more by itself.
        present: the settings in force, of whose certificates a broken one serves on; None at a
            start.
    """
    files = Files()
    try:
        tree, entries = with_directory(gather(path, environment, files), files)
        served = None if present is None else present.certificates
        beside = Beside(
            now=now,
            present=served,
            entries=entries if served is not None else entries + in_credentials(environment, files),
            # What systemd hands over is not written anew, and may be for root alone to read.
            kept=[pair for pair in served or () if is_credential(pair.place, environment)],
        )
        settings = with_kept(check(tree, beside), files)
    except SettingsError as error:
        return Loaded(settings=None, error=error, files=files.seen, digest="")
    return Loaded(settings=settings, error=None, files=files.seen, digest=digest(settings))


SYSTEMD_SOCKETS = (f"/run/pomerium/{SOCKET}", f"/var/lib/pomerium/{SOCKET}")
"""In what ``RuntimeDirectory=`` and ``StateDirectory=`` of a unit make: the daemon has them in
its environment, and who asks it from a shell has not."""


def control_sockets(path: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return where the control socket of a daemon with this file may be, the likeliest first.

    No file that the settings name is opened, and nothing else of them need be right: who asks
    how the daemon is may not read its secrets, and may be about to mend its settings.

    Raises:
        SettingsError: the file cannot be read, or what it says of this cannot be used.
    """
    tree = placed(outline(path, environment, Files()))
    if not isinstance(tree.value, Mapping):
        raise SettingsError([tree.problem("want a map of settings")])
    found = tree.entries.get(CONTROL)
    if found is None:
        structure(tree.entries["state_dir"], GLOBAL_KEYS["state_dir"].type)
        raise SettingsError([tree.problem(f"{CONTROL}: missing")])
    own: str = structure(found, GLOBAL_KEYS[CONTROL].type)
    if not found.where.startswith("environment ") and not found.name:
        return (own,)
    return tuple(dict.fromkeys((own, *SYSTEMD_SOCKETS)))
