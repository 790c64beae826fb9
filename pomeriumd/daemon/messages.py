"""
What supervisor and workers say to each other: signals and small values only.

A generation goes as a descriptor of memory that both can read, numbers stand in memory that
both have (``tally``), and log lines are a pipe.
"""

from __future__ import annotations

from twisted.protocols.amp import Command, Descriptor, Float, Integer, Unicode

PROBLEM_SIZE = 16_384
"""Characters of a problem's text: a value of AMP ends at 65,535 bytes."""


class CannotServe(Exception):
    """A worker cannot take a generation or a socket; the text says why."""


class Prepare(Command):
    """Build a generation beside the one that serves; the answer comes when it is there."""

    arguments = [(b"number", Integer()), (b"content", Descriptor())]  # noqa: RUF012
    errors = {CannotServe: b"CANNOT_SERVE"}  # noqa: RUF012


class Serve(Command):
    """Serve under a generation that was prepared."""

    arguments = [(b"number", Integer())]  # noqa: RUF012
    errors = {CannotServe: b"CANNOT_SERVE"}  # noqa: RUF012


class Discard(Command):
    """Forget a generation that was prepared."""

    arguments = [(b"number", Integer())]  # noqa: RUF012


class Listen(Command):
    """Accept connections from a socket that listens already, in place of the one before."""

    arguments = [(b"name", Unicode()), (b"socket", Descriptor())]  # noqa: RUF012
    errors = {CannotServe: b"CANNOT_SERVE"}  # noqa: RUF012


class Answer(Command):
    """Answer proxies elsewhere that ask for decisions, if the settings say so."""

    arguments = []  # noqa: RUF012
    errors = {CannotServe: b"CANNOT_SERVE"}  # noqa: RUF012


class SignedOut(Command):
    """A session was signed out: what it has open is to end. From a worker, and to the others."""

    arguments = [(b"session", Unicode())]  # noqa: RUF012


class Notice(Command):
    """A line for the log that other workers may have, too. From a worker."""

    arguments = [(b"level", Unicode()), (b"text", Unicode())]  # noqa: RUF012


class Ping(Command):
    """Say that you are there."""


class Drain(Command):
    """Accept no more, let what is under way end within so many seconds, and end."""

    arguments = [(b"seconds", Float())]  # noqa: RUF012
