"""Tests for fetching, keeping and standing in for a provider's metadata."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.client import ProviderClient
from pomeriumd.oidc.discovery import LAST_GOOD_AGE, MAX_AGE, Discovery, LastGood
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.oidc.metadata import Metadata
from pomeriumd.oidc.waiting import Backoff

ISSUER = "https://idp.example.com/x"
NOW = 1_800_000_000.0


def document(**changes: Any) -> dict[str, Any]:
    """Return good metadata, changed."""
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks",
        "surplus": "x",
        **changes,
    }


class Served(Resource):
    """Serves metadata, or fails as told."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[bytes] = []
        self.status = 200
        self.body: bytes | None = json.dumps(document()).encode()

    def render(self, request: Request) -> Any:
        """Answer with status and body; with no body, never."""
        self.paths.append(request.path)
        request.notifyFinish().addErrback(lambda _: None)
        request.setResponseCode(self.status)
        return NOT_DONE_YET if self.body is None else self.body


class DiscoveryCase(SynchronousTestCase):
    """A provider in memory and a directory of its own."""

    def setUp(self) -> None:
        """Build, asking nobody."""
        self.directory = tempfile.mkdtemp()
        self.addCleanup(self.remove)
        self.clock = Clock()
        self.served = Served()
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)
        self.discovery = self.made()

    def remove(self) -> None:
        """Take the directory away, with what the tests made of it."""
        for path in sorted(Path(self.directory).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        Path(self.directory).rmdir()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return NOW + float(self.clock.seconds())

    def made(self, directory: str | None = "") -> Discovery:
        """Return a new one, as after a restart."""
        agent = RequestTraversalAgent(self.served)
        self.agent = agent
        place = self.directory if directory == "" else directory
        return Discovery(
            issuer=ISSUER,
            kind=KINDS["oidc"],
            algorithms=("RS256",),
            client=ProviderClient(agent=agent, clock=self.clock, now=self.now),
            clock=self.clock,
            now=self.now,
            last_good=None if place is None else self.last_good(place),
            backoff=Backoff(clock=self.clock, random=lambda _: b"\x80\0"),
            log=Logger(),
        )

    def last_good(self, directory: str) -> LastGood:
        """Return the file's owner."""
        return LastGood(directory=directory, issuer=ISSUER, random=os.urandom)

    def get(self, discovery: Discovery | None = None) -> Deferred[Metadata]:
        """Ask for the metadata."""
        return Deferred.fromCoroutine((discovery or self.discovery).get())

    def got(self, discovery: Discovery | None = None) -> Metadata:
        """Return the metadata."""
        return self.successResultOf(self.get(discovery))

    def failed(self, discovery: Discovery | None = None) -> str:
        """Return the text of the failure."""
        return str(self.failureResultOf(self.get(discovery), ProviderError).value)

    def logged(self) -> list[str]:
        """Return the formats logged so far."""
        return [str(event["log_format"]) for event in self.events]


class FetchTests(DiscoveryCase):
    """Metadata is fetched when needed, once, and again when it is old."""

    def test_nothing_is_asked_before_it_is_needed(self) -> None:
        """A provider that is down does not stop our start."""
        self.assertEqual(self.served.paths, [])
        self.got()
        self.assertEqual(self.served.paths, [b"/x/.well-known/openid-configuration"])

    def test_is_kept_for_an_hour(self) -> None:
        """Not one request more, then one."""
        self.got()
        self.clock.advance(MAX_AGE - 1)
        self.got()
        self.assertEqual(len(self.served.paths), 1)
        self.clock.advance(1)
        self.got()
        self.assertEqual(len(self.served.paths), 2)

    def test_many_ask_at_once_and_one_request_goes_out(self) -> None:
        """And one who leaves takes nothing from the others."""
        self.served.body = None
        waiting = [self.get() for _ in range(5)]
        self.assertEqual(len(self.served.paths), 1)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.clock.advance(5)
        for other in waiting[1:]:
            failure = self.failureResultOf(other, ProviderError)
            self.assertEqual(str(failure.value), "discovery: no answer in 5 s")

    def test_all_who_leave_are_no_failure(self) -> None:
        """The next one asks at once."""
        self.served.body = None
        waiting = self.get()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.served.body = json.dumps(document()).encode()
        self.got()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_way_of_lying_fails(self) -> None:
        """With a text that says which."""
        for status, body, text in (
            (500, b"", "discovery: status 500, want 200"),
            (404, b"{}", "discovery: status 404, want 200"),
            (302, b"", "discovery: status 302, a redirect; none is followed"),
            (
                200,
                b"<html>",
                "discovery: not JSON at character 0 (status 200, text/html)",
            ),
            (
                200,
                b'{"issuer":"a","issuer":"b"}',
                "discovery: a name occurs twice in one object (status 200, text/html)",
            ),
            (200, b"x" * 262_145, "discovery: answer is over 262144 bytes"),
            (
                200,
                json.dumps(document(issuer="https://evil")).encode(),
                "metadata: issuer is 'https://evil', want 'https://idp.example.com/x'",
            ),
        ):
            self.served.status, self.served.body = status, body
            self.assertEqual(self.failed(self.made()), text)
        self.assertEqual(list(Path(self.directory).iterdir()), [])

    def test_backs_off(self) -> None:
        """While it waits nobody asks; afterwards one does, and success ends it."""
        self.served.status = 500
        self.failed()
        self.assertEqual(self.failed(), "discovery: failed a moment ago, next try in 1 s")
        self.assertEqual(len(self.served.paths), 1)
        self.clock.advance(1)
        self.failed()
        self.assertEqual(len(self.served.paths), 2)
        self.clock.advance(1)
        self.failed()
        self.assertEqual(len(self.served.paths), 2)
        self.served.status = 200
        self.clock.advance(1)
        self.got()
        self.assertEqual(
            self.logged(),
            ["discovery of {issuer} failed: {reason}", "discovery of {issuer} works again"],
        )


class StandInTests(DiscoveryCase):
    """The last good metadata stands in, for a while, from memory or from disk."""

    def path(self) -> Path:
        """Return where the copy is."""
        return self.last_good(self.directory).path

    def restarted_while_down(self) -> Discovery:
        """Return a new one whose provider does not answer."""
        self.served.status = 503
        return self.made()

    def test_from_memory(self) -> None:
        """An hour later the provider is down: the old metadata goes on for a week."""
        good = self.got()
        self.served.status = 503
        self.clock.advance(MAX_AGE)
        self.assertEqual(self.got(), good)
        self.assertEqual(self.got(), good)
        self.assertEqual(len(self.served.paths), 2)
        self.clock.advance(LAST_GOOD_AGE)
        self.failed()

    def test_nobody_waits_for_one_that_hangs(self) -> None:
        """After the first who did; each try goes on behind them, and its answer counts."""
        first = self.got()
        self.served.body = None
        self.clock.advance(MAX_AGE)
        waiting = self.get()
        self.assertNoResult(waiting)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(waiting), first)
        for _ in range(3):
            asked = len(self.served.paths)
            self.clock.advance(75)
            for _ in range(3):
                self.assertEqual(self.got(), first)
            self.assertEqual(len(self.served.paths), asked + 1)
            self.clock.advance(5)
        moved = document(token_endpoint=f"{ISSUER}/elsewhere")
        self.served.body = json.dumps(moved).encode()
        self.clock.advance(75)
        self.got()
        self.assertEqual(self.got().token_endpoint, f"{ISSUER}/elsewhere")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_from_disk(self) -> None:
        """Over a restart too; and when the provider is back, it is asked."""
        good = self.got()
        again = self.restarted_while_down()
        self.assertEqual(self.got(again), good)
        self.assertEqual(self.got(again), good)
        self.served.status = 200
        self.served.body = json.dumps(document(token_endpoint=f"{ISSUER}/new")).encode()
        self.clock.advance(10)
        self.assertEqual(self.got(again).token_endpoint, f"{ISSUER}/new")

    def test_a_copy_does_not_grow_younger_by_being_read(self) -> None:
        """A week after the fetch it is over, wherever it was kept."""
        self.got()
        self.clock.advance(LAST_GOOD_AGE - 100)
        again = self.restarted_while_down()
        self.got(again)
        self.clock.advance(100)
        self.failed(again)

    def test_a_fresh_start_asks_first(self) -> None:
        """The copy is for a provider that is down only."""
        self.got()
        self.got(self.made())
        self.assertEqual(len(self.served.paths), 2)

    def test_the_file_is_ours_alone(self) -> None:
        """Mode 0600, what we use and no more, nothing left beside it."""
        self.got()
        (path,) = Path(self.directory).iterdir()
        self.assertEqual(path, self.path())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        kept = json.loads(path.read_bytes())
        self.assertEqual(kept["fetched"], NOW)
        self.assertNotIn("surplus", kept["metadata"])

    def test_a_missing_directory_is_made(self) -> None:
        """For us alone."""
        directory = str(Path(self.directory, "a", "b"))
        self.got(self.made(directory))
        self.assertEqual(Path(directory).stat().st_mode & 0o777, 0o700)

    def test_what_cannot_be_kept_is_only_warned_of(self) -> None:
        """The sign-in goes on."""
        blocked = Path(self.directory, "file")
        blocked.write_bytes(b"")
        self.got(self.made(str(blocked)))
        self.assertEqual(
            self.logged(),
            [
                (
                    "metadata cannot be kept in {path}: {reason}; it will be missed if the"
                    " provider is down when we start: make the place writable and some room in it"
                )
            ],
        )
        self.assertEqual(list(Path(self.directory).iterdir()), [blocked])

    def test_without_a_directory_nothing_is_kept(self) -> None:
        """And nothing is missed while the provider answers."""
        self.got(self.made(None))
        self.assertEqual(list(Path(self.directory).iterdir()), [])
        self.served.status = 503
        self.failed(self.made(None))

    def test_a_copy_that_others_can_write_is_not_used(self) -> None:
        """They could send our users and the client secret anywhere."""
        self.got()
        for mode in (0o620, 0o602, 0o666):
            self.path().chmod(mode)
            self.failed(self.restarted_while_down())
        self.path().chmod(0o600)
        self.got(self.restarted_while_down())

    def test_a_link_or_pipe_is_not_read(self) -> None:
        """Neither is followed or waited for."""
        self.got()
        elsewhere = Path(self.directory, "elsewhere")
        self.path().rename(elsewhere)
        self.path().symlink_to(elsewhere)
        self.failed(self.restarted_while_down())
        self.path().unlink()
        os.mkfifo(self.path(), 0o600)
        self.failed(self.restarted_while_down())

    def test_a_copy_is_checked_like_an_answer(self) -> None:
        """Broken, foreign, too old, from the future: none of them is used."""
        self.got()
        good = json.loads(self.path().read_bytes())
        for copy in (
            b"",
            b"{",
            b"[]",
            b"{}",
            json.dumps({**good, "fetched": "now"}).encode(),
            json.dumps({**good, "fetched": True}).encode(),
            json.dumps({**good, "fetched": NOW - LAST_GOOD_AGE - 1}).encode(),
            json.dumps({**good, "fetched": NOW + 1}).encode(),
            json.dumps({**good, "metadata": []}).encode(),
            json.dumps({**good, "metadata": document(issuer="https://evil")}).encode(),
            json.dumps({**good, "metadata": document(jwks_uri="http://10.0.0.1/")}).encode(),
            json.dumps(good).encode() + b" " * 262_145 + b"x",
        ):
            self.path().write_bytes(copy)
            self.assertEqual(
                self.failed(self.restarted_while_down()), "discovery: status 503, want 200"
            )

    def test_each_issuer_has_its_own_file(self) -> None:
        """A change of the settings does not meet the old provider's copy."""
        other = LastGood(directory=self.directory, issuer="https://other", random=os.urandom)
        self.assertNotEqual(other.path, self.path())
