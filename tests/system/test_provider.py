"""The real daemon and a certified provider: all that the two have to say to each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.site import Site, make_site, told
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "faketime")]

GROUPS = "x-pomerium-authenticated-user-groups"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it as an operator has it; the ID token says who it is and in which groups."""
    site = make_site(tmp_path_factory.mktemp("site"))
    yield site
    site.stop()


def sent_to_provider(page: Page) -> dict[str, list[str]]:
    """Return the parameters of the authorization request on the way to a page."""
    [url] = [url for url in page.way if urlsplit(url).path == "/auth"]
    return parse_qs(urlsplit(url).query)


def signed_out(site: Site, visitor: Visitor) -> Page:
    """Press the buttons up to the provider's own question."""
    page = visitor.submit(visitor.get(site.daemon.url("app", "/.pomerium/sign_out")))
    onward = re.search(r'class="button" href="([^"]*)"', page.text)
    assert onward is not None, page.text
    return visitor.get(unescape(onward[1]))


def test_sign_in(site: Site) -> None:
    """Code, PKCE with S256 and a nonce; the application learns who came, with the groups."""
    visitor = site.daemon.visitor()
    asked = visitor.get(site.daemon.url("app", "/a?b=c"))
    sent = sent_to_provider(asked)
    assert sent["response_type"] == ["code"]
    assert sent["code_challenge_method"] == ["S256"]
    assert len(sent["code_challenge"][0]) == len(sent["nonce"][0]) == 43
    page = site.provider.sign_in(visitor, asked, "alice")
    assert page.url == site.daemon.url("app", "/a?b=c")
    assert told(page)["x-pomerium-authenticated-user-email"] == "alice@example.com"
    assert told(page)[GROUPS] == "staff,demo"
    # Its answer names the issuer (RFC 9207), and ours checked that.
    assert any("&iss=" in url for url in page.way)


def test_groups_decide(site: Site) -> None:
    """Somebody who is in none of the route's groups is told so, by name."""
    _, page = site.signed_in("mallory")
    assert page.status == 403
    assert "mallory<wbr>@example.org" in page.text


def test_one_sign_in_for_two_hosts(site: Site) -> None:
    """The second host asks nobody."""
    visitor, _ = site.signed_in()
    since = site.provider.said
    page = visitor.get(site.daemon.url("mail"))
    assert page.status == 200
    assert site.provider.events(since) == []


def test_renewal_rotates(site: Site) -> None:
    """Each recheck uses the refresh token once, gets the next, and nobody sees a page of it."""
    visitor, _ = site.signed_in()
    for _ in range(3):
        site.time.add(601)
        since = site.provider.said
        page = visitor.get(site.daemon.url("app", "/again"))
        assert page.url == site.daemon.url("app", "/again")
        assert page.status == 200
        assert not [url for url in page.way if "/auth?" in url]
        assert site.provider.events(since) == [
            "refresh_token.consumed",
            "refresh_token.saved",
            "grant.success",
        ]


def test_two_tabs_renew_with_one_token(site: Site) -> None:
    """A second tab with the old cookies does not look like a thief to the provider."""
    visitor, _ = site.signed_in()
    site.time.add(601)
    second = site.daemon.visitor()
    second.cookies.update(visitor.cookies)
    since = site.provider.said
    for tab in (visitor, second):
        assert tab.get(site.daemon.url("app")).status == 200
    assert site.provider.events(since).count("refresh_token.consumed") == 1
    site.time.add(601)
    assert visitor.get(site.daemon.url("app")).status == 200
    assert "grant.revoked" not in site.provider.events(since)


def test_a_refresh_token_used_twice(site: Site) -> None:
    """Whoever comes with a stolen cookie after its owner ends the grant: both sign in anew."""
    visitor, _ = site.signed_in()
    thief = site.daemon.visitor()
    thief.cookies.update(visitor.cookies)
    site.time.add(601)
    assert visitor.get(site.daemon.url("app")).status == 200
    site.time.add(601)  # our own memory of the answer is gone
    since = site.provider.said
    page = thief.get(site.daemon.url("app"))
    assert "/interaction/" in page.url
    site.provider.until("grant.revoked", since)
    site.daemon.process.until("renewal refused, signing in anew: token endpoint: refused with")
    site.time.add(601)
    assert "/interaction/" in visitor.get(site.daemon.url("app")).url


def test_groups_that_change_are_noticed_at_the_recheck(site: Site) -> None:
    """Somebody who leaves the group at the provider is out after the recheck, not before."""
    visitor, _ = site.signed_in()
    site.provider.stop()
    site.provider.people["alice"] = {**site.provider.people["alice"], "groups": ["demo"]}
    try:
        site.provider.start()
        site.time.add(500)
        assert visitor.get(site.daemon.url("app")).status == 200
        site.time.add(101)
        assert visitor.get(site.daemon.url("app")).status == 403
    finally:
        site.provider.stop()
        site.provider.people["alice"] = {**site.provider.people["alice"], "groups": ["staff"]}
        site.provider.start()


def test_sign_out(site: Site) -> None:
    """The refresh token is revoked, the provider's session ended, and nothing is left here."""
    visitor, _ = site.signed_in()
    since = site.provider.said
    kept = dict(visitor.cookies)
    asked = signed_out(site, visitor)
    assert urlsplit(asked.url).path == "/session/end"
    sent = parse_qs(urlsplit(asked.url).query)
    assert sent["client_id"] == ["pomerium"]
    assert "id_token_hint" in sent
    page = visitor.submit(asked, logout="yes")
    assert page.url.startswith(site.daemon.url("authenticate", "/.pomerium/signed_out?state="))
    assert page.status == 200
    site.provider.until("end_session.success", since)
    assert "grant.revoked" in site.provider.events(since)
    assert visitor.sessions == set()
    # Signed out there as well: the form asks who it is.
    assert "login" in visitor.get(site.daemon.url("app")).text
    # A copy of the cookies ends at its next recheck: the refresh token is dead.
    copy = site.daemon.visitor()
    copy.cookies.update(kept)
    site.time.add(601)
    assert "/interaction/" in copy.get(site.daemon.url("app")).url


def test_a_code_is_good_once(site: Site) -> None:
    """A callback that is loaded again signs nobody in, and does not reach the provider."""
    visitor, page = site.signed_in()
    [callback] = [url for url in page.way if "/oauth2/callback" in url]
    since = site.provider.said
    again = visitor.get(callback)
    assert (again.status, again.check) == (400, "state-cookie")
    stranger = site.daemon.visitor().get(callback)
    assert (stranger.status, stranger.check) == (400, "state-cookie")
    assert site.provider.events(since) == []
    assert visitor.get(site.daemon.url("app")).status == 200


def test_a_code_in_two_hands(site: Site) -> None:
    """The provider refuses a used code, its tokens die, and our page names the check."""
    visitor = site.daemon.visitor()
    asked = visitor.get(site.daemon.url("app"))
    consent = visitor.submit(asked, login="alice", password="x")
    to, form = consent.form()
    at = visitor.post(to, form, follow=False)
    while "/oauth2/callback" not in at.fields["location"]:
        at = visitor.get(at.fields["location"], follow=False)
    callback = at.fields["location"]
    twin = site.daemon.visitor()
    twin.cookies.update(visitor.cookies)
    assert visitor.get(callback).status == 200
    since = site.provider.said
    refused = twin.get(callback)
    assert (refused.status, refused.check) == (400, "code")
    assert refused.fields["cache-control"] == "no-store"
    assert twin.sessions == set()
    site.provider.until("grant.error", since)
    site.daemon.process.until("sign-in failed at code: token endpoint: refused with invalid_grant")


def test_somebody_who_declines(site: Site) -> None:
    """The provider's own no is named, with its words; the sign-in is over."""
    visitor = site.daemon.visitor()
    asked = visitor.get(site.daemon.url("app"))
    abort = re.search(r'href="([^"]*/abort)"', asked.text)
    assert abort is not None
    page = visitor.get(unescape(abort[1]))
    assert (page.status, page.check) == (400, "provider-error")
    assert "access_denied" in page.text
    assert visitor.sessions == set()


def test_without_refresh_tokens(tmp_path: Path) -> None:
    """
    A recheck goes by way of the provider, which knows the person still.

    And what a lean ID token does not say comes from userinfo.
    """
    other = make_site(tmp_path, lean=True, idp_request_params={})
    try:
        visitor, page = other.signed_in()
        assert told(page)[GROUPS] == "staff,demo"
        other.time.add(601)
        since = other.provider.said
        page = visitor.get(other.daemon.url("app", "/again"))
        assert page.url == other.daemon.url("app", "/again")
        assert page.status == 200
        assert other.provider.events(since) == ["authorization.success", "grant.success"]
    finally:
        other.stop()
