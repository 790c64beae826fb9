"""``python -m pomeriumd.cli``: the same as ``pomeriumd``."""

from pomeriumd.cli.main import main

main()
