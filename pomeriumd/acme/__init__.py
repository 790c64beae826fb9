"""Certificates from an authority that speaks ACME: the client, its orders, and what is kept."""
