"""Why a connection failed, in words for the log."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.python.failure import Failure


def why(failure: Failure) -> str:
    """
    Return what went wrong, with its kind: for the log, never for a page.

    OpenSSL's errors come as lists of triples, of which the last says something; those of
    a request that failed come as lists of failures, of which the first is the cause.
    """
    error = failure.value
    inner = getattr(error, "reasons", None)
    if inner:
        error = inner[0].value if isinstance(inner[0], Failure) else inner[0]
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(str(triple[-1]) for triple in error.args[0]) or "TLS broke off"
    return f"{type(error).__name__}: {error}"
