"""
The real daemon under load: what starts it, what it stands between, and what pulls at it.

Each part that moves bytes is a program of its own (``python -m tests.support.load.NAME``):
a client that shared an interpreter with the upstream, or with the probe that measures,
would measure itself.
"""
