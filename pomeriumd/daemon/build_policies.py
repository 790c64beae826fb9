"""The policies of a generation as they are told over gRPC: by whom, and from whom."""

from __future__ import annotations

from pomeriumd.authorize.policies import Cluster, Policies
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.oidc.metadata import identity_issuer
from pomeriumd.pieces import Pieces
from pomeriumd.session.standing import SessionLimits
from pomeriumd.settings.model import Settings
from pomeriumd.settings.roles import PROXY, needed

OWN = "its own"
"""The name of the one cluster there is where the settings list none."""


def building_policies(
    settings: Settings, keys: KeyRing, limits: SessionLimits
) -> Pieces[Policies | None]:
    """
    Build what is answered at ``grpc_address``, and what a proxy that asks elsewhere has itself.

    Nobody is let in by the latter: its digest goes with each question, so that a change that
    has come to one of the two only shows in the log.

    Args:
        settings: checked already.
        keys: of the route-session tokens.
        limits: of sessions.

    Returns:
        None where nobody asks and nobody is asked.

    Raises:
        SettingsError: what only building finds.
    """
    if settings.grpc_address is None and (settings.decides_here or not settings.runs(PROXY)):
        return None
    return (yield from Policies.building(_clusters(settings), keys, limits))


def own_issuer(settings: Settings) -> str | None:
    """Return the provider whose identities count here, None to count all, or not to know it."""
    kind = settings.idp_provider
    return None if kind is None else identity_issuer(kind, settings.idp_provider_url)


def _clusters(settings: Settings) -> tuple[Cluster, ...]:
    if not settings.clusters:
        own = Cluster(
            name=OWN,
            authenticate=needed(settings.authenticate_service_url, "authenticate_service_url").text,
            issuer=own_issuer(settings),
            routes=settings.routes,
        )
        return (own,)
    return tuple(
        Cluster(
            name=cluster.name,
            authenticate=cluster.authenticate_service_url.text,
            issuer=identity_issuer(cluster.idp_provider, cluster.idp_provider_url),
            routes=cluster.routes,
        )
        for cluster in settings.clusters
    )
