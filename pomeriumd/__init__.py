"""pomeriumd: an identity-aware access proxy for machines you run yourself."""

__version__ = "0.1.0"
