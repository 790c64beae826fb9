"""``pomeriumd tls``: which certificates there are, who trusts them, and what is missing."""
