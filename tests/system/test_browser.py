"""The demo in a real browser: what a newcomer sees, from the first click to signing out."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.processes import free_port

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium", "certutil")]

BIN = Path(sys.executable).parent
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ALICE, MALLORY = "alice@example.com", "mallory@example.org"


class Demo:
    """`pomeriumd demo`, started as a newcomer would."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                *(BIN / "pomeriumd", "demo", "--dir", directory, "--port", str(self.port)),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C stops all of it" in line:
                return
        raise AssertionError(f"the demo did not start:\n{self.said}{self.logs()}")

    def url(self, host: str, path: str = "/") -> str:
        """Return an address of the demo."""
        return f"https://{host}.pomerium.localhost:{self.port}{path}"

    def logs(self) -> str:
        """Return all that its parts logged."""
        return "".join(f"--- {log.name}\n{log.read_text()}" for log in self.directory.glob("*.log"))

    def stop(self) -> None:
        """Press Ctrl-C, and see that nothing is left."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=40)
        children = subprocess.run(
            ["pgrep", "-f", str(self.directory)], capture_output=True, text=True, check=False
        ).stdout.split()
        assert children == [], f"left running: {children}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, running."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    demo.stop()


@pytest.fixture(scope="module")
def browser(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, which trusts the demo's CA and nothing it should not."""
    home = tmp_path_factory.mktemp("home")
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for command in (
        ["certutil", "-d", f"sql:{database}", "-N", "--empty-password"],
        [
            *("certutil", "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "demo"),
            *("-i", str(demo.directory / "ca.pem")),
        ],
    ):
        subprocess.run(command, check=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=FLAGS,
            env={**os.environ, "HOME": str(home)},
        )
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own: nobody is signed in."""
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    context.set_default_timeout(15_000)
    yield context
    context.close()


def sign_in(page: Page, who: str) -> None:
    """Choose a user at the provider."""
    page.get_by_role("button", name=who).click()


def picture(page: Page, name: str) -> None:
    """Keep a picture, when the one who runs the tests wants to look."""
    directory = os.environ.get("SCREENSHOTS")
    if directory:
        page.screenshot(path=Path(directory) / f"{name}.png")


def test_sign_in_and_see_the_application(demo: Demo, context: BrowserContext) -> None:
    """Alice signs in and comes back to the very page she asked for, which knows who she is."""
    page = context.new_page()
    page.goto(demo.url("verify", "/?from=here"))
    assert page.url.startswith("http://127.0.0.1:")
    sign_in(page, ALICE)
    expect(page.get_by_text("Identity verified")).to_be_visible()
    assert page.url == demo.url("verify", "/?from=here")
    expect(page.get_by_role("heading", name="Hello")).to_contain_text("Alice")
    expect(page.locator("table")).not_to_contain_text("_pomerium=")
    picture(page, "verify")


def test_the_live_parts_work(demo: Demo, context: BrowserContext) -> None:
    """Through the proxy a WebSocket echoes, a clock ticks, and an upload arrives whole."""
    page = context.new_page()
    page.goto(demo.url("verify"))
    sign_in(page, ALICE)
    expect(page.locator("#echo-state")).to_have_text("open")
    page.locator("#say").fill("round trip")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#echoed li")).to_have_text("round trip")
    expect(page.locator("#clock")).not_to_have_text("…")
    body = os.urandom(3_000_000)
    page.locator("#file").set_input_files(
        {"name": "random", "mimeType": "application/octet-stream", "buffer": body}
    )
    expect(page.locator("#hashed")).to_have_text(hashlib.sha256(body).hexdigest())


def test_somebody_not_allowed_is_told_why(demo: Demo, context: BrowserContext) -> None:
    """Mallory signs in and reads a 403 that says as whom, why, and what to do."""
    page = context.new_page()
    page.goto(demo.url("verify"))
    sign_in(page, MALLORY)
    expect(page.get_by_role("heading", name="No access")).to_be_visible()
    expect(page.locator("main")).to_contain_text("mallory@example.org")
    expect(page.locator("main")).to_contain_text("e-mail")
    expect(page.locator("footer")).to_contain_text("Request ID")
    picture(page, "denied")


def test_sign_out(demo: Demo, context: BrowserContext) -> None:
    """After the button the next visit asks who one is; a link alone does nothing."""
    page = context.new_page()
    page.goto(demo.url("verify"))
    sign_in(page, ALICE)
    expect(page.get_by_text("Identity verified")).to_be_visible()
    page.goto(demo.url("verify", "/.pomerium/"))
    picture(page, "who")
    page.goto(demo.url("verify", "/.pomerium/sign_out"))
    picture(page, "sign-out")
    page.goto(demo.url("verify"))
    expect(page.get_by_text("Identity verified")).to_be_visible()
    page.goto(demo.url("verify", "/.pomerium/sign_out"))
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()  # the provider asks, too
    page.wait_for_url(demo.url("authenticate", "/.pomerium/signed_out*"))
    expect(page.locator("main")).to_contain_text("signed out")
    picture(page, "signed-out")
    page.goto(demo.url("verify"))
    expect(page.get_by_role("button", name=ALICE)).to_be_visible()


def test_two_tabs_at_once(demo: Demo, context: BrowserContext) -> None:
    """Two tabs that begin a sign-in side by side both come to where they were going."""
    first, second = context.new_page(), context.new_page()
    first.goto(demo.url("verify", "/?tab=1"))
    second.goto(demo.url("verify", "/?tab=2"))
    for number, page in ((1, first), (2, second)):
        sign_in(page, ALICE)
        expect(page.get_by_text("Identity verified")).to_be_visible()
        assert page.url == demo.url("verify", f"/?tab={number}")


def test_one_sign_in_is_enough_for_two_hosts(demo: Demo, context: BrowserContext) -> None:
    """A second host of ours asks nobody to sign in again."""
    page = context.new_page()
    page.goto(demo.url("verify"))
    sign_in(page, ALICE)
    expect(page.get_by_text("Identity verified")).to_be_visible()
    page.goto(demo.url("public", "/.pomerium/"))
    assert page.url == demo.url("public", "/.pomerium/")
    expect(page.locator("main")).to_contain_text("alice@example.com")


def test_a_narrow_screen(demo: Demo, context: BrowserContext) -> None:
    """At 320 pixels nothing has to be scrolled sideways."""
    page = context.new_page()
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(demo.url("verify"))
    sign_in(page, MALLORY)
    for path in ("/", "/.pomerium/", "/.pomerium/sign_out"):
        page.goto(demo.url("verify", path))
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    picture(page, "narrow")


def test_a_session_is_renewed_without_a_visible_step(browser: Browser, tmp_path: Path) -> None:
    """Past the recheck time the next page view goes through authenticate, unseen."""
    short = Demo(tmp_path, "--setting", "session_recheck=1s")
    context = browser.new_context(ignore_https_errors=True)
    try:
        page = context.new_page()
        page.goto(short.url("verify"))
        sign_in(page, ALICE)
        expect(page.get_by_text("Identity verified")).to_be_visible()
        for _ in range(3):  # the application's clock ticks once a second
            before = page.locator("#clock").text_content() or ""
            expect(page.locator("#clock")).not_to_have_text(before)
        visited: list[str] = []
        page.on("request", lambda request: visited.append(request.url))
        page.goto(short.url("verify", "/?renewed"))
        expect(page.get_by_text("Identity verified")).to_be_visible()
        assert page.url == short.url("verify", "/?renewed")
        assert any("authenticate.pomerium.localhost" in url for url in visited), visited
        assert not any("oauth2/authorize" in url for url in visited), visited
    finally:
        context.close()
        short.stop()
