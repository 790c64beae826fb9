"""
Fuzzes: ``python -m tests.fuzz --seconds 60 [NAME ...]``; ``make fuzz`` calls it.

``python -m tests.fuzz --replay NAME FILE`` runs one input again, without atheris.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs

from tests.fuzz.every import NAMES, load
from tests.fuzz.harness import FINDINGS

BUILD = Path("build/fuzz")
"""Corpora, dictionaries, logs and findings; git does not see it."""

ATHERIS = BUILD / "atheris"
"""Where ``make fuzz`` has put it."""

UNIT_SECONDS = 60
"""Of one input, by the wall's clock, after which libFuzzer calls it a finding. An input takes a
millisecond: even on a machine that is busy with everything else this is no small number of
them, but something that is out of all proportion to its size."""

MEGABYTES = 1_024
"""Of the process, above which libFuzzer calls it a finding; it takes a tenth of that."""

TAIL = 40
"""Lines of a log that are shown."""


@attrs.frozen
class Outcome:
    """What came of one harness."""

    executions: int
    coverage: int
    corpus: int
    finding: str
    """The file, or "" if there is none."""
    failed: bool


def main() -> None:
    """Run what was asked for; end with an error at the first finding."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--seconds", type=int, default=60, help="for each harness")
    asked.add_argument("--replay", nargs=2, metavar=("NAME", "FILE"))
    asked.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    given = asked.parse_args()
    if given.replay:
        name, file = given.replay
        load(name).check(Path(file).read_bytes())
        sys.stdout.write(f"{name} holds for {file}\n")
        return
    for name in given.names or NAMES:
        outcome = search(name, given.seconds)
        _tell(name, given.seconds, outcome)
        if outcome.failed:
            raise SystemExit(1)


def search(name: str, seconds: int) -> Outcome:
    """Run one harness under atheris; its corpus grows from one run to the next."""
    harness, place = load(name), BUILD / name
    harness.plant(place / "corpus")
    (place / "dictionary").write_text(harness.dictionary())
    log = place / "log"
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={UNIT_SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-dict={place / 'dictionary'}",
        f"-artifact_prefix={place}/",
        "-print_final_stats=1",
        str(place / "corpus"),
    ]
    path = os.pathsep.join(filter(None, (str(ATHERIS), os.environ.get("PYTHONPATH"))))
    with log.open("wb") as out:
        run = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.engine", name, *options],
            check=False,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return read(log.read_text("utf-8", "replace"), failed=run.returncode != 0)


def read(log: str, *, failed: bool) -> Outcome:
    """Read what libFuzzer says of a run."""
    executions = re.findall(r"^stat::number_of_executed_units: +(\d+)", log, re.MULTILINE)
    progress = re.findall(r"^#\d+\s.*cov: (\d+) .*corp: (\d+)/", log, re.MULTILINE)
    finding = re.findall(r"Test unit written to (\S+)", log)
    coverage, corpus = progress[-1] if progress else ("0", "0")
    return Outcome(
        executions=int(executions[-1]) if executions else 0,
        coverage=int(coverage),
        corpus=int(corpus),
        finding=finding[-1] if finding else "",
        # Without a count it has not run, whatever it says.
        failed=failed or bool(finding) or not executions,
    )


def _tell(name: str, seconds: int, outcome: Outcome) -> None:
    """Print the one line of a harness; of a failed one also why, and what to do."""
    result = "FAILED" if outcome.failed else "clean"
    sys.stdout.write(
        f"{name:14} {seconds:5d} s {outcome.executions:9d} executions"
        f"   coverage {outcome.coverage:5d}   corpus {outcome.corpus:4d}   {result}\n"
    )
    sys.stdout.flush()
    if not outcome.failed:
        return
    lines = (BUILD / name / "log").read_text("utf-8", "replace").splitlines()
    start = next((n for n, line in enumerate(lines) if "Uncaught Python" in line), -TAIL)
    shown = (line[:500] for line in lines[start:][:TAIL])
    sys.stdout.write("\n".join(["", *shown, "", f"All of it: {BUILD / name / 'log'}", ""]))
    if outcome.finding:
        python = os.path.relpath(sys.executable)
        sys.stdout.write(
            f"Again, without atheris:  {python} -m tests.fuzz --replay {name} {outcome.finding}\n"
            f"Mended, it is kept as:   {os.path.relpath(FINDINGS)}/{name}/WHAT-IT-IS\n"
        )


if __name__ == "__main__":
    main()
