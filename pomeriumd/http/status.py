"""Status lines, made once."""

from __future__ import annotations

from http import HTTPStatus

_OURS = {421: "Misdirected Request", 495: "SSL Certificate Error", 499: "Client Closed Request"}

STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} ".encode("ascii") for code in range(100, 1000)
} | {
    int(code): f"HTTP/1.1 {code} {phrase}".encode("ascii")
    for code, phrase in ({s.value: s.phrase for s in HTTPStatus} | _OURS).items()
}
"""Status line without CR LF, by status; an unknown status has no reason phrase."""

NO_BODY = frozenset({204, 304})
"""Final statuses whose answers have no body."""
