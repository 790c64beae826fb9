"""A real reader of settings, started by a real reactor."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.settings_files import SHARED_SECRET, minimal, route, yaml

PROGRAM = """
import json, os, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from pomeriumd.daemon import frames
from pomeriumd.daemon.reading import Reading

async def main():
    reading, present, found = Reading(reactor, os.environ), None, []
    for path in sys.argv[1:]:
        read = await reading.read(path, present)
        found.append(json.loads(read.document()))
        if read.descriptor >= 0:
            present = read.descriptor
            found[-1]["hosts"] = [r.from_.host for r in frames.read(present).settings.routes]
    print(json.dumps(found))

Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback()).addBoth(
    lambda _: reactor.stop()
)
reactor.run()
"""


class ReaderTests(SynchronousTestCase):
    """The reader and its parent fit each other."""

    def test_one_after_the_other(self) -> None:
        """Good settings, the same again, new ones and broken ones: each is told as it is."""
        first = minimal(shared_secret=SHARED_SECRET, policy=[route()])
        second = {**first, "policy": [route(), route(**{"from": "https://b.example.com"})]}
        with tempfile.TemporaryDirectory() as name:
            paths = [str(Path(name) / f"{number}.yaml") for number in range(4)]
            for path, text in zip(
                paths, (yaml(first), yaml(first), yaml(second), "a: ["), strict=True
            ):
                Path(path).write_text(text)
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM, *paths],
                check=True,
                capture_output=True,
                text=True,
                timeout=120,
            )
        self.assertEqual(run.stderr, "")
        found: list[dict[str, Any]] = json.loads(run.stdout)
        self.assertEqual(
            [one["outcome"] for one in found], ["good", "same", "good", "refused"], found
        )
        self.assertEqual(found[0]["hosts"], ["wiki.example.com"])
        self.assertEqual(found[2]["hosts"], ["wiki.example.com", "b.example.com"])
        self.assertEqual(found[2]["changes"], ["route https://b.example.com added"])
        self.assertIn(f"{paths[3]}: 1 problem in the settings:", found[3]["problems"])
        self.assertEqual([list(one["files"]) for one in found], [[path] for path in paths])
