"""
What the roles of a process ask of its settings: keys, listeners, and gRPC between them.

Source: shared facts, Pomerium v0.4 to v0.9: defaults of ``grpc_address``, its collision with
``address``, ``grpc_insecure``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from pomeriumd.errors import Problem
from pomeriumd.settings.addresses import is_loopback
from pomeriumd.settings.draft import Draft, Rule, rule, whole_pair
from pomeriumd.settings.fields import shown, written
from pomeriumd.settings.keys import GLOBAL_KEYS
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY, missing, spoken
from pomeriumd.settings.values import Address, Origin

_rules: list[Rule] = []

GRPC_PORT = 443
"""Where authorize listens for proxies, by itself."""

OTHER_PORT = 5443
"""The port of whichever of its two listeners is not to have 443."""


def settle(draft: Draft) -> None:
    """
    Fill in where authorize listens, and move ``address`` out of the way where nobody minds.

    What is moved is said in ``draft.values["warnings"]``. Two addresses that were both written
    are left as they are: a rule refuses them.
    """
    draft.values["warnings"] = ()
    if not {"services", "address", "grpc_address"} <= draft.values.keys():
        return
    services = draft.values["services"]
    if AUTHORIZE not in services:
        draft.values["grpc_address"] = None
        return
    if not draft.given("grpc_address") and PROXY not in services:
        # Browsers expect the sign-in at 443, proxies are told the port.
        port = OTHER_PORT if AUTHENTICATE in services else GRPC_PORT
        draft.values["grpc_address"] = Address("", port)
    address, grpc = draft.values["address"], draft.values["grpc_address"]
    both_written = draft.given("address") and draft.given("grpc_address")
    if services == (AUTHORIZE,) and address.collides(grpc) and not both_written:
        moved = draft.values["address"] = attrs.evolve(address, port=OTHER_PORT)
        warning = draft.at(
            "address",
            f"moved from {address.text} to {moved.text}, as grpc_address has {grpc.text}; it has "
            f"/ping and /healthz only; write 'address: {moved.text}' to say the same",
        )
        draft.values["warnings"] = (warning,)


@rule(_rules, "services")
def _each_role_has_its_keys(draft: Draft) -> Iterator[Problem]:
    given = {key for key in draft.node.entries if draft.filled(key)}
    for name, who in missing(draft.values["services"], given):
        more = ""
        if name == "shared_secret":
            more = ", the same as on all other hosts; it is made by itself for services: all only"
        yield draft.at(name, f"missing; {who}: {GLOBAL_KEYS[name].wanted}{more}")


@rule(
    _rules,
    *("services", "certificates", "insecure_server", "grpc_insecure", "grpc_address", "autocert"),
)
def _tls_or_not(draft: Draft) -> Iterator[Problem]:
    services = draft.values["services"]
    certificates, insecure = draft.values["certificates"], draft.values["insecure_server"]
    grpc = draft.values["grpc_address"]
    plain_grpc = draft.values["grpc_insecure"] or (grpc is not None and is_loopback(grpc.host))
    for_browsers = [role for role in services if role != AUTHORIZE]
    automatic = draft.values["autocert"]
    if not certificates and for_browsers and not (insecure or automatic):
        verb = "needs" if len(for_browsers) == 1 else "need"
        yield draft.at(
            "certificates",
            f"missing; {spoken(for_browsers)} {verb} them: want at least one {{cert, key}}, "
            "'autocert: true' to have them ordered, or 'insecure_server: true' behind a load "
            "balancer that ends TLS",
        )
    elif not certificates and grpc is not None and not plain_grpc:
        yield draft.at(
            "certificates",
            "missing; authorize needs them for gRPC: want at least one {cert, key}, a "
            "grpc_address on loopback, or 'grpc_insecure: true' where nobody else can listen in",
        )
    if certificates and insecure and (grpc is None or draft.values["grpc_insecure"]):
        yield draft.at(
            "insecure_server", "with it the certificates are not used; want one or the other"
        )


@rule(_rules, "services", "address", "grpc_address")
def _grpc_apart(draft: Draft) -> Iterator[Problem]:
    address, grpc = draft.values["address"], draft.values["grpc_address"]
    if grpc is None or not address.collides(grpc):
        return
    free = OTHER_PORT if grpc.port != OTHER_PORT else OTHER_PORT + 1
    # What browsers know stays; authorize alone has nothing for browsers.
    name = "address" if draft.values["services"] == (AUTHORIZE,) else "grpc_address"
    other, taken = ("grpc_address", grpc) if name == "address" else ("address", address)
    yield draft.at(
        name, f"{other} is {taken.text} already; want another port, for instance ':{free}'"
    )


@rule(_rules, "address", "grpc_address", "metrics_address")
def _metrics_apart(draft: Draft) -> Iterator[Problem]:
    metrics = draft.values["metrics_address"]
    for name in ("address", "grpc_address"):
        taken = draft.values[name]
        if metrics is not None and taken is not None and metrics.collides(taken):
            yield draft.at(
                "metrics_address", f"{name} is {taken.text} already; want another port for metrics"
            )


def _asked(draft: Draft) -> Iterator[tuple[Origin, Callable[[str], Problem]]]:
    """Yield the origins that a proxy asks for decisions, and how to say what is wrong there."""
    entries = draft.node.entries
    if "authorize_service_url" in entries:
        yield draft.values["authorize_service_url"], entries["authorize_service_url"].problem
    if "authorize_service_urls" in entries:
        items = entries["authorize_service_urls"].items
        yield from zip(
            draft.values["authorize_service_urls"], (item.problem for item in items), strict=True
        )


ASKS = ("services", "authorize_service_url", "authorize_service_urls")


def _asks(draft: Draft) -> bool:
    """Return whether decisions come over gRPC: with both roles here they never do."""
    return PROXY in draft.values["services"] and AUTHORIZE not in draft.values["services"]


@rule(_rules, *ASKS, "grpc_insecure")
def _plain_grpc_is_permitted(draft: Draft) -> Iterator[Problem]:
    if not _asks(draft):
        return
    permitted = draft.values["grpc_insecure"]
    for origin, problem in _asked(draft):
        if origin.scheme == "http" and not permitted and not is_loopback(origin.host):
            yield problem(
                f"want https://, got {shown(origin.text)}; decisions could be forged on the way. "
                "'grpc_insecure: true' permits it"
            )
        elif origin.scheme == "https" and permitted:
            # Pomerium took TLS off then, whatever the URL says; we would not.
            yield problem(
                f"{shown(origin.text)} is gRPC with TLS, and grpc_insecure is set; want http://, "
                "or grpc_insecure taken out"
            )


CLIENT_TLS = ("certificate_authority", "override_certificate_name", "grpc_client_certificate")


@rule(_rules, *ASKS, *CLIENT_TLS)
def _client_tls_needs_https(draft: Draft) -> Iterator[Problem]:
    schemes = {origin.scheme for origin, _ in _asked(draft)}
    if _asks(draft) and schemes == {"http"}:
        for name in CLIENT_TLS:
            if draft.values[name]:
                yield draft.at(name, "means nothing: authorize is reached over http://")


@rule(_rules, "grpc_address", "grpc_insecure", "certificates", "grpc_client_ca")
def _client_certificates_need_tls(draft: Draft) -> Iterator[Problem]:
    plain = draft.values["grpc_insecure"] or not draft.values["certificates"]
    if draft.values["grpc_client_ca"] and draft.values["grpc_address"] is not None and plain:
        yield draft.at(
            "grpc_client_ca", "nobody would be asked: gRPC is without TLS; want certificates"
        )


whole_pair(_rules, "grpc_client_certificate", "grpc_client_certificate_key")


@rule(_rules, "grpc_attempt_timeout", "grpc_client_timeout")
def _time_for_another_attempt(draft: Draft) -> Iterator[Problem]:
    attempt, whole = draft.values["grpc_attempt_timeout"], draft.values["grpc_client_timeout"]
    if attempt >= whole:
        key = "attempt" if draft.given("grpc_attempt_timeout") else "client"
        yield draft.at(
            f"grpc_{key}_timeout",
            f"want grpc_attempt_timeout ({written(attempt)}) shorter than grpc_client_timeout "
            f"({written(whole)}), so that there is time for another replica",
        )


ROLE_RULES = tuple(_rules)
