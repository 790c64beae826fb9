"""The command line: check, verify, demo."""
