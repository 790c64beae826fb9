"""The demo as a newcomer starts it: it comes up, answers, and leaves nothing running."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

PATIENCE = 60.0
"""Seconds; a bound for a machine under load, not a promise."""


class DemoTests(SynchronousTestCase):
    """``pomeriumd demo`` from the outside."""

    def setUp(self) -> None:
        """Find a place and a port."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> subprocess.Popen[str]:
        """Start the demo; a setting in our environment must not reach it."""
        demo = subprocess.Popen(
            [
                *(sys.executable, "-m", "pomeriumd.cli", "demo"),
                *("--dir", str(self.place), "--port", str(self.port)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ADDRESS": "127.0.0.1:1", "IDP_PROVIDER": "what"},
        )
        self.enterContext(demo)
        self.addCleanup(demo.kill)
        return demo

    def until(self, demo: subprocess.Popen[str], words: str) -> str:
        """Return what it says, up to a line with these words."""
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if words in line:
                return said
        raise AssertionError(f"it ended without {words!r}:\n{said}")

    def children(self, demo: subprocess.Popen[str]) -> list[int]:
        """Return the process ids of all that it started."""
        said = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text()
        return [int(pid) for pid in said.split()]

    def get(self, host: str, path: str) -> str:
        """Return the head of an answer of the proxy, trusting the demo's authority alone."""
        trust = ssl.create_default_context(cafile=str(self.place / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
            trust.wrap_socket(plain, server_hostname=host) as secure,
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nConnection: close\r\n"
            secure.sendall(f"{request}Accept: text/html\r\n\r\n".encode())
            return secure.recv(65536).decode().partition("\r\n\r\n")[0]

    def test_it_runs_and_ends(self) -> None:
        """It says what it does, serves both routes, and Ctrl-C ends all of it."""
        demo = self.start()
        said = self.until(demo, "Ctrl-C")
        self.assertIn(f"https://verify.pomerium.localhost:{self.port}\n", said)
        for name in ("provider", "application", "proxy"):
            self.assertRegex(said, rf"(?m)^  {name} +answers$")
        private = self.get("verify.pomerium.localhost", "/")
        self.assertTrue(private.startswith("HTTP/1.1 302 "), private)
        public = self.get("public.pomerium.localhost", "/")
        self.assertTrue(public.startswith("HTTP/1.1 200 "), public)

        started = self.children(demo)
        self.assertEqual(len(started), 3)
        watched = select.poll()
        for pid in started:
            descriptor = os.pidfd_open(pid)
            self.addCleanup(os.close, descriptor)
            watched.register(descriptor, select.POLLIN)
        demo.send_signal(signal.SIGINT)
        self.until(demo, "Everything has ended.")
        self.assertEqual(demo.wait(PATIENCE), 0)
        self.assertEqual(len(watched.poll(0)), 3)

    def test_one_that_dies_takes_all_with_it(self) -> None:
        """When one child dies the others end, and its last lines are shown."""
        demo = self.start()
        self.until(demo, "Ctrl-C")
        os.kill(self.children(demo)[0], signal.SIGKILL)
        said = self.until(demo, "(SIGKILL)")
        self.assertTrue(re.search(r"^(provider|application|proxy) ended", said, re.MULTILINE))
        self.assertEqual(demo.wait(PATIENCE), 1)

    def test_a_second_one_beside_it(self) -> None:
        """The port in use is explained, and the one that runs is left alone."""
        first = self.start()
        self.until(first, "Ctrl-C")
        second = self.start()
        said = self.until(second, "pomeriumd demo --port")
        self.assertIn(f"127.0.0.1:{self.port} cannot be had: address already in use.", said)
        self.assertEqual(second.wait(PATIENCE), 1)
        self.assertIn(" 200 ", self.get("public.pomerium.localhost", "/"))

    @pytest.mark.system
    @pytest.mark.needs("curl", "openssl")
    def test_what_it_tells_to_type(self) -> None:
        """The printed curl command works, and openssl agrees about the certificate."""
        demo = self.start()
        said = self.until(demo, "Ctrl-C")
        (line,) = re.findall(r"curl --cacert .*", said)
        ran = subprocess.run(
            [*line.split(), "--silent", "--fail", "--header", "Accept: application/json"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn('"verified": false', ran.stdout)
        ca, leaf = self.place / "ca.pem", self.place / "server.pem"
        name = ("-verify_hostname", "verify.pomerium.localhost")
        ran = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", str(ca), *name, str(leaf)],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(ran.stdout, f"{leaf}: OK\n")
