"""
One harness under atheris: ``python -m tests.fuzz.engine NAME [libFuzzer's own options]``.

The only file that needs atheris; ``__main__`` starts it, once for each harness, since
libFuzzer ends its process.
"""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.every import load

INSTRUMENTED = ["pomeriumd", "jwt", "idna"]
"""Packages whose branches and comparisons steer the search: ours, and what is Python in the
way of the octets. Twisted is left out: it would only say where a transport in memory was."""


def main() -> None:
    """Search until libFuzzer's options say that it is enough."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        harness = load(name)
    atheris.Setup([sys.argv[0], *options, f"-max_len={harness.longest}"], harness.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
