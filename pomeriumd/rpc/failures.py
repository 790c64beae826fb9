"""
Why a replica did not answer, in one line that says what to change.

Pure: what grpc reports comes as text. Its TLS library names the reason in there; a test
with real handshakes pins the words that are looked for.
"""

from __future__ import annotations

import enum
import re

import attrs

from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.tokens import CLOCK, SECRET

TEXT_SIZE = 200
"""Most characters that are shown of what the other side said."""

CLOCK_OFF = 60.0
"""Seconds by which clocks may differ: as long do tokens hold beyond their time."""


_SECONDS = re.compile(r"\d+ s\b")


class Kind(enum.Enum):
    """What a failure says of the replica; the value is its name in counters."""

    UNREACHABLE = "unreachable"
    """No connection, or it broke."""
    LATE = "late"
    REFUSED = "refused"
    """It does not believe that we are a proxy of its own."""
    FOREIGN = "foreign"
    """Something listens there that is no authorize service."""
    SILENT = "not serving"
    """It says itself that it does not decide."""
    BROKEN = "broken"
    """It answered with an error, which may be the question's own fault."""


@attrs.frozen
class Failed:
    """One failure of one replica."""

    kind: Kind
    text: str
    """What was seen: a fragment that follows the replica's address."""
    remedy: str
    """What to do; empty where nobody need do anything."""

    @property
    def line(self) -> str:
        """Return both, as they end a log line."""
        return f"{self.text}; {self.remedy}" if self.remedy else self.text

    @property
    def subject(self) -> str:
        """Return the line without what was measured: that is never twice the same."""
        return _SECONDS.sub("", self.line)


@attrs.frozen(kw_only=True)
class Seen:
    """What grpc reports of a call that failed."""

    code: str
    """Of the status, e.g. ``UNAVAILABLE``."""
    details: str = ""
    refused: str = ""
    """The word of a refusal (``tokens.REFUSED_FIELD``)."""
    ahead: float | None = None
    """Seconds by which the replica's clock is ahead of ours, where it told its time."""
    plain: bool = False
    """There is no TLS (``grpc_insecure``)."""
    shown: bool = False
    """We show a client certificate."""
    server_name: str = ""
    """What its certificate has to be for."""


NOT_SERVING = Failed(
    Kind.SILENT,
    "says that it does not serve",
    "see its own log: it starts, stops, or has no configuration that is good",
)

SILENT = Failed(
    Kind.LATE,
    "says nothing",
    "does its process run, and does the network in between drop nothing?",
)


def late(seconds: float) -> Failed:
    """Return the failure of a replica that did not answer within so many seconds."""
    return Failed(
        Kind.LATE,
        f"no answer within {seconds * 1000:.0f} ms",
        "does its process run, and does the network in between drop nothing?",
    )


def clock_off(ahead: float) -> Failed | None:
    """Return the failure of a replica whose clock is so many seconds ahead; None if it is not."""
    if abs(ahead) <= CLOCK_OFF:
        return None
    where = "ahead of" if ahead > 0 else "behind"
    return Failed(
        Kind.REFUSED,
        f"its clock is {abs(ahead):.0f} s {where} ours",
        "set the wrong one right (timedatectl, chronyc tracking)",
    )


def explain(seen: Seen, endpoint: Endpoint) -> Failed:
    """Return what a failed call says of a replica."""
    match seen.code:
        case "UNAVAILABLE" if seen.details.startswith("there are no policies"):
            return NOT_SERVING
        case "UNAVAILABLE":
            return Failed(Kind.UNREACHABLE, *_unreachable(seen))
        case "DEADLINE_EXCEEDED":
            return Failed(
                Kind.LATE,
                "no answer in time",
                "does its process run, and does the network in between drop nothing?",
            )
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return Failed(Kind.REFUSED, *_refused(seen))
        case "UNIMPLEMENTED":
            return Failed(
                Kind.FOREIGN,
                f"is no authorize service of ours ({_shown(seen.details)})",
                f"does authorize_service_url ({endpoint.authority}) name its grpc_address?",
            )
        case code:
            return Failed(
                Kind.BROKEN, f"answers {code} ({_shown(seen.details)})", "see its own log"
            )


_CERTIFICATE = (
    (
        "Hostname Verification Check failed",
        "its certificate does not cover {name}",
        "give it one for {name}, or say in override_certificate_name what its is for",
    ),
    (
        "certificate has expired",
        "its certificate has expired",
        "give it a new one",
    ),
    (
        "certificate is not yet valid",
        "its certificate is not valid yet",
        "compare the clocks of both hosts, or give it another one",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is of no authority that is trusted here",
        "put the authority that issued it into certificate_authority",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "speaks no TLS",
        "set grpc_insecure at both ends or at neither, and is the port right?",
    ),
    (
        "CERTIFICATE_REQUIRED",
        "asks for a client certificate",
        "set grpc_client_certificate to one of its grpc_client_ca",
    ),
    (
        "ALERT_UNKNOWN_CA",
        "does not take our client certificate",
        "set grpc_client_certificate to one of its grpc_client_ca",
    ),
)
"""What stands in grpc's text, what that means, what to do; the first that fits."""

_NETWORK = (
    (
        "Connection refused",
        "refuses connections",
        "does authorize run there, and is its port that of authorize_service_url?",
    ),
    (
        "No route to host",
        "cannot be reached (no route to host)",
        "does its host run, and is it in the right network?",
    ),
    (
        "etwork is unreachable",
        "cannot be reached (network is unreachable)",
        "give this host a route to it, or take its address out of the DNS",
    ),
    (
        "ping timeout",
        "answers no pings",
        "does its host run, and does no firewall in between drop what it sends?",
    ),
    (
        "onnection timed out",
        "takes no connection (timed out)",
        "does its host run, and does no firewall in between drop what is sent to it?",
    ),
    (
        "deadline exceeded",
        "takes no connection (timed out)",
        "does its host run, and does no firewall in between drop what is sent to it?",
    ),
)


def _unreachable(seen: Seen) -> tuple[str, str]:
    for sign, text, remedy in _CERTIFICATE:
        if sign in seen.details:
            name = seen.server_name
            return text.format(name=name), remedy.format(name=name)
    for sign, text, remedy in _NETWORK:
        if sign in seen.details:
            return text, remedy
    if "failed to connect" in seen.details:
        # Its TLS says no more than that: the reason is in the other side's log.
        if seen.plain:
            return "hangs up", "it may speak TLS: is grpc_insecure set there as well?"
        if not seen.shown:
            return (
                "hangs up in the handshake",
                "if it asks for a client certificate (grpc_client_ca), set grpc_client_certificate",
            )
        return (
            "hangs up in the handshake",
            "is grpc_client_certificate of the authority in its grpc_client_ca?",
        )
    return f"is not available ({_shown(seen.details)})", "see its own log, if it goes on"


def _refused(seen: Seen) -> tuple[str, str]:
    off = None if seen.ahead is None else clock_off(seen.ahead)
    if seen.refused == CLOCK and off is not None:
        return off.text, off.remedy
    if seen.refused == CLOCK:
        return "finds our token too old or too new", "compare the clocks of both hosts"
    if seen.refused == SECRET:
        return "has another shared_secret", "give both the same shared_secret"
    return (
        f"does not admit us ({_shown(seen.details)})",
        "does a balancer in between take the authorization field away?",
    )


def _shown(details: str) -> str:
    """Return what a stranger wrote as one short line of ASCII."""
    printable = "".join(sign if sign.isprintable() else " " for sign in details)
    line = " ".join(printable.split())[:TEXT_SIZE]
    return line.encode("ascii", "backslashreplace").decode("ascii") or "no details"
