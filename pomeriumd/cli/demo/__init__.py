"""``pomeriumd demo``: a proxy, a provider and an application on this machine, to play with."""
