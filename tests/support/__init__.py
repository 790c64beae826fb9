"""Doubles and builders that several tests share; each implements a Protocol of the product."""
