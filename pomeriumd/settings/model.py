"""
All settings of a running pomeriumd, as one frozen value.

Everything here is parsed, checked and complete: durations are seconds, PEM and base64 are
decoded, files are read. An attribute has the name of its key in the file (``from`` is
``from_``), and its annotation carries how it is read and what the manual says.
"""

from __future__ import annotations

import attrs

from pomeriumd.errors import Problem
from pomeriumd.settings.cluster import ClusterSettings
from pomeriumd.settings.kinds import Network
from pomeriumd.settings.parts.authorize import Authorizing
from pomeriumd.settings.parts.autocert import Automatic
from pomeriumd.settings.parts.certificates import Certified
from pomeriumd.settings.parts.downstream import Downstream, DownstreamMTLS, asked_of
from pomeriumd.settings.parts.limits import Limited
from pomeriumd.settings.parts.listening import Listening
from pomeriumd.settings.parts.redirecting import Redirecting
from pomeriumd.settings.parts.routing import RESPONSE_HEADERS, Routing
from pomeriumd.settings.parts.running import Running
from pomeriumd.settings.parts.secrets import Keyed
from pomeriumd.settings.parts.sessions import Sessions
from pomeriumd.settings.parts.sign_in import SigningIn
from pomeriumd.settings.roles import ALL, AUTHORIZE, PROXY, ROLES
from pomeriumd.settings.route import RouteSettings
from pomeriumd.settings.values import Address, CertificatePair, Origin, Secret, UpstreamURL

__all__ = [
    "RESPONSE_HEADERS",
    "Address",
    "CertificatePair",
    "ClusterSettings",
    "DownstreamMTLS",
    "Network",
    "Origin",
    "RouteSettings",
    "Secret",
    "Settings",
    "UpstreamURL",
]


@attrs.frozen(kw_only=True, slots=False)
class Settings(  # attrs puts the fields of the last one first, and so does the manual
    Running,
    Limited,
    Routing,
    Authorizing,
    SigningIn,
    Sessions,
    Keyed,
    Downstream,
    Automatic,
    Certified,
    Redirecting,
    Listening,
):
    """One set of settings; the beginning of a generation."""

    warnings: tuple[Problem, ...] = attrs.field(default=(), eq=False)
    """What was not taken as it stands, and what was done instead; for the log."""
    left_out: tuple[Problem, ...] = attrs.field(default=(), eq=False)
    """Certificates that no setting names by itself and that cannot be used; for the log."""

    def runs(self, role: str) -> bool:
        """Return whether this process has a role: one of ``roles.ROLES``."""
        return role in self.services

    @property
    def decides_here(self) -> bool:
        """Return whether the proxy of this process asks the policy itself, and not over gRPC."""
        return self.runs(PROXY) and self.runs(AUTHORIZE)

    @property
    def service(self) -> str:
        """Return the roles in one word, for metrics: ``all``, ``proxy``, ``proxy,authorize``."""
        return ALL if self.services == ROLES else ",".join(self.services)

    @property
    def https(self) -> bool:
        """Return whether there is TLS at ``address``; only authorize may lack certificates."""
        health_only = self.services == (AUTHORIZE,) and not self.certificates
        return not (self.insecure_server or health_only)

    @property
    def grpc_tls(self) -> bool:
        """
        Return whether there is TLS at ``grpc_address``, if anything listens there.

        Certificates of ``autocert`` do not count: they come and go while it listens, and are for
        what browsers see.
        """
        return not self.grpc_insecure and not all(pair.automatic for pair in self.certificates)

    @property
    def autocert_place(self) -> str:
        """Return the directory where certificates are kept that we ordered."""
        return self.autocert_dir or f"{self.state_dir}/autocert"

    def asked_at(self, route: RouteSettings) -> str:
        """Return what a route asks of clients: ``require``, ``request`` or ``none``."""
        return asked_of(
            route.tls_downstream_client_certificate,
            route.tls_downstream_client_ca,
            route.allowed_client_certificates,
            self.downstream_mtls,
        )

    @property
    def all_routes(self) -> tuple[RouteSettings, ...]:
        """Return the routes of the process, then those of its clusters."""
        return (*self.routes, *(route for cluster in self.clusters for route in cluster.routes))
