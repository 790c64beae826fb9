"""What the openssl program finds out about a TLS server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs


@attrs.frozen
class Openssl:
    """
    The program, as a client.

    Args:
        ca: a file of authorities that it trusts.
        port: of the server, on loopback.
    """

    ca: Path
    port: int

    def s_client(self, host: str, *more: str, stdin: bytes = b"") -> str:
        """Return what it says of a handshake with this host."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", host,
             "-CAfile", str(self.ca), *more],
            input=stdin, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def asks(self, host: str, *more: str) -> str:
        """Return the same, where it asks for a page and waits for the end."""
        request = f"GET /ping HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        return self.s_client(host, "-ign_eof", *more, stdin=request.encode("ascii"))

    def staple(self, host: str, *more: str) -> str:
        """Return the status in the answer that is stapled, ``good``; empty if none is."""
        said = self.s_client(host, "-status", *more)
        if "OCSP Response Status: successful" not in said:
            assert "OCSP response: no response sent" in said, said
            return ""
        return said.partition("Cert Status: ")[2].splitlines()[0]
