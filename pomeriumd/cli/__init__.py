"""The command line: check, status, reload, verify, demo."""
