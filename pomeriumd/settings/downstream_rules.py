"""What settings of client certificates must be together, and with the rest."""

from __future__ import annotations

from collections.abc import Iterator

from pomeriumd.errors import Problem
from pomeriumd.settings.draft import Draft, Rule, rule
from pomeriumd.settings.parts.downstream import NONE, REJECT, REQUIRE, DownstreamMTLS, asked_of
from pomeriumd.settings.placeholders import Placeholder, parts
from pomeriumd.settings.roles import PROXY

_route_rules: list[Rule] = []
_rules: list[Rule] = []

SWITCH = "tls_downstream_client_certificate"
OWN_CA = "tls_downstream_client_ca"
ALLOWED = "allowed_client_certificates"
ROUTE = (SWITCH, OWN_CA, ALLOWED)

OLDER = (("client_ca", "ca"), ("client_crl", "crl"))


@rule(_route_rules, SWITCH, ALLOWED)
def _a_list_requires(draft: Draft) -> Iterator[Problem]:
    switch = draft.values[SWITCH]
    if draft.values[ALLOWED] and switch not in (None, REQUIRE):
        yield draft.at(SWITCH, f"nobody is on {ALLOWED} without one; want {REQUIRE}, got {switch}")


@rule(_rules, "mtls_draft")
def _one_name(draft: Draft) -> Iterator[Problem]:
    for old, name in OLDER:
        if _given(draft, old) and draft.given("downstream_mtls"):
            yield draft.at(
                old, f"downstream_mtls is there too; want this as {name} in it, or not at all"
            )


def _given(draft: Draft, key: str) -> bool:
    return draft.values.get(key) is not None


@rule(_rules, "services", "downstream_mtls", "mtls_draft", "drafts")
def _somebody_is_trusted(draft: Draft) -> Iterator[Problem]:
    mtls: DownstreamMTLS | None = draft.values["downstream_mtls"]
    if PROXY not in draft.values["services"]:
        return
    routes = [route for route in draft.values["drafts"] if route.values.keys() >= set(ROUTE)]
    missing = "missing; without it no client certificate is trusted"
    own = any(route.values[OWN_CA] for route in routes)
    if mtls is not None and mtls.ca is None and (not own or mtls.enforcement == REJECT):
        older = draft.given("client_crl") and not draft.given("downstream_mtls")
        yield (
            draft.at("client_ca", missing)
            if older
            else draft.values["mtls_draft"].at("ca", missing)
        )
        return
    for route in routes:
        if route.values[OWN_CA] is None and (mtls is None or mtls.ca is None):
            for key in (SWITCH, ALLOWED):
                if route.values[key] and route.values[key] != NONE:
                    yield route.at(
                        key,
                        f"no client certificate is trusted here; want {OWN_CA} or"
                        " ca in downstream_mtls too",
                    )


@rule(_rules, "insecure_server", "services", "downstream_mtls", "drafts")
def _certificates_need_tls(draft: Draft) -> Iterator[Problem]:
    if not draft.values["insecure_server"] or PROXY not in draft.values["services"]:
        return
    text = "means nothing with insecure_server: whoever ends TLS in front sees the certificate"
    if draft.values["downstream_mtls"] is not None:
        keys = ("downstream_mtls", "client_ca", "client_crl")
        yield draft.at(next(filter(draft.given, keys)), text)
    for route in draft.values["drafts"]:
        for key in ROUTE:
            if route.values.get(key) and route.values[key] != NONE:
                yield route.at(key, text)


@rule(_rules, "services", "downstream_mtls", "drafts")
def _all_or_some(draft: Draft) -> Iterator[Problem]:
    mtls: DownstreamMTLS | None = draft.values["downstream_mtls"]
    if mtls is None or mtls.enforcement != REJECT:
        return
    for route in draft.values["drafts"]:
        if route.values.get(SWITCH) not in (None, REQUIRE):
            yield route.at(
                SWITCH,
                "every connection has to show one, since enforcement is reject_connection; take "
                "the line out, or want policy_with_default_deny",
            )


@rule(_rules, "services", "downstream_mtls", "drafts")
def _facts_are_asked_for(draft: Draft) -> Iterator[Problem]:
    mtls: DownstreamMTLS | None = draft.values["downstream_mtls"]
    for route in draft.values["drafts"]:
        if not {*ROUTE, "set_request_headers"} <= route.values.keys():
            continue
        asked = asked_of(route.values[SWITCH], route.values[OWN_CA], route.values[ALLOWED], mtls)
        for name, value in route.values["set_request_headers"]:
            if asked == NONE and any(isinstance(part, Placeholder) for part in parts(value)):
                yield route.at(
                    "set_request_headers",
                    f"{name} tells of the client's certificate, and this route asks for none; "
                    f"want {SWITCH}: request, or require",
                )


DOWNSTREAM_ROUTE_RULES = tuple(_route_rules)
DOWNSTREAM_RULES = tuple(_rules)
