"""What clusters must be by themselves, among each other, and beside the roles of the process."""

from __future__ import annotations

from collections.abc import Iterator

from pomeriumd.errors import Problem
from pomeriumd.settings.draft import Draft, Rule, rule
from pomeriumd.settings.keys import ROUTE_LISTS
from pomeriumd.settings.roles import PROXY
from pomeriumd.settings.rules import provider_has_url

_each: list[Rule] = []
_together: list[Rule] = []

rule(_each, "idp_provider", "idp_provider_url")(provider_has_url)


@rule(_together, "services", "cluster_drafts")
def _no_proxy_beside(draft: Draft) -> Iterator[Problem]:
    if draft.filled("clusters") and PROXY in draft.values["services"]:
        yield draft.at(
            "clusters",
            "are for an authorize without a proxy, and a proxy runs here; want 'policy', or "
            "services without proxy",
        )


@rule(_together, "cluster_drafts")
def _routes_are_in_clusters(draft: Draft) -> Iterator[Problem]:
    # Whose people they would let in could only be guessed.
    for name in ROUTE_LISTS:
        if draft.filled("clusters") and draft.filled(name):
            yield draft.at(name, "belongs in one of the clusters, as there are some")


@rule(_together, "cluster_drafts")
def _names_differ(draft: Draft) -> Iterator[Problem]:
    first: dict[str, Draft] = {}
    for cluster in draft.values["cluster_drafts"]:
        name = cluster.values.get("name")
        if name is not None and first.setdefault(name, cluster) is not cluster:
            yield cluster.at("name", f"is that of {first[name].node.path} already; want another")


PROVIDER = ("idp_provider", "idp_provider_url")


@rule(_together, "cluster_drafts")
def _one_provider_behind_one_sign_in(draft: Draft) -> Iterator[Problem]:
    first: dict[object, Draft] = {}
    for cluster in draft.values["cluster_drafts"]:
        if not {"authenticate_service_url", *PROVIDER} <= cluster.values.keys():
            continue
        other = first.setdefault(cluster.values["authenticate_service_url"], cluster)
        if any(cluster.values[name] != other.values[name] for name in PROVIDER):
            yield cluster.at(
                "authenticate_service_url",
                f"is that of {other.node.path} too, which has another provider; one authenticate "
                "has one",
            )


CLUSTER_RULES = tuple(_each)
CLUSTERS_RULES = tuple(_together)
