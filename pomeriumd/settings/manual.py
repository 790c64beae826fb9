"""
The manual of all settings, made from the model so that it cannot drift.

``python -m pomeriumd.settings.manual > docs/settings.md`` writes it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import attrs

from pomeriumd.settings.fields import written
from pomeriumd.settings.keys import (
    AUTHORIZE_URL,
    CERTIFICATE,
    CERTIFICATE_KEY,
    CLIENT_CA,
    CLIENT_CRL,
    CLUSTER_KEYS,
    GLOBAL_KEYS,
    MTLS_KEYS,
    POLICY,
    ROUTE_KEYS,
    Key,
)
from pomeriumd.settings.known import GLOBAL_GONE, GLOBAL_NOT_YET, ROUTE_GONE, ROUTE_NOT_YET
from pomeriumd.settings.memory import section
from pomeriumd.settings.reads import ReadsPairs
from pomeriumd.settings.roles import NEEDS, ROLES, needing, spoken

_HEAD = """\
# Settings

<!-- Made by `python -m pomeriumd.settings.manual`; change the model, not this file. -->

One file, YAML (`.yaml`, `.yml`), JSON (`.json`) or TOML (`.toml`), named by `--config`.
`pomeriumd check -c FILE` says everything that is wrong with it, each fault with its place.

- **Environment over file over default.** The variable of `cookie_secret` is `COOKIE_SECRET`. An
  empty variable counts as none. Lists have commas between their items; maps are a JSON object or
  `Key:Value,Key2:Value2`. `POLICY` and `ROUTES` are base64 of a YAML list and replace the file's.
  `certificates`, `clusters` and `downstream_mtls` stand in the file only.
- **`KEY_file`** names a file that holds the value of `KEY`, where the tables say so; a relative
  path counts from the directory of the settings file. A line break at its end does not count.
  A map stands in its file as YAML, or as JSON if the file's name ends in `.json`.
- **Durations** have units: `500ms`, `30s`, `1h30m`.
- **Nothing is ignored.** An unknown key, a key twice, a key without a value, and a key of Pomerium
  that is not there yet are all faults.
"""


_ROLES = """\
## Roles

A process runs the roles that `services` names: a **proxy** takes all traffic, **authenticate**
signs people in, **authorize** decides. One process with all three needs no other; each role may
have processes of its own, on as many hosts as you like. What a role needs has to be there; what it
does not need may be, so that one file can serve on all hosts, with `services` from the environment.
"""


_MTLS = """
## For downstream_mtls

`downstream_mtls` is a map of these; see [client-certificates.md](client-certificates.md).
"""

_BESIDE = {
    "proxy": "",
    "authenticate": """
It can do without routes. Where it has some, it sends people to those only; where it has none, to
whatever a proxy with the same `shared_secret` has signed.
""",
    "authorize": """
Its `routes` are those of the proxies: what it does not know it denies. It has no workers.
""",
}


def _needs() -> Iterator[str]:
    """Yield the keys that each role needs."""
    for role in ROLES:
        yield f"### {role.capitalize()} needs\n"
        for need in NEEDS[role]:
            yield f"- `{need.key}`" + (f", unless {need.unless}" if need.unless else "")
        yield _BESIDE[role]


def manual() -> str:
    """Return the manual as Markdown."""
    parts = [
        _HEAD,
        _ROLES,
        *_needs(),
        "## For the whole process\n",
        *_table(_global_keys(), environment=True),
        "\n## For each route\n\nEach item of `policy` (or `routes`) is a map of these.\n",
        *_table(ROUTE_KEYS.values(), environment=False),
        "\n## For each cluster\n\nEach item of `clusters` is a map of these.\n",
        *_table(CLUSTER_KEYS.values(), environment=False),
        _MTLS,
        *_table(MTLS_KEYS.values(), environment=False),
        f"\n{section()}",
        "## Keys of Pomerium that are not here\n\nThey are refused by name.\n",
        _names("Not yet, for the whole process", GLOBAL_NOT_YET),
        _names("Not yet, in a route", ROUTE_NOT_YET),
        "Gone from Pomerium itself:\n",
        *(f"- `{name}`: {text}" for name, text in sorted({**GLOBAL_GONE, **ROUTE_GONE}.items())),
    ]
    return "\n".join(parts) + "\n"


def _global_keys() -> Iterator[Key]:
    """Return the keys in the model's order, those that feed another one beside it."""
    for key in GLOBAL_KEYS.values():
        if key.name == "certificates":
            yield from (CERTIFICATE, CERTIFICATE_KEY)
        if key.name == "downstream_mtls":
            yield from (CLIENT_CA, CLIENT_CRL)
        if key.name == "authorize_service_urls":
            yield AUTHORIZE_URL
        if key.name == "routes":
            yield POLICY
        if key.attribute:
            yield key


def _names(title: str, names: frozenset[str]) -> str:
    return f"{title}: {', '.join(f'`{name}`' for name in sorted(names))}.\n"


def _table(keys: Any, *, environment: bool) -> Iterator[str]:
    yield "| Key | Takes | Default | Meaning |"
    yield "|---|---|---|---|"
    for key in keys:
        names = f"`{key.name}`"
        if key.file_form:
            names += f"<br>`{key.file_form}`"
        note = ""
        if environment and key.name in ("certificates", "clusters", "downstream_mtls"):
            note = " Not from the environment."
        example = f" For instance `{key.doc.example}`." if key.doc.example else ""
        text = f"{key.doc.text}{example}{note}".replace("|", "\\|")
        yield f"| {names} | {_takes(key)} | {_default(key, environment=environment)} | {text} |"


def _takes(key: Key) -> str:
    if key.name in ("policy", "routes"):
        return "list of routes"
    if key.name == "downstream_mtls":
        return "map"
    if key.marks is None:
        return "list of maps"
    if isinstance(key.marks, ReadsPairs) and not key.many:
        return key.marks.kind
    return f"list: {key.marks.kind}" if key.many else key.marks.kind


def _default(key: Key, *, environment: bool) -> str:
    if key.doc.default:
        text = key.doc.default
        return text if "`" in text or " " in text else f"`{text}`"
    if key.required:
        return "**required**"
    roles = needing(key.name)
    if roles and key.default is None and environment:
        return f"none: needed by {spoken(roles)}"
    return _shown(key.default)


def _shown(default: Any) -> str:
    if default is None or default == () or default is attrs.NOTHING:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{written(default)}`"
    if isinstance(default, tuple):
        return "<br>".join(
            f"`{item[0]}: {item[1]}`" if isinstance(item, tuple) else f"`{item}`"
            for item in default
        )
    return f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(manual())
