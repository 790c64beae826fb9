"""Sockets, TLS, connections and exchanges: the edge that does input and output."""
