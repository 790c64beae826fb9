"""The secrets that keys are derived from, in the order in which they count."""

from __future__ import annotations

from pomeriumd.settings.values import Secret


def roots_of(present: bytes, previous: Secret | None) -> tuple[bytes, ...]:
    """Return the secret that signs and seals, then the one that only verifies and opens."""
    return (present,) if previous is None else (present, previous.reveal())
