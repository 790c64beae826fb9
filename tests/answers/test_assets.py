"""pomeriumd.answers.assets and the files beside it: what a page loads, and that a wheel has it."""

from __future__ import annotations

import re
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import ICON, STYLESHEET, Pages
from tests.support.calls import unread

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pomeriumd" / "answers"
CSS = (PACKAGE / "static" / "style.css").read_text("utf-8")

SCHEMES = {
    "light": CSS.index(":root {"),
    "dark": CSS.index("prefers-color-scheme: dark"),
    "print": CSS.index("@media print"),
}

TEXT_ON_GROUND = (
    ("ink", "ground"),
    ("ink", "card"),
    ("ink", "sunk"),
    ("soft", "ground"),
    ("soft", "card"),
    ("soft", "sunk"),
    ("accent", "card"),
    ("accent", "ground"),
    ("accent-strong", "card"),
    ("accent-strong", "sunk"),
    ("accent-ink", "accent"),
    ("accent-ink", "accent-strong"),
    ("ok", "ok-ground"),
    ("failed", "failed-ground"),
)

EDGE_ON_GROUND = (("edge", "card"), ("edge", "ground"), ("accent", "card"), ("accent", "ground"))


def colours(scheme: str) -> dict[str, str]:
    """Read the colours that a scheme has in the end, the light ones being the base."""
    found: dict[str, str] = {}
    for at in (SCHEMES["light"], SCHEMES[scheme]):
        block = CSS[at : CSS.index("}", at)]
        found |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    return found


def luminance(colour: str) -> float:
    """Compute the relative luminance; source: WCAG 2.2, glossary."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Compute the contrast ratio; source: WCAG 2.2, 1.4.3."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class StylesheetTests(SynchronousTestCase):
    """The stylesheet is ours alone and readable in every scheme."""

    def test_text_has_contrast(self) -> None:
        """Text stands out at least 4.5 to 1, in light and in dark (WCAG AA)."""
        for scheme in ("light", "dark"):
            seen = colours(scheme)
            low = [pair for pair in TEXT_ON_GROUND if contrast(seen[pair[0]], seen[pair[1]]) < 4.5]
            self.assertEqual((scheme, low), (scheme, []))

    def test_edges_have_contrast(self) -> None:
        """What marks a field, a button or the focus stands out at least 3 to 1."""
        for scheme in ("light", "dark"):
            seen = colours(scheme)
            low = [pair for pair in EDGE_ON_GROUND if contrast(seen[pair[0]], seen[pair[1]]) < 3]
            self.assertEqual((scheme, low), (scheme, []))

    def test_dark_and_print_change_every_ground(self) -> None:
        """No scheme leaves a ground of another one behind."""
        light, dark = colours("light"), colours("dark")
        self.assertEqual([name for name in light if light[name] == dark[name]], [])
        self.assertEqual({colours("print")[n] for n in ("ground", "card", "sunk")}, {"#ffffff"})

    def test_loads_nothing(self) -> None:
        """No address stands in it: no font, picture or sheet comes from anywhere."""
        for word in ("url(", "@import", "@font-face", "://", "image-set(", "expression("):
            self.assertNotIn(word, CSS.lower())

    def test_knows_its_readers(self) -> None:
        """Scheme, motion, keyboard, high contrast, paper and small screens are seen to."""
        for word in (
            "prefers-color-scheme: dark",
            "prefers-reduced-motion: reduce",
            ":focus-visible",
            "forced-colors: active",
            "@media print",
            "@media (max-width",
        ):
            self.assertIn(word, CSS)


class TemplateTests(SynchronousTestCase):
    """The templates themselves are plain."""

    def test_no_way_around_escaping(self) -> None:
        """No template marks anything safe, or turns escaping off."""
        for path in (PACKAGE / "templates").iterdir():
            text = path.read_text("utf-8")
            for word in ("safe", "autoescape", "Markup", "include", "<script", "style=", "<style"):
                self.assertNotIn(word, text, path.name)

    def test_icon_has_no_script(self) -> None:
        """The icon is a drawing: no script, no style, no reference."""
        text = (PACKAGE / "static" / "icon.svg").read_text("utf-8")
        self.assertEqual(re.findall(r"<(\w+)", text), ["svg", "rect", "path", "circle"])
        self.assertNotIn("href", text)


class AssetTests(SynchronousTestCase):
    """Assets are kept for a year, but only as the version that was asked for."""

    def setUp(self) -> None:
        """Build the pages."""
        self.pages = Pages()

    def test_fields(self) -> None:
        """Type, no sniffing and the year stand on each."""
        year = b"public, max-age=31536000, immutable"
        for answer, kind in (
            (self.pages.stylesheet(), b"text/css; charset=utf-8"),
            (self.pages.icon(), b"image/svg+xml"),
        ):
            self.assertEqual(answer.status, 200)
            self.assertEqual(
                dict(answer.fields),
                {
                    b"content-type": kind,
                    b"x-content-type-options": b"nosniff",
                    b"cache-control": year,
                },
            )
        self.assertEqual(self.pages.stylesheet().body, CSS.encode())

    def test_page_names_the_version(self) -> None:
        """The address on a page gets the long life; any other version must ask again."""
        page = self.pages.error(RuntimeError(), unread("r")).body.decode()
        for asset, make in ((STYLESHEET, self.pages.stylesheet), (ICON, self.pages.icon)):
            match = re.search(re.escape(asset) + r"\?(v=[0-9a-f]{12})\"", page)
            self.assertIsNotNone(match)
            version = match[1].encode() if match else b""
            lives = {
                query: dict(make(self.call(query)).fields)[b"cache-control"]
                for query in (version, b"v=000000000000", None)
            }
            self.assertEqual(
                lives,
                {
                    version: b"public, max-age=31536000, immutable",
                    b"v=000000000000": b"no-cache",
                    None: b"no-cache",
                },
            )

    def call(self, query: bytes | None) -> Call:
        """Make a call with a query."""
        call = unread("r")
        return attrs.evolve(call, request=call.request._replace(query=query))


class PackageDataTests(SynchronousTestCase):
    """A wheel has every file that the pages need."""

    def test_every_file_is_listed(self) -> None:
        """Each template and asset matches a line of package_data in setup.cfg."""
        settings = ConfigParser()
        settings.read(ROOT / "setup.cfg", "utf-8")
        lines = settings["options.package_data"]["pomeriumd.answers"].split()
        there = [
            path.relative_to(PACKAGE).as_posix()
            for folder in ("templates", "static")
            for path in (PACKAGE / folder).iterdir()
        ]
        self.assertGreaterEqual(len(there), 7)
        missing = [name for name in there if not any(fnmatch(name, line) for line in lines)]
        self.assertEqual(missing, [])
