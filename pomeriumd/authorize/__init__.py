"""Decisions for proxies elsewhere, by the policies of this process."""
