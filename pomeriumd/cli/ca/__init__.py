"""``pomeriumd ca``: a small internal authority, and certificates for roles."""
