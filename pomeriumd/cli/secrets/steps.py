"""
What an operator does to change a root secret, step by step, as text.

Nothing is read or written here: the caller says how the secrets stand in the settings.
"""

from __future__ import annotations

import attrs

from pomeriumd.access.assertion import KEYS_KEPT
from pomeriumd.authenticate.trail import TRAIL_SECONDS
from pomeriumd.session.pending import LOGIN_SECONDS
from pomeriumd.settings.fields import written

LEAST = {"shared_secret": LOGIN_SECONDS, "cookie_secret": TRAIL_SECONDS}
"""Seconds that something lives which was made with the secret and is no session: a sign-in
under way; the note of where the last one was to end."""


@attrs.frozen
class Spelled:
    """A secret as the settings have it."""

    value: str
    """In base64; or the path of its file."""
    form: str = ""
    """What stands behind the key: nothing, or ``_file``."""


@attrs.frozen(kw_only=True)
class Rotation:
    """One secret that takes the place of another."""

    name: str
    """``shared_secret`` or ``cookie_secret``."""
    old: Spelled
    new: Spelled
    seconds: float
    """``cookie_expire``."""
    is_kept: bool = False
    """The old one stands in no settings: it was made by the daemon."""
    publishes: bool = False
    """The key that signs assertions comes from this secret."""
    before: str = ""
    """What is to be done on each replica before the first step."""
    after: str = ""
    """What is to be done on each replica after the last one."""
    suffix: str = ".yaml"
    """Of the settings file."""

    @property
    def one(self) -> str:
        """Return the lines of the first step."""
        present = () if self.is_kept else (self._line("", self.old),)
        return "\n".join((*present, self._line("_previous", self.new)))

    @property
    def two(self) -> str:
        """Return the lines of the second step."""
        return f"{self.three}\n{self._line('_previous', self.old)}"

    @property
    def three(self) -> str:
        """Return the line of the last step."""
        return self._line("", self.new)

    @property
    def wait(self) -> str:
        """Return how long the old secret has to stay, and why so long."""
        least = LEAST[self.name]
        if self.seconds >= least:
            return f"{written(self.seconds)} (cookie_expire: the longest that a session lasts)"
        return (
            f"{written(least)} (more than cookie_expire: a sign-in that was begun may take so long)"
        )

    @property
    def heard(self) -> str:
        """Return for how long the new secret has to be announced, if that matters."""
        return f", and have been for {written(KEYS_KEPT)}" if self.publishes else ""

    def _line(self, which: str, secret: Spelled) -> str:
        key = f"{self.name}{which}{secret.form}"
        form = {".json": '"{}": "{}",', ".toml": '{} = "{}"'}.get(self.suffix, "{}: {}")
        return "       " + form.format(key, secret.value)


def beside(path: str) -> str:
    """Return the other one of two file names that take turns, rotation after rotation."""
    return path.removesuffix(".next") if path.endswith(".next") else f"{path}.next"


_RELOAD = """\
Reload with `systemctl reload pomerium`, or SIGHUP to the process of twistd; it is done when the
log says `new settings serve`.
"""


def begun(rotation: Rotation) -> str:
    """Return all three steps."""
    pause = "   Go on when all have it.\n"
    if rotation.publishes:
        pause = (
            f"   When all have it, wait {written(KEYS_KEPT)}: the key that will sign\n"
            "   x-pomerium-jwt-assertion is published from now on, and applications may keep the\n"
            "   list of keys so long.\n"
        )
    before = f"Before: {rotation.before}\n\n" if rotation.before else ""
    after = f"   {rotation.after}\n" if rotation.after else ""
    return (
        f"{before}"
        "1. Announce it: all take what the new secret makes, and nobody makes anything with it.\n"
        "   On every replica, one after the other, have this in the settings, and reload:\n\n"
        f"{rotation.one}\n\n"
        f"{pause}\n"
        "2. Use it: what the old secret made is still taken. On every replica, one after the\n"
        "   other, have this in the settings, and reload:\n\n"
        f"{rotation.two}\n\n"
        f"   When all have it, wait {rotation.wait}.\n"
        "   By then nothing is left that the old one made. Sooner, some would sign in again.\n\n"
        "3. Forget the old one: whoever knows it can make sessions until then. On every replica,\n"
        f"   take {rotation.name}_previous out, and reload:\n\n"
        f"{rotation.three}\n\n"
        f"{after}{_RELOAD}"
    )


def under_way(rotation: Rotation, old: str, new: str) -> str:
    """
    Return what comes next where there are two secrets already.

    Args:
        rotation: as if the present secret were the old one; settings do not tell.
        old: the mark of the present one.
        new: the mark of the previous one.
    """
    name = rotation.name
    if rotation.is_kept:
        return (
            f"This replica is at step 1: {name}_previous, with the mark {new}, is announced.\n"
            f"When all replicas are{rotation.heard}, the next is step 2:\n"
            f"\n{rotation.two}\n\n{_RELOAD}"
        )
    back = attrs.evolve(rotation, old=rotation.new, new=rotation.old)
    return (
        f"{name} has the mark {old}, {name}_previous has the mark {new}.\n"
        "The new secret is the one whose mark was printed when it was made.\n\n"
        f"If it is {new}, this replica is at step 1.\n"
        f"When all replicas are{rotation.heard}, the next is step 2:\n"
        f"\n{rotation.two}\n\n"
        f"If it is {old}, this replica is at step 2. When all replicas have been there for\n"
        f"{rotation.wait}, the next is step 3, without\n"
        f"{name}_previous:\n"
        f"\n{back.three}\n\n{_RELOAD}"
    )
