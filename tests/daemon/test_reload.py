"""New settings that are taken, refused or the same; who serves is a double here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.frames import Framed, sealed
from pomeriumd.daemon.listeners import MAIN, REDIRECT, Listener, Sockets
from pomeriumd.daemon.messages import CannotServe
from pomeriumd.daemon.reading import GOOD, REFUSED, SAME, Read
from pomeriumd.daemon.reload import Generation, Outcome, Reloading
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import Address
from tests.support.settings import make_settings

ANY = Address("127.0.0.1", 0)


def is_open(descriptor: int) -> bool:
    """Tell whether a descriptor is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def open_descriptors() -> list[int]:
    """Return all descriptors of this process."""
    return [one for one in map(int, os.listdir("/proc/self/fd")) if is_open(one)]  # noqa: PTH208


@attrs.define(eq=False)
class FakeReading:
    """Reads what the test has put there."""

    next: list[Read] = attrs.Factory(list)
    asked: list[tuple[str, int | None]] = attrs.Factory(list)
    waiting: list[Deferred[Read]] = attrs.Factory(list)
    waits: bool = False

    def read(self, path: str, present: int | None) -> Deferred[Read]:
        """Give the next one; now, or when the test says so."""
        self.asked.append((path, present))
        if self.waits:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return succeed(self.next.pop(0))


@attrs.define(eq=False)
class FakeServants:
    """Notes what is asked of it."""

    refuses: str = ""
    breaks: bool = False
    did: list[tuple[str, Any]] = attrs.Factory(list)

    async def prepare(self, number: int, content: int) -> None:
        """Build it, or not."""
        self.did.append(("prepare", number))
        assert is_open(content)
        if self.breaks:
            raise ZeroDivisionError
        if self.refuses:
            raise CannotServe(self.refuses)

    async def serve(self, number: int, content: int) -> None:
        """Serve under it."""
        assert is_open(content)
        self.did.append(("serve", number))

    async def discard(self, number: int) -> None:
        """Forget it."""
        self.did.append(("discard", number))

    async def listen(self, listener: Listener) -> None:
        """Accept there."""
        self.did.append(("listen", listener.name))

    def unlisten(self, name: str) -> None:
        """Begin no more there."""
        self.did.append(("unlisten", name))


@attrs.define(eq=False)
class FakeWatch:
    """Notes what it is to expect."""

    files: Mapping[str, str] = attrs.Factory(dict)

    def expect(self, files: Mapping[str, str]) -> None:
        """Note it."""
        self.files = files


class ReloadCase(SynchronousTestCase):
    """A daemon under its first generation."""

    def setUp(self) -> None:
        """Begin."""
        self.now = 1000.0
        self.reading, self.servants, self.watch = FakeReading(), FakeServants(), FakeWatch()
        self.adopted: list[Settings] = []
        settings = make_settings(address=ANY)
        self.sockets = Sockets(settings, lambda: ListenFDs([], ()))
        self.sockets.privilegedStartService()
        self.addCleanup(self.sockets.stopService)
        self.reloading = Reloading(
            path="/etc/pomerium/config.yaml",
            reading=self.reading,  # type: ignore[arg-type]
            servants=self.servants,  # type: ignore[arg-type]
            sockets=self.sockets,
            watch=self.watch,  # type: ignore[arg-type]
            now=lambda: self.now,
        )
        self.reloading.adopt = lambda framed: self.adopted.append(framed.settings)
        content = self.content(settings, "a" * 64)
        self.reloading.begin(
            Generation(number=1, digest="a" * 64, content=content, since=self.now, routes=0)
        )
        reloading = self.reloading
        self.addCleanup(lambda: os.close(reloading.generation.content))

    def content(self, settings: Settings, digest: str) -> int:
        """Return the descriptor of settings."""
        return sealed(Framed(settings=settings, digest=digest, kept=None))

    def good(self, digest: str = "b", **settings: Any) -> Read:
        """Return what a reader gives of good settings."""
        given: dict[str, Any] = {"address": ANY, **settings}
        return Read(
            outcome=GOOD,
            files={"/etc/pomerium/config.yaml": digest},
            digest=digest * 64,
            routes=3,
            changes=("policy[0]: allowed_users changed",),
            descriptor=self.content(make_settings(**given), digest * 64),
        )

    def reload(self, *found: Read) -> Outcome:
        """Reload, and return what became of it."""
        self.reading.next += found
        return self.successResultOf(self.reloading.reload())


class OutcomeTests(ReloadCase):
    """What a reload comes to."""

    def test_good(self) -> None:
        """All prepare before any serves, and the new content is kept."""
        found = self.good()
        self.now = 2000.0
        outcome = self.reload(found)
        self.assertEqual(self.servants.did, [("prepare", 2), ("serve", 2)])
        self.assertEqual(
            outcome,
            Outcome(at=2000.0, outcome=GOOD, changes=("policy[0]: allowed_users changed",)),
        )
        self.assertEqual(
            self.reloading.generation,
            Generation(number=2, digest="b" * 64, content=found.descriptor, since=2000.0, routes=3),
        )
        self.assertTrue(is_open(found.descriptor))
        self.assertEqual(len(self.adopted), 1)
        self.assertEqual(self.reloading.good_at, 2000.0)

    def test_no_content_is_kept_for_ever(self) -> None:
        """The one before is kept for a worker that starts just then, and closed at the next."""
        contents = []
        for letter in "bcd":
            contents.append(os.fstat(self.reloading.generation.content).st_ino)
            self.reload(self.good(letter))
        contents.append(os.fstat(self.reloading.generation.content).st_ino)
        held = {os.fstat(one).st_ino for one in open_descriptors()}
        self.assertEqual([one in held for one in contents], [False, False, True, True])

    def test_the_reader_gets_what_is_in_force(self) -> None:
        """It compares with the generation that serves, and the watch learns what it read."""
        content = self.reloading.generation.content
        self.reload(self.good())
        self.assertEqual(self.reading.asked, [("/etc/pomerium/config.yaml", content)])
        self.assertEqual(self.watch.files, {"/etc/pomerium/config.yaml": "b"})

    def test_the_same(self) -> None:
        """Nothing is asked of anybody."""
        outcome = self.reload(Read(outcome=SAME, digest="a" * 64))
        self.assertEqual((outcome.outcome, self.servants.did), (SAME, []))
        self.assertEqual(self.reloading.generation.number, 1)

    def test_refused_by_the_reader(self) -> None:
        """Those of before serve on, and the problem is kept for who asks."""
        outcome = self.reload(Read(outcome=REFUSED, problems="policy[3].to (line 9): missing"))
        self.assertEqual(outcome.error, "policy[3].to (line 9): missing")
        self.assertEqual((self.servants.did, self.reloading.refusals), ([], 1))
        self.assertEqual(self.reloading.last, outcome)
        self.assertEqual(self.reloading.good_at, 1000.0)

    def test_refused_by_who_serves(self) -> None:
        """One that cannot be built everywhere is forgotten everywhere, and its content closed."""
        self.servants.refuses = "certificates: no"
        found = self.good()
        outcome = self.reload(found)
        self.assertEqual((outcome.outcome, outcome.error), (REFUSED, "certificates: no"))
        self.assertEqual(self.servants.did, [("prepare", 2), ("discard", 2)])
        self.assertFalse(is_open(found.descriptor))
        self.assertTrue(is_open(self.reloading.generation.content))

    def test_no_number_is_used_twice(self) -> None:
        """What a slow worker still builds of a refused one is never taken for the next one."""
        self.servants.refuses = "no"
        self.reload(self.good())
        self.servants.refuses = ""
        self.reload(self.good("c"))
        self.assertEqual(self.servants.did[-2:], [("prepare", 3), ("serve", 3)])

    def test_a_bug_is_no_end(self) -> None:
        """Whatever is raised, who asked hears of it, and the next reload works."""
        self.servants.breaks = True
        outcome = self.reload(self.good())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(outcome.error, "a bug of ours: ZeroDivisionError; see the log")
        self.servants.breaks = False
        self.assertEqual(self.reload(self.good("c")).outcome, GOOD)


class ListenerTests(ReloadCase):
    """New settings with other addresses."""

    def test_plain_http_comes_and_goes(self) -> None:
        """Those who serve accept there under settings that have it, and under no others."""
        self.reload(self.good("b", http_redirect_addr=ANY))
        redirect = self.sockets.by_name[REDIRECT].socket
        self.reload(self.good("c"))
        self.assertEqual(
            [what for what in self.servants.did if "listen" in what[0]],
            [("listen", REDIRECT), ("unlisten", REDIRECT)],
        )
        self.assertEqual((redirect.fileno(), list(self.sockets.by_name)), (-1, [MAIN]))

    def test_another_address(self) -> None:
        """Those who serve accept there before the old socket is closed."""
        before = self.sockets.by_name[MAIN].socket
        self.reload(self.good(address=Address("127.0.0.2", 0)))
        self.assertEqual(self.servants.did, [("prepare", 2), ("serve", 2), ("listen", MAIN)])
        self.assertEqual(before.fileno(), -1)

    def test_one_that_cannot_be_had(self) -> None:
        """A taken address is a refusal before anybody builds anything."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = Address(*other.getsockname())
            outcome = self.reload(self.good(address=taken))
        self.assertEqual((outcome.outcome, self.servants.did), (REFUSED, []))
        self.assertIn("address: cannot listen on", outcome.error)

    def test_a_refusal_closes_what_was_bound(self) -> None:
        """The address of refused settings is nobody's afterwards."""
        self.servants.refuses = "no"
        with socket.create_server(("127.0.0.1", 0)) as other:
            free = Address(*other.getsockname())
        self.reload(self.good(address=free))
        socket.create_server((free.host, free.port)).close()


class AskingTests(ReloadCase):
    """Several who ask."""

    def test_who_asks_meanwhile_waits_for_the_next(self) -> None:
        """The file may have changed since; all who ask meanwhile share one more reload."""
        self.reading.waits = True
        first = self.reloading.reload()
        later = [self.reloading.reload() for _ in range(3)]
        self.reading.waiting[0].callback(Read(outcome=SAME))
        self.assertEqual(self.successResultOf(first).outcome, SAME)
        self.assertEqual(len(self.reading.waiting), 2)
        for waiting in later:
            self.assertNoResult(waiting)
        self.reading.waiting[1].callback(Read(outcome=REFUSED, problems="x"))
        self.assertEqual([self.successResultOf(one).error for one in later], ["x"] * 3)
        self.assertEqual(len(self.reading.waiting), 2)

    @given(st.lists(st.sampled_from(("good", "same", "refused", "cannot")), max_size=12))
    def test_what_is_in_force_is_the_last_good_one(self, events: list[str]) -> None:
        """After any course of reloads the last good one is in force, and its content is open."""
        self.setUp()
        digest, number = "a" * 64, 1
        for at, event in enumerate(events):
            self.servants.refuses = "no" if event == "cannot" else ""
            if event == "same":
                found = Read(outcome=SAME)
            elif event == "refused":
                found = Read(outcome=REFUSED, problems="x")
            else:
                found = self.good(chr(98 + at))
            number += event in ("good", "cannot")
            self.reload(found)
            if event == "good":
                digest = found.digest
            generation = self.reloading.generation
            self.assertEqual(generation.digest, digest)
            self.assertTrue(is_open(generation.content))
        self.assertEqual(self.reloading._number, number)
