"""``pomeriumd``: the commands beside the daemon, which is ``twistd pomerium``."""

from __future__ import annotations

from importlib import import_module

import click

import pomeriumd

COMMANDS = {
    "ca": "pomeriumd.cli.ca.command",
    "check": "pomeriumd.cli.check",
    "demo": "pomeriumd.cli.demo.command",
    "reload": "pomeriumd.cli.reload",
    "status": "pomeriumd.cli.status",
    "tls": "pomeriumd.cli.tls.command",
    "secrets": "pomeriumd.cli.secrets.command",
    "verify": "pomeriumd.cli.verify.command",
}
"""Each command, and the module whose ``command`` it is."""


class Commands(click.Group):
    """Commands by name; a module is imported when its command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name]).command
        return command if isinstance(command, click.Command) else None


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pomeriumd.__version__, message="pomeriumd %(version)s")
def main() -> None:
    """
    Identity-aware access proxy: the commands beside the daemon.

    The daemon itself is `twistd pomerium --config FILE`.
    """
