"""Settings for tests, as values: no file, no environment."""

from __future__ import annotations

from typing import Any

from pomeriumd.settings.model import (
    Address,
    Origin,
    RouteSettings,
    Secret,
    Settings,
    UpstreamURL,
)

SHARED = bytes(range(32))
COOKIE = bytes(range(32, 64))
AUTHENTICATE = Origin("https", "auth.example.com", 443)
ISSUER = "https://id.example.com"


def route(host: str = "app.example.com", **more: Any) -> RouteSettings:
    """Return a route from this host to an upstream on 10.0.0.1:8080."""
    given: dict[str, Any] = {
        "place": "policy[0]",
        "from_": Origin("https", host, 443),
        "to": UpstreamURL("http", "10.0.0.1", 8080, ""),
    }
    return RouteSettings(**(given | more))


def make_settings(*routes: RouteSettings, **more: Any) -> Settings:
    """Return settings with these routes."""
    given: dict[str, Any] = {
        "address": Address("127.0.0.1", 8443),
        "insecure_server": True,
        "shared_secret": Secret(SHARED),
        "cookie_secret": Secret(COOKIE),
        "authenticate_service_url": AUTHENTICATE,
        "idp_provider": "oidc",
        "idp_provider_url": ISSUER,
        "idp_client_id": "pomerium",
        "idp_client_secret": Secret(b"provider secret"),
        "routes": routes,
        "state_dir": "/nonexistent",
    }
    return Settings(**(given | more))
