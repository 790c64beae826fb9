"""``pomeriumd secrets``: new ones, and the steps by which one takes the place of another."""
