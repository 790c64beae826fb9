"""
Keys of Pomerium, v0.4 to v0.33, that are not here: refused by name, never ignored.

A key that is ignored is a setting that somebody relies on and that does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pomeriumd.settings.keys import (
    CLUSTER_KEYS,
    GLOBAL_KEYS,
    MTLS_KEYS,
    ROUTE_KEYS,
    spellings,
)
from pomeriumd.settings.node import shown_key

NEAR = 0.5
"""How alike a name must be to be proposed, of 1; half does for a wrong letter in ``to``."""

_SESSIONS = "nothing is needed in its place: sessions are in cookies"
_TRACING = "tracing is not there yet"
_GROUPS = "groups come from the provider's 'groups' claim"

GLOBAL_GONE = {
    "administrators": "gone since 0.13; there is no impersonation",
    "audit_key": "gone since 0.29; nothing took its place",
    "authenticate_internal_url": "gone since 0.4; use authenticate_service_url",
    "cache_service_url": f"gone since 0.11; {_SESSIONS}",
    "cache_store": f"gone since 0.10; {_SESSIONS}",
    "cache_store_address": f"gone since 0.10; {_SESSIONS}",
    "cache_store_password": f"gone since 0.10; {_SESSIONS}",
    "cache_store_path": f"gone since 0.10; {_SESSIONS}",
    "cookie_refresh": "gone since 0.6; use session_recheck",
    "databroker_storage_ca_file": f"gone since 0.28; {_SESSIONS}",
    "databroker_storage_cert_file": f"gone since 0.28; {_SESSIONS}",
    "databroker_storage_key_file": f"gone since 0.28; {_SESSIONS}",
    "databroker_storage_tls_skip_verify": f"gone since 0.28; {_SESSIONS}",
    "enable_user_impersonation": "gone since 0.13; there is no impersonation",
    "forward_auth_url": "gone since 0.21; let routes lead through this proxy",
    "idp_qps": f"gone since 0.20; {_GROUPS}",
    "idp_refresh_directory_interval": f"gone since 0.20; {_GROUPS}",
    "idp_refresh_directory_timeout": f"gone since 0.20; {_GROUPS}",
    "idp_service_account": f"gone since 0.20; {_GROUPS}",
    "policy_file": "gone since 0.5; put the routes in 'policy'",
    "refresh_cooldown": "gone since 0.16; use session_recheck",
    "signing_key_algorithm": "gone since 0.16; the signing key is EC P-256",
    "tracing_datadog_address": f"gone since 0.29; {_TRACING}",
    "tracing_debug": f"gone since 0.9; {_TRACING}",
    "tracing_jaeger_agent_endpoint": f"gone since 0.29; {_TRACING}",
    "tracing_jaeger_collector_endpoint": f"gone since 0.29; {_TRACING}",
    "tracing_provider": f"gone since 0.29; {_TRACING}",
    "tracing_sample_rate": f"gone since 0.29; {_TRACING}",
    "tracing_zipkin_endpoint": f"gone since 0.29; {_TRACING}",
}
"""Global keys that Pomerium itself has given up."""

_HINTS: dict[str, str] = {
    "authorize_internal_service_url": "use authorize_service_url",
    "metrics_basic_auth": "keep metrics_address on loopback",
    "metrics_certificate": "keep metrics_address on loopback",
    "metrics_client_ca": "keep metrics_address on loopback",
    "proxy_log_level": "log_level is for all",
    "set_response_headers": "see headers",
    "xff_num_trusted_hops": "see trusted_proxies",
    "skip_xff_append": "see trusted_proxies",
}

GLOBAL_NOT_YET = frozenset(
    """
    access_log_fields allow_upgrades authenticate_internal_service_url
    authorize_internal_service_url authorize_log_fields bearer_token_format
    blob_storage circuit_breaker_thresholds codec_type databroker_cluster_leader_id
    databroker_cluster_node_id databroker_cluster_nodes databroker_internal_service_url
    databroker_raft_bind_address databroker_service_url databroker_service_urls
    databroker_storage_connection_string databroker_storage_connection_string_file
    databroker_storage_type debug_address dns_failure_refresh_rate dns_lookup_family
    dns_query_timeout dns_query_tries dns_refresh_rate dns_resolvers dns_udp_max_queries
    dns_use_tcp envoy_admin_access_log_path envoy_admin_address
    envoy_admin_profile_path envoy_bind_config_freebind envoy_bind_config_source_address
    google_cloud_serverless_authentication_service_account headers_with_underscores_action
    health_check_addr health_check_systemd_disabled identity_providers
    idp_access_token_allowed_audiences installation_id jwt_claims_headers jwt_groups_filter
    jwt_issuer_format mcp_allowed_as_metadata_domains mcp_allowed_client_id_domains
    merge_slashes metrics_basic_auth metrics_certificate metrics_certificate_file
    metrics_certificate_key metrics_certificate_key_file metrics_client_ca
    metrics_client_ca_file normalize_path pass_identity_headers path_with_escaped_slashes_action
    programmatic_redirect_domain_whitelist proxy_log_level runtime_flags
    session_recording_concurrency set_response_headers signout_redirect_url skip_xff_append
    ssh_address ssh_host_key_files ssh_host_keys ssh_rls_additional_entries ssh_rls_enabled
    ssh_user_ca_key ssh_user_ca_key_file tls_derive xff_num_trusted_hops
    """.split()  # noqa: SIM905 - a list of names reads best as a text
)
"""Global keys that Pomerium has and we do not; besides these all that begin with ``otel_``."""

ROUTE_GONE = {
    "set_authorization_header": "gone since 0.24; use set_request_headers",
}
"""Route keys that Pomerium itself has given up."""

ROUTE_NOT_YET = frozenset(
    """
    allow_spdy allow_upgrades allowed_idp_claims bearer_token_format circuit_breaker_thresholds
    cors_allow_preflight depends_on description enable_google_cloud_serverless_authentication
    health_checks healthy_panic_threshold host_path_regex_rewrite_pattern
    host_path_regex_rewrite_substitution host_rewrite host_rewrite_header id identity_providers
    idle_timeout idp_access_token_allowed_audiences idp_client_id idp_client_secret
    jwt_groups_filter jwt_issuer_format kubernetes_service_account_token
    kubernetes_service_account_token_file load_balancing_policy logo_url mcp name
    outlier_detection policy prefix_rewrite redirect regex_priority_order regex_rewrite_pattern
    regex_rewrite_substitution remove_request_headers response rewrite_response_headers
    session_recording set_response_headers show_error_details sub_policies
    tls_downstream_server_name upstream_tunnel
    """.split()  # noqa: SIM905 - a list of names reads best as a text
)
"""Route keys that Pomerium has and we do not."""

_ROUTE_HINTS: dict[str, str] = {
    "allow_spdy": "allow_websockets is there",
    "allow_upgrades": "use allow_websockets",
    "policy": "use allowed_users, allowed_groups and allowed_domains",
}


_PROCESS, _ROUTE, _CLUSTER = "the whole process", "a route", "a cluster"
_MTLS = "downstream_mtls"
_PLACES = {
    spellings(GLOBAL_KEYS): _PROCESS,
    spellings(ROUTE_KEYS): _ROUTE,
    spellings(CLUSTER_KEYS): _CLUSTER,
    spellings(MTLS_KEYS): _MTLS,
}
"""The maps of a settings file, by what they hold."""


def why_not(name: str, accepted: frozenset[str]) -> str:
    """
    Return why a key is not taken, and what to do about it.

    Args:
        name: the key as it was written.
        accepted: the keys that are taken in its place; they say what kind of map it is.
    """
    place = _PLACES.get(accepted, _ROUTE)
    route = place == _ROUTE
    gone: Mapping[str, str] = ROUTE_GONE if route else GLOBAL_GONE
    if name in gone:
        return gone[name]
    if name in (ROUTE_NOT_YET if route else GLOBAL_NOT_YET) or _is_tracing(name, route=route):
        hint = (_ROUTE_HINTS if route else _HINTS).get(name, "")
        return f"not yet{'; ' + hint if hint else ''}"
    for other, its_place in _PLACES.items():
        if name in other:
            but = f", not in {place}" if its_place == _PROCESS else ""
            return f"belongs {'to' if its_place == _PROCESS else 'in'} {its_place}{but}"
    near = get_close_matches(name[:64], sorted(accepted), 1, NEAR)
    return f"unknown setting '{shown_key(name)}'{f'; did you mean {near[0]}?' if near else ''}"


def _is_tracing(name: str, *, route: bool) -> bool:
    return not route and name.startswith("otel_")


def environment_names() -> frozenset[str]:
    """
    Return the environment variables that Pomerium knows and we refuse.

    OTEL_* is not among them: it is set for whole machines, by people who do not mean us.
    """
    return frozenset(name.upper() for name in (*GLOBAL_GONE, *GLOBAL_NOT_YET))
