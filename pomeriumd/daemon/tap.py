"""``twistd pomerium``: its options, and the service that it starts."""

from __future__ import annotations

import os
import sys
import time

from twisted.application.service import IService
from twisted.python import usage

import pomeriumd
from pomeriumd.errors import SettingsError
from pomeriumd.settings.load import Loaded, load_whole
from pomeriumd.settings.model import Settings


class Options(usage.Options):
    """The command line of ``twistd pomerium``."""

    synopsis = "[options]"
    longdesc = "Identity-aware access proxy. `pomeriumd check -c FILE` checks a settings file."
    optParameters = [  # noqa: RUF012  # usage.Options reads this attribute
        ["config", "c", None, "the settings: a YAML, JSON or TOML file"],
    ]
    loaded: Loaded
    settings: Settings

    def opt_version(self) -> None:
        """Print our version and exit."""
        sys.stdout.write(f"pomeriumd {pomeriumd.__version__}\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read and check the settings, before twistd goes into the background."""
        path = self["config"]
        if path is None:
            raise usage.UsageError("no settings: name the file with --config FILE")
        self.loaded = load_whole(path, os.environ, time.time())  # noqa: TID251  # here the arguments come from
        if self.loaded.settings is None:
            raise usage.UsageError(f"{path}: {self.loaded.error}") from self.loaded.error
        self.settings = self.loaded.settings


def makeService(options: Options) -> IService:
    """
    Return the service tree; nothing is started, bound or opened but the log.

    Raises:
        SystemExit: the settings cannot be served; every problem is printed.
    """
    # Only now: twistd has installed the reactor that its options ask for, if they do.
    from pomeriumd.daemon.reactor import install  # noqa: PLC0415

    install()
    from twisted.internet import reactor  # noqa: PLC0415, TID251

    from pomeriumd.daemon.clock import steady  # noqa: PLC0415
    from pomeriumd.daemon.tree import first_of, tree  # noqa: PLC0415

    steady(reactor)
    twistd = options.parent if options.parent is not None else {}
    try:
        first = first_of(options.settings, options.loaded.digest, twistd)
        return tree(
            first, options.loaded.files, options["config"], dict(os.environ), twistd, reactor
        )
    except SettingsError as error:
        sys.exit(f"{options['config']}: {error}")
    except OSError as error:
        sys.exit(f"the log cannot be opened: {error}; name another file with --logfile")
