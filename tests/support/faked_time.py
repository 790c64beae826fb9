"""The time of a real process, as the test tells it: libfaketime, Debian's package faketime."""

from __future__ import annotations

from pathlib import Path

import attrs

LIBRARIES = Path("/usr/lib")


@attrs.define(eq=False)
class FakedTime:
    """
    A clock for processes that a test starts.

    Args:
        place: an empty directory.
    """

    place: Path
    _ahead: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the machine's time."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.add(0)

    def add(self, seconds: int) -> None:
        """Put the clock forward, or back."""
        self._ahead += seconds
        draft = self.place / "draft"
        draft.write_text(f"{self._ahead:+d}\n")
        # In one step: the process may read at any moment.
        draft.replace(self.place / "ahead")

    @property
    def passing(self) -> dict[str, str]:
        """Return the variables for a process for which time passes when it is added."""
        return {**self._variables, "FAKETIME_DONT_FAKE_MONOTONIC": "0"}

    @property
    def stepping(self) -> dict[str, str]:
        """Return the variables for a process whose clock is set; its timers do not notice."""
        return {**self._variables, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    @property
    def _variables(self) -> dict[str, str]:
        [library] = LIBRARIES.glob("*/faketime/libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.place / "ahead"),
            "FAKETIME_NO_CACHE": "1",
        }
