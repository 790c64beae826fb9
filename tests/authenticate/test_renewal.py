"""Tests for pomeriumd.authenticate.renewal."""

from __future__ import annotations

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.authenticate.renewal import REMEMBERED, REMEMBERED_SECONDS, Confirmed, Renewals
from pomeriumd.errors import ProviderError
from pomeriumd.oidc.grant import Grant, GrantRefused, Unconfirmed
from pomeriumd.session.provider import ProviderSession
from pomeriumd.session.session import Identity

ALICE = ProviderSession(
    id="s1",
    identity=Identity(issuer="https://idp", subject="alice"),
    auth_time=0,
    checked=0,
    seen=0,
    expires=50_000,
    refresh_token="r1",
)
GRANT = Grant(identity=ALICE.identity, refresh_token="r2", id_token=None, access_token=None)


@attrs.define
class SlowProvider:
    """A provider whose answers the test gives, in the order of the questions."""

    asked: list[str] = attrs.Factory(list)
    waiting: list[Deferred[Grant]] = attrs.Factory(list)
    issuer: str = "https://idp"

    async def authorization_url(
        self, *, state: str, nonce: str, verifier: str, redirect_uri: str
    ) -> str:
        """Is not asked here."""
        raise NotImplementedError

    async def exchange(
        self, *, code: str, verifier: str, nonce: str, redirect_uri: str, iss: str | None
    ) -> Grant:
        """Is not asked here."""
        raise NotImplementedError

    async def refresh(self, *, refresh_token: str, identity: Identity) -> Grant:
        """Wait for the test."""
        self.asked.append(f"{identity.subject} {refresh_token}")
        answer: Deferred[Grant] = Deferred()
        self.waiting.append(answer)
        return await answer

    async def revoke(self, *, refresh_token: str | None, access_token: str | None) -> bool:
        """Is not asked here."""
        raise NotImplementedError

    async def logout_url(
        self, *, id_token: str | None, redirect_uri: str, state: str
    ) -> str | None:
        """Is not asked here."""
        raise NotImplementedError


class RenewalsTests(SynchronousTestCase):
    """Each refresh token is used once at a time, and its answer is there for a second tab."""

    def setUp(self) -> None:
        """Begin with nothing under way."""
        self.time = 1000.0
        self.provider = SlowProvider()
        self.renewals = Renewals(provider=self.provider, now=lambda: self.time)

    def test_two_tabs_share_one_question(self) -> None:
        """Both get the answer; the provider was asked once."""
        one, two = self.renewals.confirm(ALICE), self.renewals.confirm(ALICE)
        self.provider.waiting[0].callback(GRANT)
        self.assertEqual(self.successResultOf(one), Confirmed(GRANT, 1000))
        self.assertEqual(self.successResultOf(two), Confirmed(GRANT, 1000))
        self.assertEqual(self.provider.asked, ["alice r1"])

    def test_a_second_tab_with_the_old_cookie(self) -> None:
        """For a minute the answer is given again, with the time at which it was true."""
        self.renewals.confirm(ALICE)
        self.provider.waiting[0].callback(GRANT)
        self.time += REMEMBERED_SECONDS - 1
        self.assertEqual(self.successResultOf(self.renewals.confirm(ALICE)), Confirmed(GRANT, 1000))
        self.time += 1
        self.assertNoResult(self.renewals.confirm(ALICE))
        self.assertEqual(len(self.provider.asked), 2)

    def test_a_session_that_holds_the_answer(self) -> None:
        """It comes since it has aged: the provider is asked, though it gave no other token."""
        at = 1000
        self.renewals.confirm(ALICE)
        for pause in (1, 2, REMEMBERED_SECONDS - 1, REMEMBERED_SECONDS):
            with self.subTest(pause=pause):
                self.provider.waiting[-1].callback(attrs.evolve(GRANT, refresh_token=None))
                self.time += pause
                renewed = self.renewals.confirm(attrs.evolve(ALICE, checked=at))
                self.assertNoResult(renewed)
                at = int(self.time)

    def test_others_do_not_share(self) -> None:
        """Another session or another token is another question, however they are spelled."""
        for session_id, token in (("s1", "r1"), ("s1", "r2"), ("s2", "r1"), ("s1r", "1")):
            self.renewals.confirm(attrs.evolve(ALICE, id=session_id, refresh_token=token))
        self.assertEqual(len(self.provider.asked), 4)

    def test_a_caller_that_leaves_harms_nobody(self) -> None:
        """The question goes on, the other gets its answer, and the next finds it."""
        leaving, staying = self.renewals.confirm(ALICE), self.renewals.confirm(ALICE)
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.provider.waiting[0].callback(GRANT)
        self.successResultOf(staying)

    def test_the_last_caller_leaves(self) -> None:
        """The answer is not lost with it: the provider may have used the old token up."""
        leaving = self.renewals.confirm(ALICE)
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.provider.waiting[0].callback(GRANT)
        self.successResultOf(self.renewals.confirm(ALICE))
        self.assertEqual(len(self.provider.asked), 1)

    def test_failures_go_to_all_and_are_not_remembered(self) -> None:
        """Both get the error; the next one asks anew."""
        for error in (ProviderError("down"), GrantRefused("dead")):
            both = [self.renewals.confirm(ALICE), self.renewals.confirm(ALICE)]
            self.provider.waiting[-1].errback(error)
            for each in both:
                self.assertIs(self.failureResultOf(each).value, error)
        self.assertEqual(len(self.provider.asked), 2)

    def test_a_token_that_was_used_for_nothing(self) -> None:
        """Whoever comes with it asks with the one after it; however the provider turns round."""
        for given in ("r2", "r3", "r1", "r1", "r2"):
            waiter = self.renewals.confirm(ALICE)
            self.provider.waiting[-1].errback(Unconfirmed("down", given))
            self.failureResultOf(waiter, Unconfirmed)
        self.renewals.confirm(ALICE)
        self.assertEqual(
            self.provider.asked,
            ["alice r1", "alice r2", "alice r3", "alice r1", "alice r1", "alice r2"],
        )
        self.provider.waiting[-1].callback(GRANT)
        self.assertEqual(self.successResultOf(self.renewals.confirm(ALICE)).grant, GRANT)

    def test_a_clock_that_was_set_back(self) -> None:
        """An answer from the future is not given for an hour, and not kept so long."""
        self.renewals.confirm(ALICE)
        self.provider.waiting[0].callback(GRANT)
        self.time -= 900
        self.assertNoResult(self.renewals.confirm(ALICE))

    def test_without_a_refresh_token(self) -> None:
        """There is nothing to ask with."""
        with self.assertRaises(GrantRefused):
            self.renewals.confirm(attrs.evolve(ALICE, refresh_token=None))

    def test_memory_is_bounded(self) -> None:
        """A thousand answers and one: the oldest is gone."""
        for n in range(REMEMBERED + 1):
            self.renewals.confirm(attrs.evolve(ALICE, id=f"n{n}"))
            self.provider.waiting[n].callback(GRANT)
        self.successResultOf(self.renewals.confirm(attrs.evolve(ALICE, id="n1")))
        self.assertNoResult(self.renewals.confirm(attrs.evolve(ALICE, id="n0")))

    def test_repr_shows_no_token(self) -> None:
        """What is remembered does not reach a log."""
        self.renewals.confirm(ALICE)
        self.provider.waiting[0].callback(GRANT)
        self.assertNotIn("r2", repr(self.renewals))
