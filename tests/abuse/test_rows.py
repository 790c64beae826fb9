"""
Every row of the catalogue has a family of variants, or a line that says what it waits for.

How a module says so, and what counts as a family, ``faults`` below defines and the manual
of the tests (``tests/README.md``) explains.
"""

from __future__ import annotations

import importlib
import inspect
import unittest
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

from hypothesis import given, is_hypothesis_test
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.abuse.rows import SECTIONS, Section

FAMILY_SIZE = 5
"""Distinct variants of the smallest family, or ways of bending where the running system gives
what is bent (each parameter of each step of a sign-in). Fewer are examples, and the first mend
of such a fault is known to stop at the examples."""


def faults(section: Section, module: ModuleType | None) -> list[str]:
    """
    Return what is wrong with a section's module.

    A class of tests with ``row`` (an id) or ``rows`` (several) is the family of that row.
    It generates its variants: its ``VARIANTS`` holds at least ``FAMILY_SIZE`` distinct
    ones and one of its methods uses them, or one of its tests is Hypothesis's. ``WAITING``
    holds the rows that have none, each with "reason; what will bring it". ``PARTLY``, which
    may be left out, holds in the same form what is missing in rows that have one.
    """
    if module is None:
        return [f"no module {section.module}"]
    found: list[str] = []
    served: set[str] = set()
    for one in _families(module):
        mine = _rows(one)
        found += [f"{one.__name__}: no row {row!r}" for row in mine if row not in section.rows]
        found += [f"{one.__name__}: {fault}" for fault in _not_generated(one)]
        served.update(mine)
    waiting = getattr(module, "WAITING", None)
    if not isinstance(waiting, dict):
        return [*found, f"{section.module} has no WAITING"]
    partly = getattr(module, "PARTLY", {})
    for row, text in [*waiting.items(), *partly.items()]:
        if row not in section.rows:
            found.append(f"no row {row!r} can wait here")
        reason, _, brings = text.partition(";")
        if not (reason.strip() and brings.strip()):
            found.append(f"{row} waits without saying why and what will bring it")
    for row in section.rows:
        if row in served and row in waiting:
            found.append(f"{row} waits no more: it has a family")
        if row not in served and row not in waiting:
            found.append(f"{row} has neither a family nor a reason to wait")
        if row not in served and row in partly:
            found.append(f"{row} has no family of which a part could be missing")
    return found


def _families(module: ModuleType) -> Iterator[type]:
    """Give the classes of a module that say which row they serve."""
    for one in vars(module).values():
        if inspect.isclass(one) and one.__module__ == module.__name__ and _rows(one):
            yield one


def _rows(family: Any) -> tuple[str, ...]:
    """Return the rows that a class serves; those of a base class are not its own."""
    own = vars(family)
    rows: Sequence[str] = own.get("rows", ())
    return (own["row"], *rows) if "row" in own else tuple(rows)


def _not_generated(family: Any) -> list[str]:
    """Say why the class is no family of generated variants."""
    methods = {
        name: method
        for name in dir(family)
        if inspect.isfunction(method := inspect.getattr_static(family, name))
        and not hasattr(unittest.TestCase, name)
    }
    tests = [method for name, method in methods.items() if name.startswith("test")]
    if not (issubclass(family, unittest.TestCase) and tests):
        return ["no tests"]
    if any(is_hypothesis_test(test) for test in tests):
        return []
    variants = getattr(family, "VARIANTS", None)
    if variants is None:
        return ["neither VARIANTS nor a test of Hypothesis's"]
    count = len(_distinct(variants))
    if count < FAMILY_SIZE:
        return [f"{count} distinct variants, want {FAMILY_SIZE}"]
    if not any("VARIANTS" in _names(method.__code__) for method in methods.values()):
        return ["no method uses VARIANTS"]
    return []


def _distinct(variants: Iterable[Any]) -> set[str]:
    """Return the variants by what they look like: some are not hashable."""
    return {repr(variant) for variant in variants}


def _names(code: CodeType) -> set[str]:
    """Return the names that a function looks up, those of functions inside it as well."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*(_names(one) for one in inner))


def module_of(section: Section) -> ModuleType | None:
    """Return the section's module, None if there is none; one that fails raises."""
    name = f"tests.abuse.{section.module}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None


class CatalogueTests(SynchronousTestCase):
    """The catalogue as it is served."""

    def check(self, number: str) -> None:
        """Find no fault with a section."""
        (section,) = (one for one in SECTIONS if one.number == number)
        self.assertEqual(faults(section, module_of(section)), [])

    def test_paths(self) -> None:
        """4.1: path, host and rule matching."""
        self.check("4.1")

    def test_fields(self) -> None:
        """4.2: forwarded and identity fields."""
        self.check("4.2")

    def test_redirects(self) -> None:
        """4.3: redirects."""
        self.check("4.3")

    def test_provider(self) -> None:
        """4.4: the identity provider and its tokens."""
        self.check("4.4")

    def test_sessions(self) -> None:
        """4.5: sessions and cookies."""
        self.check("4.5")

    def test_framing(self) -> None:
        """4.6: framing, smuggling and exhaustion."""
        self.check("4.6")

    def test_tls(self) -> None:
        """4.7: TLS and certificates."""
        self.check("4.7")

    def test_surface(self) -> None:
        """4.8: inner surfaces and packaging."""
        self.check("4.8")

    def test_the_ids(self) -> None:
        """The catalogue has its hundred rows, none left out, each with a title of its own."""
        counts = {"P": 19, "H": 14, "R": 5, "O": 22, "S": 12, "F": 11, "T": 7, "A": 10}
        wanted = [f"{letter}{n}" for letter, count in counts.items() for n in range(1, count + 1)]
        self.assertEqual([row for section in SECTIONS for row in section.rows], wanted)
        titles = [title for section in SECTIONS for title in section.rows.values()]
        self.assertEqual(len(set(titles)), 100)


ENOUGH = tuple(range(FAMILY_SIZE))
TWO = Section("0", "test_two", {"Z1": "one", "Z2": "another"})


def a_module(**contents: Any) -> ModuleType:
    """Return a module with these things in it, its own where they are classes."""
    module = ModuleType("test_two")
    for name, thing in contents.items():
        if inspect.isclass(thing):
            thing.__module__ = module.__name__
        setattr(module, name, thing)
    return module


def a_family(**attributes: Any) -> type:
    """Return a class that serves Z1 in a good way but for these attributes."""

    def test_it(self: Any) -> None:
        """Use them."""
        for variant in self.VARIANTS:
            self.assertTrue(variant >= 0)

    good = {"row": "Z1", "VARIANTS": ENOUGH, "test_it": test_it}
    return type("Family", (SynchronousTestCase,), good | attributes)


class FaultTests(SynchronousTestCase):
    """faults() finds what is wrong with a module, or it would prove nothing."""

    def faults(self, waiting: Any = None, partly: Any = None, **contents: Any) -> list[str]:
        """Return the faults of a module in which Z2 waits, unless told otherwise."""
        if waiting is None:
            waiting = {"Z2": "nothing there; somebody"}
        if partly is not None:
            contents["PARTLY"] = partly
        return faults(TWO, a_module(WAITING=waiting, **contents))

    def test_a_good_module(self) -> None:
        """A family and a line: nothing to say. One class may serve both rows."""
        self.assertEqual(self.faults(Family=a_family()), [])
        self.assertEqual(self.faults(Family=a_family(row="Z1", rows=("Z2",)), waiting={}), [])
        self.assertEqual(self.faults(Family=a_family(), partly={"Z1": "half; somebody"}), [])

    def test_no_module(self) -> None:
        """A section without a module is a fault, and so is one without WAITING."""
        self.assertEqual(faults(TWO, None), ["no module test_two"])
        self.assertEqual(faults(TWO, a_module(Family=a_family())), ["test_two has no WAITING"])

    def test_a_row_without_anything(self) -> None:
        """A row that is served by nobody and waits for nothing."""
        self.assertEqual(self.faults(), ["Z1 has neither a family nor a reason to wait"])

    def test_a_line_that_is_out_of_date(self) -> None:
        """A row that waits though it has a family."""
        self.assertEqual(
            self.faults(Family=a_family(), waiting={"Z1": "a; b", "Z2": "a; b"}),
            ["Z1 waits no more: it has a family"],
        )

    def test_unknown_rows(self) -> None:
        """Rows that the section does not have, in a class and in a line."""
        self.assertEqual(
            self.faults(
                Family=a_family(),
                Other=a_family(row="Z3"),
                waiting={"Z2": "a; b", "Z4": "a; b"},
            ),
            ["Family: no row 'Z3'", "no row 'Z4' can wait here"],
        )

    def test_lines_that_say_nothing(self) -> None:
        """A line has a reason, and something that will bring the family."""
        for text in ("", "later", "later;", "; issue 4", " ; "):
            self.assertEqual(
                self.faults(Family=a_family(), waiting={"Z2": text}),
                ["Z2 waits without saying why and what will bring it"],
            )

    def test_a_part_of_nothing(self) -> None:
        """Only of a row that has a family can a part be missing."""
        self.assertEqual(
            self.faults(Family=a_family(), partly={"Z2": "half; somebody"}),
            ["Z2 has no family of which a part could be missing"],
        )

    def test_families_that_are_none(self) -> None:
        """No variants, too few, the same ones again, unused ones, no test, no test case."""

        def test_nothing(self: Any) -> None:
            """Use nothing."""
            del self

        few = f"Family: {FAMILY_SIZE - 1} distinct variants, want {FAMILY_SIZE}"
        for attributes, fault in (
            ({"VARIANTS": None}, "Family: neither VARIANTS nor a test of Hypothesis's"),
            ({"VARIANTS": ENOUGH[1:]}, few),
            ({"VARIANTS": ENOUGH[1:] * 2}, few),
            ({"test_it": test_nothing}, "Family: no method uses VARIANTS"),
            ({"test_it": None}, "Family: no tests"),
        ):
            self.assertEqual(self.faults(Family=a_family(**attributes)), [fault])
        plain = type("Family", (), {"row": "Z1", "VARIANTS": ENOUGH, "test_it": test_nothing})
        self.assertEqual(self.faults(Family=plain), ["Family: no tests"])

    def test_hypothesis_generates(self) -> None:
        """A class with a test of Hypothesis's needs no list."""

        @given(st.binary())
        def test_it(self: Any, octets: bytes) -> None:
            """Use what is given."""
            del self, octets

        self.assertEqual(self.faults(Family=a_family(VARIANTS=None, test_it=test_it)), [])

    def test_what_is_imported_serves_nothing(self) -> None:
        """A class of another module counts there, and a base class's row is not its heirs'."""
        other = a_family()
        module = a_module(WAITING={"Z2": "a; b"})
        other.__module__ = "elsewhere"
        module.Family = other  # type: ignore[attr-defined]  # a module made here
        self.assertEqual(faults(TWO, module), ["Z1 has neither a family nor a reason to wait"])
        heir = type("Heir", (other,), {"row": "Z2"})
        self.assertEqual(
            self.faults(Heir=heir, waiting={"Z1": "a; b"}),
            [],
        )
