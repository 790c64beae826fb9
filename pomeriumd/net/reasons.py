"""Why a connection failed, in words for the log."""

from __future__ import annotations

import errno
import os

from OpenSSL import SSL
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.python.failure import Failure

NOTHING_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when it has no descriptor or memory for another connection."""


def why(failure: Failure) -> str:
    """
    Return what went wrong, with its kind: for the log, never for a page.

    OpenSSL's errors come as lists of triples, of which the last says something; those of
    a request that failed come as lists of failures, of which the first is the cause.
    """
    error = _cause(failure)
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(str(triple[-1]) for triple in error.args[0]) or "TLS broke off"
    return f"{type(error).__name__}: {error}".rstrip(".")


def exhausted(failure: Failure) -> str:
    """
    Return what this host lacked, if that is why a connection failed; "" otherwise.

    A name that could not be looked up tells nothing of the descriptors that the look-up
    had no use of: whether there is one is then tried out.
    """
    error = _cause(failure)
    number = error.osError if isinstance(error, ConnectError) else getattr(error, "errno", None)
    if isinstance(error, DNSLookupError):
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as tried:
            number = tried.errno
    return os.strerror(number) if number in NOTHING_LEFT else ""


def _cause(failure: Failure) -> BaseException | None:
    error = failure.value
    inner = getattr(error, "reasons", None)
    if inner:
        error = inner[0].value if isinstance(inner[0], Failure) else inner[0]
    return error
