"""The log: events and requests as lines."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import attrs
import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.daemon.access_log import AGAIN, BATCH, EVERY
from pomeriumd.daemon.logs import (
    LINE_SIZE,
    TRACEBACK_SIZE,
    AccessEntry,
    LineObserver,
    observer_for,
)

NOON = 1_795_435_200.0
"""2026-11-23 12:00:00 UTC."""

SECRET = "s3cr3t-s3cr3t"


@attrs.define
class Kept:
    """A sink that keeps each write."""

    writes: list[bytes] = attrs.Factory(list)
    blocked: bool = False

    def write(self, octets: bytearray) -> int:
        """Keep it, unless blocked."""
        if self.blocked:
            return 0
        self.writes.append(bytes(octets))
        return len(octets)

    def wait(self, seconds: float) -> None:
        """Do not wait."""

    def close(self) -> None:
        """Do nothing."""

    @property
    def text(self) -> str:
        """Return all that was written."""
        return b"".join(self.writes).decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return the lines, decoded."""
        return [orjson.loads(line) for line in self.text.split("\n")[:-1]]


def entry(**changes: Any) -> AccessEntry:
    """Return an entry with some things changed."""
    return AccessEntry(
        time=NOON + 0.25,
        request_id="r-1",
        route="a1",
        host=b"app.example.com",
        method=b"GET",
        path=b"/x/y",
        status=200,
        sent=12,
        received=0,
        duration_ms=3.14159,
        decision_ms=0.02,
        upstream_ms=2.5,
        user="alice@example.com",
        decision="allow",
        reasons=("email-ok",),
        client="192.0.2.7",
        error="",
    )._replace(**changes)


class Awkward:
    """A value that refuses to be shown."""

    def __repr__(self) -> str:
        """Refuse."""
        raise RuntimeError(SECRET)


class ObserverTests(SynchronousTestCase):
    """LineObserver writes each event as one line."""

    def observe(self, **options: Any) -> tuple[Kept, Logger]:
        """Return a sink, and a logger that ends there."""
        sink = Kept()
        self.observer = LineObserver(sink, **options)
        publisher = LogPublisher(self.observer)
        return sink, Logger("ours", observer=publisher)

    def test_is_an_observer(self) -> None:
        """It can stand as a component of the application."""
        verifyObject(ILogObserver, LineObserver(Kept()))

    def test_one_event_one_line(self) -> None:
        """Level, time and message as in Pomerium's log, then the fields."""
        sink = Kept()
        observer = LineObserver(sink)
        observer(
            {
                "log_time": NOON + 0.5,
                "log_level": LogLevel.info,
                "log_namespace": "ours",
                "log_format": "listening on {port}",
                "port": 443,
            }
        )
        self.assertEqual(
            sink.lines,
            [
                {
                    "level": "info",
                    "time": "2026-11-23T12:00:00.500Z",
                    "message": "listening on 443",
                    "namespace": "ours",
                    "port": 443,
                }
            ],
        )

    def test_lower_levels_are_left_out(self) -> None:
        """log_level is the lowest that is written, by Pomerium's names and Twisted's."""
        for level, wanted in (
            ("debug", ["debug", "info", "warn", "error", "critical"]),
            ("info", ["info", "warn", "error", "critical"]),
            ("WARN", ["warn", "error", "critical"]),
            ("warning", ["warn", "error", "critical"]),
            ("error", ["error", "critical"]),
            ("fatal", ["critical"]),
        ):
            sink, log = self.observe(level=level)
            for method in (log.debug, log.info, log.warn, log.error, log.critical):
                method("x")
            self.assertEqual([line["level"] for line in sink.lines], wanted)

    def test_secrets_by_name(self) -> None:
        """A field with a secret's name shows nowhere, not in the sentence either."""
        sink, log = self.observe()
        log.info(
            "signing in with {code} for {request[fields]}",
            code=SECRET,
            request={"fields": {"Set-Cookie": SECRET, "path": "/x"}},
            client_secret=SECRET.encode(),
        )
        self.assertNotIn(SECRET, sink.text.split('"request"')[0].replace("fields", ""))
        line = sink.lines[0]
        self.assertEqual(line["request"], {"fields": {"Set-Cookie": "[hidden]", "path": "/x"}})
        self.assertEqual((line["code"], line["client_secret"]), ("[hidden]", "[hidden]"))

    def test_a_failure_is_one_field(self) -> None:
        """A traceback with its cause stands in one field, bounded, without secrets."""
        sink, log = self.observe()
        try:
            try:
                dict[str, int]()["x" * 10 * TRACEBACK_SIZE]
            except KeyError as error:
                raise ValueError(f"bad URL /cb?code={SECRET}&state={SECRET}") from error
        except ValueError:
            log.failure("that went wrong")
        line = sink.lines[0]
        self.assertEqual((line["level"], line["message"]), ("critical", "that went wrong"))
        self.assertEqual(line["error"], "ValueError")
        self.assertIn("direct cause", line["traceback"])
        self.assertTrue(line["traceback"].endswith("?code=[hidden]&state=[hidden]\n"))
        self.assertLess(len(line["traceback"]), 2 * TRACEBACK_SIZE)
        self.assertNotIn(SECRET, sink.text)

    def test_a_failure_without_a_sentence(self) -> None:
        """The error speaks for itself, as in an unhandled Deferred."""
        sink = Kept()
        LineObserver(sink)({"log_failure": Failure(ValueError("no such thing"))})
        self.assertEqual(sink.lines[0]["message"], "ValueError: no such thing")

    def test_awkward_events(self) -> None:
        """Nothing that somebody logs raises, and each event leaves a line."""
        for event in (
            {},
            {"log_format": "{missing}"},
            {"log_format": "{it}", "it": Awkward()},
            {"it": Awkward()},
            {"log_failure": Failure(Exception(Awkward()))},
            {"log_time": "noon"},
            {"log_level": "loud"},
            {"log_format": b"\xff"},
            {"log_format": "\udcff {x}", "x": float("nan"), "big": 1 << 80},
            {"log_format": "x", "many": ["x" * 10_000] * 60},
        ):
            for readable in (False, True):
                sink = Kept()
                LineObserver(sink, readable=readable)(dict(event))
                self.assertEqual(sink.text.count("\n"), 1 + sink.text.count("\n    "))
                self.assertLessEqual(len(sink.text), LINE_SIZE)

    def test_a_long_line_loses_its_fields(self) -> None:
        """The sentence stays, and how much was left out."""
        sink, log = self.observe()
        log.info("x", many=["x" * 10_000] * 60)
        self.assertEqual(set(sink.lines[0]), {"level", "time", "message", "left_out"})

    def test_legacy_events(self) -> None:
        """What twisted.python.log adds to an event is not repeated."""
        sink = Kept()
        LineObserver(sink)(
            {"log_text": "old", "log_format": "{log_text}", "message": ("old",), "time": 1.0,
             "system": "-", "isError": 0}
        )  # fmt: skip
        self.assertEqual(set(sink.lines[0]), {"level", "time", "message"})
        self.assertEqual(sink.lines[0]["message"], "old")

    def test_chatter_is_for_debugging(self) -> None:
        """What Twisted says of each connection to the provider is no news for the operator."""
        for level, count in (("info", 0), ("debug", 1)):
            sink, log = self.observe(level=level)
            log.info("Starting factory {factory!r}", factory=self)
            self.assertEqual(sink.text.count('"level":"debug"'), count)

    def test_readable(self) -> None:
        """For a person: time, level, sentence, fields."""
        sink = Kept()
        LineObserver(sink, readable=True)(
            {"log_time": NOON, "log_format": "up", "port": 443, "why": 1, "text": "a b"}
        )
        self.assertEqual(sink.text, "12:00:00.000 info     up port=443 text='a b'\n")

    @given(st.text())
    def test_nothing_that_a_terminal_obeys(self, text: str) -> None:
        """No stranger moves the cursor of who watches: no control character gets through."""
        sink = Kept()
        LineObserver(sink, readable=True)({"log_format": "{x}", "x": text, text or "y": text})
        self.assertEqual(sink.text.count("\n"), 1)
        self.assertTrue(sink.text[:-1].isprintable())

    def test_colours(self) -> None:
        """On a terminal the level stands out."""
        sink = Kept()
        LineObserver(sink, readable=True, colour=True)({"log_time": NOON, "log_format": "up"})
        self.assertEqual(sink.text, "12:00:00.000 \x1b[36minfo    \x1b[0m up\n")


class AccessLogTests(SynchronousTestCase):
    """AccessLog writes one line for each request, in batches."""

    def setUp(self) -> None:
        """Open one."""
        self.sink = Kept()
        self.clock = Clock()
        self.observer = LineObserver(self.sink)
        self.log = self.observer.access_log(self.clock)

    def test_one_request_one_line(self) -> None:
        """Every field has its name, whatever its value."""
        self.log.record(entry())
        self.log.flush()
        self.assertEqual(
            self.sink.lines,
            [
                {
                    "level": "info",
                    "time": "2026-11-23T12:00:00.250Z",
                    "message": "http-request",
                    "request_id": "r-1",
                    "route": "a1",
                    "host": "app.example.com",
                    "method": "GET",
                    "path": "/x/y",
                    "status": 200,
                    "sent": 12,
                    "received": 0,
                    "duration_ms": 3.141,
                    "decision_ms": 0.02,
                    "upstream_ms": 2.5,
                    "user": "alice@example.com",
                    "decision": "allow",
                    "reasons": ["email-ok"],
                    "client": "192.0.2.7",
                    "error": "",
                }
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_wait_a_moment_for_each_other(self) -> None:
        """Many requests share one write."""
        for _ in range(3):
            self.log.record(entry())
        self.assertEqual(self.sink.writes, [])
        self.clock.advance(EVERY)
        self.assertEqual((len(self.sink.writes), len(self.sink.lines)), (1, 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_batch_does_not_wait(self) -> None:
        """A batch is written as soon as it is large."""
        while not self.sink.writes:
            self.log.record(entry())
        self.assertTrue(BATCH <= len(self.sink.writes[0]) < BATCH + 1000)

    def test_an_event_keeps_its_place(self) -> None:
        """Events and requests stand in the order in which they happened."""
        self.log.record(entry())
        self.observer({"log_format": "after"})
        self.assertEqual([line["message"] for line in self.sink.lines], ["http-request", "after"])

    def test_a_blocked_sink_is_tried_again(self) -> None:
        """When the sink stands still, requests go on and their lines come later."""
        self.sink.blocked = True
        for _ in range(1000):
            self.log.record(entry())
        self.clock.advance(EVERY)
        self.sink.blocked = False
        self.clock.advance(AGAIN)
        self.assertEqual(len(self.sink.lines), 1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_sink_that_is_full_is_tried_again_soon(self) -> None:
        """A pipe is full after each batch, and empty a moment later: nothing is dropped."""
        self.sink.blocked = True
        count = 0
        while self.log._lines.size < BATCH:
            self.log.record(entry())
            count += 1
        self.sink.blocked = False
        self.clock.advance(AGAIN)
        self.assertEqual(len(self.sink.lines), count)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_of_another_process(self) -> None:
        """They are written at once, in one piece, and again soon where the sink was full."""
        self.log.relay(b'{"a":1}\n{"a":2}\n')
        self.assertEqual(len(self.sink.writes), 1)
        self.sink.blocked = True
        self.log.relay(b'{"a":3}\n')
        self.log.relay(b'{"a":4}\n')
        self.sink.blocked = False
        self.clock.advance(AGAIN)
        self.assertEqual([line["a"] for line in self.sink.lines], [1, 2, 3, 4])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_dropped_lines_are_reported_once(self) -> None:
        """The operator learns how many are missing."""
        self.sink.blocked = True
        for _ in range(4000):
            self.log.record(entry())
        self.sink.blocked = False
        self.clock.advance(EVERY)
        told = [line for line in self.sink.lines if "dropped" in line]
        self.assertEqual(len(told), 1)
        self.assertEqual(told[0]["level"], "warn")
        self.assertEqual(len(self.sink.lines) - 1 + told[0]["dropped"], 4000)

    def test_strange_bytes(self) -> None:
        """A path or a name from a stranger stays one line, and JSON."""
        self.log.record(entry(path=b"/\x00\xff\r\n\x1b", user="a\nb\u2028"))
        self.log.flush()
        self.assertEqual(self.sink.lines[0]["path"], "/\x00\xff\r\n\x1b")

    def test_what_cannot_be_encoded_is_said(self) -> None:
        """A surrogate in a user's name neither raises nor passes silently."""
        self.log.record(entry(user="\udcff"))
        self.log.flush()
        self.assertEqual(
            self.sink.lines,
            [
                {
                    "level": "error",
                    "message": "an access line could not be encoded",
                    "request_id": "'r-1'",
                    "error": "TypeError",
                }
            ],
        )

    def test_another_level(self) -> None:
        """A level that changes holds at once, for events and for access lines."""
        seen = []
        for level in ("error", "info", "warn"):
            self.observer.set_level(level)
            self.observer({"log_level": LogLevel.warn, "log_format": "w", "log_time": NOON})
            self.log.record(entry())
            self.log.flush()
            seen.append([line["message"] for line in self.sink.lines])
            self.sink.writes.clear()
        self.assertEqual(seen, [[], ["w", "http-request"], ["w"]])

    def test_not_below_its_level(self) -> None:
        """log_level: warn wants no line for each request."""
        log = LineObserver(self.sink, level="warn").access_log(self.clock)
        log.record(entry())
        log.flush()
        self.assertEqual((self.sink.text, self.clock.getDelayedCalls()), ("", []))

    def test_readable(self) -> None:
        """On a terminal a request is one short line."""
        log = LineObserver(self.sink, readable=True).access_log(self.clock)
        log.record(entry())
        log.flush()
        self.assertEqual(
            self.sink.text,
            "12:00:00.250 info     200 GET app.example.com/x/y 3.1 ms"
            " user=alice@example.com decision=allow reasons=email-ok request_id=r-1\n",
        )


class ObserverForTests(SynchronousTestCase):
    """observer_for() opens what twistd's options ask for."""

    def setUp(self) -> None:
        """Work in a directory of this test's own."""
        directory = self.enterContext(tempfile.TemporaryDirectory())
        self.path = Path(directory) / "log"
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def test_logfile(self) -> None:
        """--logfile takes the lines, and SIGUSR1 rotates it."""
        observer = observer_for({"logfile": str(self.path), "nodaemon": True})
        observer({"log_format": "one"})
        os.kill(os.getpid(), signal.SIGUSR1)
        observer({"log_format": "two"})
        observer.close()
        self.assertIn(b'"one"', self.path.with_name("log.1").read_bytes())
        self.assertIn(b'"two"', self.path.read_bytes())

    def test_a_signal_in_use_is_left_alone(self) -> None:
        """Whoever took SIGUSR1 before keeps it."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        observer_for({"logfile": str(self.path)}).close()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

    def test_a_daemon_writes_a_file(self) -> None:
        """Without --logfile a daemon logs to twistd.log where it was started."""
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.path.parent)
        observer = observer_for({"logfile": "", "nodaemon": False})
        os.chdir(here)
        observer({"log_format": "x"})
        observer.close()
        self.assertIn(b'"x"', (self.path.parent / "twistd.log").read_bytes())

    def test_a_daemon_has_no_standard_output(self) -> None:
        """It is told so in twistd's words."""
        with self.assertRaises(SystemExit) as caught:
            observer_for({"logfile": "-", "nodaemon": False})
        self.assertEqual(str(caught.exception), "Daemons cannot log to stdout, exiting!")

    def test_a_file_that_cannot_be_opened(self) -> None:
        """The error names the path."""
        path = self.path / "not" / "there"
        with self.assertRaises(FileNotFoundError) as caught:
            observer_for({"logfile": str(path)})
        self.assertEqual(caught.exception.filename, str(path))
