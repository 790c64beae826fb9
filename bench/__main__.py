"""``python -m bench``."""

from bench.command import command

command()
