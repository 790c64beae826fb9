"""
From a tree of found values to frozen settings, with *all* that is wrong.

Pure: nothing is read, resolved or logged. cattrs carries the types: each kind of value has
a structure hook that raises SettingsError with places; what failed is left out of a draft,
and the rules that need it are not asked, so one fault makes one problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

import attrs
import cattrs

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.autocert_rules import AUTOCERT_RULES
from pomeriumd.settings.certificates import MOST_PAIRS, Beside, Examiner, of_entries, told
from pomeriumd.settings.cluster_rules import CLUSTER_RULES, CLUSTERS_RULES
from pomeriumd.settings.coverage import uncovered
from pomeriumd.settings.downstream_rules import DOWNSTREAM_ROUTE_RULES, DOWNSTREAM_RULES
from pomeriumd.settings.draft import Draft, Rule
from pomeriumd.settings.fields import kind_of
from pomeriumd.settings.keys import (
    AUTHORIZE_URL,
    CERTIFICATE,
    CERTIFICATE_KEY,
    CLUSTER_KEYS,
    GLOBAL_KEYS,
    LISTS_OF_MAPS,
    MTLS_KEYS,
    ROUTE_KEYS,
    ROUTE_LISTS,
    Key,
    spellings,
)
from pomeriumd.settings.known import why_not
from pomeriumd.settings.model import (
    CertificatePair,
    ClusterSettings,
    DownstreamMTLS,
    RouteSettings,
    Settings,
)
from pomeriumd.settings.node import Node, Unreadable, place, placed
from pomeriumd.settings.reads import Reads, ReadsPairs, ReadsSome, Unfit
from pomeriumd.settings.redirect_rules import REDIRECT_RULES
from pomeriumd.settings.role_rules import ROLE_RULES, settle
from pomeriumd.settings.rules import GLOBAL_RULES, ROUTE_RULES
from pomeriumd.settings.unverified import unverified

T = TypeVar("T")

MOST_ROUTES = 10_000
"""Routes of one file; also what keeps a mistake from becoming a day's work."""

MOST_ITEMS = 10_000
"""Items of one list, entries of one map."""

GENERAL_RULES = (
    *ROLE_RULES,
    *GLOBAL_RULES,
    *REDIRECT_RULES,
    *AUTOCERT_RULES,
    *CLUSTERS_RULES,
    *DOWNSTREAM_RULES,
)
"""What is checked across the keys of the whole process."""


def check(tree: Node, beside: Beside | None = None) -> Settings:
    """
    Return the settings that a tree of found values says.

    Args:
        tree: what was found.
        beside: what is known of certificates beside it; None where it is not asked whether they
            are valid today and for the names that are served.

    Raises:
        SettingsError: something is wrong; it holds every problem.
    """
    tree = placed(tree)
    if not isinstance(tree.value, Mapping):
        raise SettingsError([tree.problem(f"want a map of settings, got {kind_of(tree.value)}")])
    draft = _draft(tree, GLOBAL_KEYS)
    problems = list(draft.problems)
    too_many = _too_many_routes(tree)
    if too_many is not None:
        raise SettingsError([*problems, too_many])
    draft.values["drafts"] = _routes(tree, problems)
    clusters = _clusters(tree, problems)
    if clusters is not None:
        draft.values["cluster_drafts"] = clusters
    _mtls(draft, problems)
    examiner = Examiner(beside)
    named = _certificates(tree, problems, examiner)
    of_entries(examiner, beside)
    found = examiner.found
    if len(found.pairs) > MOST_PAIRS:
        many = f"want at most {MOST_PAIRS} certificates in all, got {len(found.pairs)}"
        problems.append(draft.at("certificates", many))
    elif named:
        draft.values["certificates"] = tuple(found.pairs)
    settle(draft)
    problems += _ruled(draft, GENERAL_RULES)
    if beside is not None and beside.now is not None:
        bare = list(uncovered(draft))
        if beside.present is None:
            # Who has just begun serves nobody yet; who serves goes on with what there is.
            problems += bare
        else:
            found.warnings += bare
    if problems:
        raise SettingsError([*problems, *told(found.left_out)])
    draft.values["warnings"] += told(found.warnings)
    draft.values["left_out"] = told(found.left_out)
    return _finished(draft)


def _finished(draft: Draft) -> Settings:
    """Return the settings of a draft with which nothing is wrong."""
    values = draft.values
    values["routes"] = _made(values["drafts"])
    values["clusters"] = tuple(_cluster(cluster) for cluster in values["cluster_drafts"])
    values["warnings"] += tuple(unverified(values["routes"]))
    first = values[AUTHORIZE_URL.name]
    urls = (first, *values["authorize_service_urls"]) if first else values["authorize_service_urls"]
    values["authorize_service_urls"] = tuple(dict.fromkeys(urls))
    return Settings(**{a.name: values[a.name] for a in attrs.fields(Settings)})


def _draft(node: Node, keys: dict[str, Key]) -> Draft:
    """Read each value of a map by itself, and note what is unknown, wrong or missing."""
    draft = Draft(node=node, values={}, problems=[])
    accepted = spellings(keys)
    for name, child in node.entries.items():
        if name not in accepted:
            text = why_not(name, accepted)
            # A key that nobody knows stands in the text, one that is known in the place.
            problem = child.problem(text)
            if text.startswith("unknown"):
                problem = Problem(place(node.path, child.where), text)
            draft.problems.append(problem)
    for key in keys.values():
        _value(draft, key)
    return draft


def _value(draft: Draft, key: Key) -> None:
    if key.name in LISTS_OF_MAPS:
        return
    child = draft.node.entries.get(key.name)
    if child is None:
        if key.required:
            where = draft.node.where
            path = f"{draft.node.path}.{key.name}" if draft.node.path else key.name
            draft.problems.append(Problem(place(path, where), f"missing; {key.wanted}"))
        else:
            draft.values[key.attribute or key.name] = key.default
        return
    try:
        draft.values[key.attribute or key.name] = structure(child, key.type)
    except SettingsError as error:
        draft.problems.extend(error.problems)


def _ruled(draft: Draft, rules: tuple[Rule, ...]) -> list[Problem]:
    """Ask the rules whose values are all there."""
    return [
        problem
        for rule in rules
        if rule.needs <= draft.values.keys()
        for problem in rule.ask(draft)
    ]


def _maps(tree: Node, name: str, problems: list[Problem]) -> list[Node]:
    """Return the maps of a list of maps."""
    node = tree.entries.get(name)
    if node is None:
        return []
    if not isinstance(node.value, tuple):
        problems.append(node.problem(_unlike("a list", node)))
        return []
    if len(node.value) > MOST_ITEMS:
        problems.append(node.problem(f"want at most {MOST_ITEMS} items, got {len(node.value)}"))
        return []
    good = []
    for item in node.value:
        if isinstance(item.value, Mapping):
            good.append(item)
        else:
            problems.append(item.problem(_unlike("a map", item)))
    return good


def _too_many_routes(tree: Node) -> Problem | None:
    """Return what is said of more routes than there may be, in all lists together."""
    clusters = tree.entries.get("clusters", Node(())).items
    lists = [
        part.entries[name]
        for part in (tree, *clusters)
        for name in ROUTE_LISTS
        if name in part.entries
    ]
    count = 0
    for node in lists:
        count += len(node.items)
        if count > MOST_ROUTES:
            total = sum(len(one.items) for one in lists)
            return node.problem(f"want at most {MOST_ROUTES} routes in all, got {total}")
    return None


def _routes(part: Node, problems: list[Problem]) -> list[Draft]:
    """Return the routes of the process or of a cluster, each asked its own rules."""
    drafts = []
    for node in (node for name in ROUTE_LISTS for node in _maps(part, name, problems)):
        draft = _draft(node, ROUTE_KEYS)
        draft.problems += _ruled(draft, (*ROUTE_RULES, *DOWNSTREAM_ROUTE_RULES))
        problems += draft.problems
        drafts.append(draft)
    return drafts


def _clusters(tree: Node, problems: list[Problem]) -> list[Draft] | None:
    """Return the clusters, or None where that is no list of maps."""
    drafts = []
    before = len(problems)
    nodes = _maps(tree, "clusters", problems)
    if len(problems) > before:
        return None
    for node in nodes:
        draft = _draft(node, CLUSTER_KEYS)
        draft.problems += _ruled(draft, CLUSTER_RULES)
        problems += draft.problems
        draft.values["drafts"] = _routes(node, problems)
        drafts.append(draft)
    return drafts


def _mtls(draft: Draft, problems: list[Problem]) -> None:
    """Read the map ``downstream_mtls``; its older keys are the same under other names."""
    node = draft.node.entries.get("downstream_mtls")
    mine = Draft(node=Node({}, path="downstream_mtls"), values={}, problems=[])
    if node is not None and not isinstance(node.value, Mapping):
        problems.append(node.problem(_unlike("a map", node)))
        return
    if node is not None:
        mine = _draft(node, MTLS_KEYS)
        problems += mine.problems
    if mine.problems or not {"client_ca", "client_crl"} <= draft.values.keys():
        return
    values = {key.name: mine.values.get(key.name, key.default) for key in MTLS_KEYS.values()}
    for old, name in (("client_ca", "ca"), ("client_crl", "crl")):
        values[name] = values[name] or draft.values[old]
    given = node is not None or draft.values["client_ca"] or draft.values["client_crl"]
    draft.values["mtls_draft"] = mine
    draft.values["downstream_mtls"] = DownstreamMTLS(**values) if given else None


def _made(routes: list[Draft]) -> tuple[RouteSettings, ...]:
    return tuple(RouteSettings(place=route.node.path, **route.values) for route in routes)


def _cluster(draft: Draft) -> ClusterSettings:
    values = {**draft.values, "routes": _made(draft.values["drafts"])}
    names = [a.name for a in attrs.fields(ClusterSettings) if a.name != "place"]
    return ClusterSettings(place=draft.node.path, **{name: values[name] for name in names})


def _certificates(tree: Node, problems: list[Problem], examiner: Examiner) -> bool:
    """Take all pairs that are named; return whether all of them can serve."""
    before = len(problems)
    pairs = []
    inline = {
        name: tree.entries[key.name]
        for name, key in (("cert", CERTIFICATE), ("key", CERTIFICATE_KEY))
        if key.name in tree.entries
    }
    if inline:
        missing = {"cert": "certificate", "key": "certificate_key"}
        pairs.append((_Half(inline, "certificate", missing), next(iter(inline.values()))))
    nodes = _maps(tree, "certificates", problems)
    for node in nodes:
        for name, child in node.entries.items():
            if name not in ("cert", "key"):
                text = why_not(name, frozenset({"cert", "key"}))
                problems.append(Problem(place(node.path, child.where), text))
        missing = {"cert": f"{node.path}.cert", "key": f"{node.path}.key"}
        pairs.append((_Half(node.entries, node.path, missing), node))
    good = True
    for half, node in pairs:
        pair = _pair(half, node, problems)
        good = good and pair is not None
        if pair is not None:
            try:
                examiner.named(pair)
            except Unfit as error:
                problems.append(Problem(place(half.place, node.where), str(error)))
    return good and len(problems) == before


@attrs.frozen
class _Half:
    """What there is of one pair; it may be half."""

    entries: Mapping[str, Node]
    place: str
    missing: Mapping[str, str]


def _pair(half: _Half, node: Node, problems: list[Problem]) -> CertificatePair | None:
    found: dict[str, Any] = {}
    for name, other, key in (
        ("cert", "key", CERTIFICATE),
        ("key", "cert", CERTIFICATE_KEY),
    ):
        child = half.entries.get(name)
        if child is None:
            text = f"missing; half of a pair does not do, and {half.missing[other]} is there"
            if other not in half.entries:
                text = "missing; want the path of a PEM file"
            problems.append(Problem(place(half.missing[name], node.where), text))
            continue
        try:
            found[name] = structure(child, key.type)
        except SettingsError as error:
            # `certificate` and `certificate_key` were read with the other keys already.
            if half.place != "certificate":
                problems.extend(error.problems)
    if len(found) < 2:  # noqa: PLR2004 - a pair
        return None
    return CertificatePair(chain=found["cert"], key=found["key"], place=half.place)


def _unlike(wanted: str, node: Node) -> str:
    if isinstance(node.value, Unreadable):
        return node.value.text
    if node.value is None:
        return f"has no value; want {wanted}, or take the line out"
    return f"want {wanted}, got {kind_of(node.value)}"


def structure(node: Node, kind: Any) -> Any:
    """
    Return what one node says, as a value of an annotated type.

    Raises:
        SettingsError: it cannot be read so.
    """
    return _converter.structure(node, kind)


def _mark(kind: Any, wanted: type[T]) -> T | None:
    if get_origin(kind) is not Annotated:
        return None
    return next((mark for mark in kind.__metadata__ if isinstance(mark, wanted)), None)


def _scalar(kind: Any) -> Any:
    reads = _mark(kind, Reads)
    assert reads is not None  # noqa: S101 - the factory's predicate

    def hook(node: Node, _: Any) -> Any:
        if reads.only_one and len(node.items) > 1:
            raise SettingsError([node.problem(f"not yet: several {reads.only_one}s; want one URL")])
        if reads.only_one and len(node.items) == 1:
            node = node.items[0]
        if isinstance(node.value, (Unreadable, tuple, Mapping)) or node.value is None:
            raise SettingsError([node.problem(_unlike(reads.kind, node))])
        try:
            return reads.read(node.value)
        except Unfit as error:
            raise SettingsError([node.problem(str(error))]) from None

    return hook


def _some(kind: Any) -> Any:
    reads = _mark(kind, ReadsSome)
    assert reads is not None  # noqa: S101 - the factory's predicate

    def hook(node: Node, _: Any) -> Any:
        found: list[str] = []
        problems: list[Problem] = []
        for item in node.items or (() if isinstance(node.value, tuple) else (node,)):
            try:
                if isinstance(item.value, (Unreadable, tuple, Mapping)) or item.value is None:
                    raise Unfit(_unlike(reads.kind, item))  # noqa: TRY301 - one way out for all faults
                found.append(reads.read(item.value))
            except Unfit as error:
                problems.append(item.problem(str(error)))
        if problems:
            raise SettingsError(problems)
        try:
            return reads.together(tuple(found))
        except Unfit as error:
            raise SettingsError([node.problem(str(error))]) from None

    return hook


def _pairs(kind: Any) -> Any:
    reads = _mark(kind, ReadsPairs)
    assert reads is not None  # noqa: S101 - the factory's predicate

    def hook(node: Node, _: Any) -> Any:
        if not isinstance(node.value, Mapping):
            raise SettingsError([node.problem(_unlike("a map", node))])
        if reads.switch and reads.switch in {name.lower() for name in node.value}:
            return ()
        problems: list[Problem] = []
        found: list[tuple[str, str]] = []
        seen: set[str] = set()
        for name, child in node.value.items():
            try:
                if isinstance(child.value, (Unreadable, tuple, Mapping)) or child.value is None:
                    raise Unfit(_unlike("text", child))  # noqa: TRY301 - one way out for all faults
                found.append((reads.name(name), reads.value(child.value)))
                if name.lower() in seen:
                    raise Unfit("is there twice, in another case")  # noqa: TRY301 - as above
                seen.add(name.lower())
            except Unfit as error:
                problems.append(child.problem(str(error)))
        if problems:
            raise SettingsError(problems)
        return tuple(found)

    return hook


def _many(kind: Any) -> Any:
    (item,) = get_args(kind)[:1]

    def hook(node: Node, _: Any) -> Any:
        if not isinstance(node.value, tuple):
            raise SettingsError([node.problem(_unlike("a list", node))])
        if len(node.value) > MOST_ITEMS:
            text = f"want at most {MOST_ITEMS} items, got {len(node.value)}"
            raise SettingsError([node.problem(text)])
        problems: list[Problem] = []
        found: list[Any] = []
        for child in node.value:
            try:
                found.append(_converter.structure(child, item))
            except SettingsError as error:
                problems.extend(error.problems)
        if problems:
            raise SettingsError(problems)
        return tuple(found)

    return hook


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook_factory(_is_list, _many)
_converter.register_structure_hook_factory(lambda kind: _mark(kind, Reads) is not None, _scalar)
_converter.register_structure_hook_factory(lambda kind: _mark(kind, ReadsPairs) is not None, _pairs)
_converter.register_structure_hook_factory(lambda kind: _mark(kind, ReadsSome) is not None, _some)
