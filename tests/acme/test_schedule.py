"""Tests of pomeriumd.acme.schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.acme.problems import HOOK, LIMITED, REFUSED, UNREACHABLE
from pomeriumd.acme.schedule import Agenda, Kept, Trouble, agenda, domain, troubled

DAY = 86_400.0
NOW = 1_000 * DAY


def kept(*names: str, age: float = 0.0, life: float = 90 * DAY, must_staple: bool = False) -> Kept:
    """Return a certificate of that age in seconds."""
    begin = NOW - age
    return Kept(
        file="a.pem",
        names=frozenset(names),
        begin=begin,
        end=begin + life,
        must_staple=must_staple,
    )


def trouble(after: float) -> Trouble:
    """Return one failure, with another try in so many seconds."""
    return Trouble(failures=1, next=NOW + after, outcome=REFUSED, text="no")


class AgendaTests(SynchronousTestCase):
    """agenda() orders what is due, and says when to look again."""

    def plan(self, *wanted: str, **more: object) -> Agenda:
        """Return what is to be done for these names."""
        given: dict[str, object] = {"kept": [], "troubles": {}, "must_staple": False, **more}
        return agenda(wanted, now=NOW, **given)  # type: ignore[arg-type]

    def test_all_of_a_domain_together(self) -> None:
        """Names of one domain are one order, of another one another."""
        plan = self.plan("a.example.com", "b.example.com", "a.example.org", "example.org")
        self.assertEqual(
            plan.orders, (("a.example.com", "b.example.com"), ("a.example.org", "example.org"))
        )
        self.assertEqual((plan.next, plan.renewal), (NOW, float("inf")))

    def test_a_wildcard_with_its_domain(self) -> None:
        """A wildcard goes with the domain that it is under."""
        plan = self.plan("*.example.com", "example.com")
        self.assertEqual(plan.orders, (("*.example.com", "example.com"),))

    def test_not_too_many_names(self) -> None:
        """A certificate has fifty names at the most."""
        plan = self.plan(*(f"h{number:03}.example.com" for number in range(120)))
        self.assertEqual([len(order) for order in plan.orders], [50, 50, 20])

    def test_a_third_of_its_life(self) -> None:
        """Of ninety days thirty are left when it is renewed, and not a second more."""
        young = [kept("a.example.com", age=60 * DAY - 1)]
        plan = self.plan("a.example.com", kept=young)
        self.assertEqual(plan, Agenda((), NOW + 1, NOW + 1))
        old = [kept("a.example.com", age=60 * DAY)]
        self.assertEqual(self.plan("a.example.com", kept=old).orders, (("a.example.com",),))

    def test_a_new_host_alone(self) -> None:
        """A route that is added brings an order for its host, and for no other."""
        plan = self.plan("a.example.com", "b.example.com", kept=[kept("a.example.com")])
        self.assertEqual(plan.orders, (("b.example.com",),))

    def test_a_name_in_trouble(self) -> None:
        """It waits for its time, holds up no other, and is ordered by itself."""
        names = ("a.example.com", "b.example.com", "c.example.com")
        plan = self.plan(*names, troubles={"b.example.com": trouble(60)})
        self.assertEqual(plan.orders, (("a.example.com", "c.example.com"),))
        fresh = [kept("a.example.com", "c.example.com")]
        plan = self.plan(*names, kept=fresh, troubles={"b.example.com": trouble(60)})
        self.assertEqual((plan.orders, plan.next), ((), NOW + 60))
        plan = self.plan(*names, troubles={"b.example.com": trouble(0)})
        self.assertEqual(plan.orders, (("a.example.com", "c.example.com"), ("b.example.com",)))

    def test_must_staple(self) -> None:
        """A certificate of the other kind is as good as none."""
        there = [kept("a.example.com")]
        plan = self.plan("a.example.com", kept=there, must_staple=True)
        self.assertEqual(plan.orders, (("a.example.com",),))

    def test_nothing_wanted(self) -> None:
        """Without names nothing is ever due."""
        self.assertEqual(self.plan(), Agenda((), float("inf"), float("inf")))

    @given(
        st.sets(st.sampled_from([f"{a}.{b}.test" for a in "abcde" for b in "xyz"])),
        st.sets(st.sampled_from([f"{a}.x.test" for a in "abcde"])),
        st.floats(0, 120),
    )
    def test_each_name_once(self, wanted: set[str], troubles: set[str], days: float) -> None:
        """Whatever is there, a name stands in one order at the most, and only if it is wanted."""
        there = [kept("a.x.test", "b.y.test", age=days * DAY)]
        plan = self.plan(*wanted, kept=there, troubles=dict.fromkeys(troubles, trouble(-1)))
        ordered = [name for order in plan.orders for name in order]
        self.assertEqual(len(ordered), len(set(ordered)))
        self.assertLessEqual(set(ordered), wanted)
        self.assertTrue(plan.orders or plan.next > NOW)


class TroubledTests(SynchronousTestCase):
    """troubled() waits longer each time, and as long as the authority wants."""

    def pauses(self, outcome: str, count: int, **more: float) -> list[float]:
        """Return the pauses after so many failures in a row."""
        given = {"retry_after": 0.0, "chance": 0.0, **more}
        found: list[float] = []
        last: Trouble | None = None
        for _ in range(count):
            last = troubled(last, outcome=outcome, text="", now=NOW, **given)
            found.append(last.next - NOW)
        return found

    def test_a_refusal(self) -> None:
        """Four proofs fail within an hour, of the five that Let's Encrypt allows."""
        pauses = self.pauses(REFUSED, 12)
        self.assertEqual(pauses[:4], [300, 600, 1200, 2400])
        self.assertEqual(pauses[-1], 43_200)

    def test_what_costs_nothing(self) -> None:
        """An authority that is away, and a hook that fails, are tried sooner again."""
        for outcome in (UNREACHABLE, HOOK):
            pauses = self.pauses(outcome, 9)
            self.assertEqual((pauses[:3], pauses[-1]), ([30, 60, 120], 3600))

    def test_retry_after(self) -> None:
        """A day that the authority wants is waited for; a shorter time makes no pause shorter."""
        self.assertEqual(self.pauses(LIMITED, 1, retry_after=DAY), [DAY])
        self.assertEqual(self.pauses(LIMITED, 1, retry_after=1.0), [300])

    def test_chance(self) -> None:
        """Two hosts come a quarter of the pause apart at the most, and neither too early."""
        self.assertEqual(self.pauses(REFUSED, 1, chance=1.0), [375])


class DomainTests(SynchronousTestCase):
    """domain() says what is ordered together."""

    def test_each(self) -> None:
        """A host goes with its parent, a domain and a wildcard with themselves."""
        for name, wanted in (
            ("a.example.com", "example.com"),
            ("a.b.example.com", "b.example.com"),
            ("example.com", "example.com"),
            ("*.example.com", "example.com"),
        ):
            self.assertEqual(domain(name), wanted)
