"""What the settings of automatic certificates must be together, and with the rest."""

from __future__ import annotations

from collections.abc import Iterator

from pomeriumd.errors import Problem
from pomeriumd.settings.draft import Draft, Rule, rule, whole_pair
from pomeriumd.settings.fields import shown
from pomeriumd.settings.roles import AUTHORIZE

_rules: list[Rule] = []

WAY = ("autocert", "autocert_challenge", "autocert_dns_hook")


def _challenge(draft: Draft) -> str:
    usual = "tls-alpn-01" if draft.values["autocert_dns_hook"] is None else "dns-01"
    return draft.values["autocert_challenge"] or usual


@rule(_rules, *WAY)
def _hook_for_dns(draft: Draft) -> Iterator[Problem]:
    hook, challenge = draft.values["autocert_dns_hook"], _challenge(draft)
    if challenge == "dns-01" and hook is None:
        yield draft.at("autocert_dns_hook", "missing; dns-01 needs a program that makes records")
    if challenge != "dns-01" and hook is not None:
        yield draft.at(
            "autocert_dns_hook", f"means nothing: names are proved by {challenge}; want one of them"
        )


@rule(_rules, *WAY, "autocert_names")
def _wildcards_by_dns(draft: Draft) -> Iterator[Problem]:
    if _challenge(draft) == "dns-01":
        return
    for name in draft.values["autocert_names"]:
        if name.startswith("*."):
            yield draft.at(
                "autocert_names",
                f"{shown(name)} needs dns-01, which alone proves a wildcard; set autocert_dns_hook",
            )


@rule(_rules, "autocert_ca", "autocert_use_staging")
def _one_authority(draft: Draft) -> Iterator[Problem]:
    if draft.values["autocert_ca"] is not None and draft.values["autocert_use_staging"]:
        yield draft.at("autocert_use_staging", "with it autocert_ca is not asked; want one of them")


whole_pair(_rules, "autocert_eab_key_id", "autocert_eab_mac_key")


@rule(_rules, "autocert", "insecure_server", "services")
def _tls_to_show_them(draft: Draft) -> Iterator[Problem]:
    if not draft.values["autocert"]:
        return
    if draft.values["insecure_server"]:
        yield draft.at("autocert", "with insecure_server no certificate is shown; want one of them")
    if draft.values["services"] == (AUTHORIZE,):
        yield draft.at(
            "autocert",
            "authorize has no hosts of its own to order for; give it a certificate in "
            "'certificates', for instance of an authority of your own",
        )


@rule(_rules, *WAY, "http_redirect_addr")
def _port_80_for_http(draft: Draft) -> Iterator[Problem]:
    if not draft.values["autocert"] or _challenge(draft) != "http-01":
        return
    if draft.values["http_redirect_addr"] is None:
        yield draft.at(
            "autocert_challenge", "http-01 needs http_redirect_addr, where it is answered: ':80'"
        )


AUTOCERT_RULES = tuple(_rules)
