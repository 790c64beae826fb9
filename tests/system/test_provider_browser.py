"""A real browser between the real daemon and a certified provider."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.certificates import authority
from tests.support.site import Site, make_site

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("node", "npm", "faketime", "chromium", "certutil"),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """All of it, running, with workers: each request of a browser may come to another one."""
    site = make_site(tmp_path / "site", workers=2)
    yield site
    site.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home directory in which the browser trusts the tests' authority."""
    database = tmp_path / "home" / ".pki" / "nssdb"
    database.mkdir(parents=True)
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    at = ("certutil", "-d", f"sql:{database}")
    subprocess.run([*at, "-N", "--empty-password"], check=True)
    trust = ("-A", "-t", "C,,", "-n", "tests", "-i", tmp_path / "ca.pem")
    subprocess.run([*at, *trust], check=True)
    return tmp_path / "home"


def test_from_sign_in_to_signed_out(site: Site, home: Path) -> None:
    """Cookies, forms and redirects of all three hosts work together as browsers have it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, "HOME": str(home)},
        )
        page = chromium.new_context().new_page()
        page.set_default_timeout(30_000)
        # The provider's own pages ask for a font of somebody else's.
        page.route("https://fonts.googleapis.com/**", lambda route: route.abort())
        page.goto(site.daemon.url("app", "/a?b=c"))
        page.locator("[name=login]").fill("alice")
        page.locator("[name=password]").fill("x")
        page.locator("[type=submit]").click()
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(site.daemon.url("app", "/a?b=c"))
        expect(page.locator("body")).to_contain_text("alice@example.com")
        site.time.add(601)
        page.goto(site.daemon.url("app", "/renewed"))
        assert page.url == site.daemon.url("app", "/renewed")
        page.goto(site.daemon.url("app", "/.pomerium/sign_out"))
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Yes, sign me out").click()
        page.wait_for_url(site.daemon.url("authenticate", "/.pomerium/signed_out*"))
        expect(page.locator("main")).to_contain_text("signed out")
        page.goto(site.daemon.url("app"))
        expect(page.locator("[name=login]")).to_be_visible()
        chromium.close()
