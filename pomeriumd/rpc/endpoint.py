"""One address of the authorize service."""

from __future__ import annotations

import attrs


@attrs.frozen
class Endpoint:
    """One address of one URL."""

    name: str
    """The URL's host, without brackets: what the certificate has to be for."""
    address: str
    """An IP address without brackets; it may bear a zone."""
    port: int

    @property
    def text(self) -> str:
        """Return address and port as they stand in logs."""
        return _joined(self.address, self.port)

    @property
    def authority(self) -> str:
        """Return name and port, as the ``:authority`` of a call."""
        return _joined(self.name, self.port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
