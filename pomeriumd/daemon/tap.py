"""``twistd pomerium``: its options, and the service that it starts."""

from __future__ import annotations

import gc
import os
import sys

from twisted.application.service import IService
from twisted.python import usage

import pomeriumd
from pomeriumd.errors import SettingsError
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Settings


class Options(usage.Options):
    """The command line of ``twistd pomerium``."""

    synopsis = "[options]"
    longdesc = "Identity-aware access proxy. `pomeriumd check -c FILE` checks a settings file."
    optParameters = [  # noqa: RUF012  # usage.Options reads this attribute
        ["config", "c", None, "the settings: a YAML, JSON or TOML file"],
    ]
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
        try:
            self.settings = load(path, os.environ)
        except SettingsError as error:
            raise usage.UsageError(f"{path}: {error}") from error


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
    from pomeriumd.daemon.tree import tree  # noqa: PLC0415

    steady(reactor)
    twistd = options.parent if options.parent is not None else {}
    try:
        service = tree(options.settings, twistd, reactor)
    except SettingsError as error:
        sys.exit(f"{options['config']}: {error}")
    except OSError as error:
        sys.exit(f"the log cannot be opened: {error}; name another file with --logfile")
    # None of what is there now will ever be garbage. Looking through all of it each time,
    # the collector stopped everybody for 60 ms.
    gc.collect()
    gc.freeze()
    return service
