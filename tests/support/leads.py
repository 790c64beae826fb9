"""
Where an answer would take a browser, by whatever means; and what its page is made of.

Everything is judged by an allow-list: a URL that is neither a plain path nor begins, letter
by letter, with a listed origin leads elsewhere, whatever some browser would make of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html.parser import HTMLParser
from urllib.parse import parse_qsl

import attrs

from tests.support.rig import Got

FIELDS = (b"location", b"refresh", b"link", b"content-location", b"x-accel-redirect", b"uri")
"""Header fields that name a URL which a browser, or a proxy in front, may go to."""

ATTRIBUTES = frozenset(
    {
        *("href", "src", "action", "formaction", "data", "cite", "poster", "background"),
        *("longdesc", "ping", "srcset", "srcdoc", "manifest", "xlink:href", "codebase", "profile"),
    }
)
"""Attributes whose value is a URL, or a page."""

HAND_OVER = ("pomerium_redirect_uri", "redirect_uri", "post_logout_redirect_uri")
"""Parameters of our own URLs that name the place after the next one."""

_SCHEMED = re.compile(r"(?:[a-z][a-z0-9+.-]*:|/)\S", re.IGNORECASE)

_ID = re.compile(rb"<code>rig-[0-9a-f]+</code>")
"""The request's id on a page: all that differs between two refusals."""

_VISIBLE = re.compile(r"[\x21-\x5b\x5d-\x7e]*")

VOID = frozenset({"meta", "link", "img", "br", "wbr", "input", "hr"})


@attrs.define
class Page(HTMLParser):
    """A page as a browser reads it: its elements in order, with what they have."""

    elements: list[tuple[str, tuple[tuple[str, str], ...]]] = attrs.Factory(list)
    text: list[str] = attrs.Factory(list)

    def __attrs_pre_init__(self) -> None:
        """Let the parser set itself up."""
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, tuple((name, value or "") for name, value in attrs)))

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        """Keep a comment as an element: no page of ours has one."""
        self.elements.append(("!--", ((data, ""),)))

    @property
    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the elements and the names of their attributes, without any value."""
        return [(tag, tuple(name for name, _ in given)) for tag, given in self.elements]

    @property
    def words(self) -> str:
        """Return all text."""
        return " ".join("".join(self.text).split())


def is_html(got: Got) -> bool:
    """Say whether an answer is a page."""
    return got.field(b"content-type").startswith(b"text/html")


def page(got: Got) -> Page:
    """Read the page that came."""
    assert is_html(got), got
    read = Page()
    read.feed(got.body.decode("utf-8"))
    read.close()
    return read


def leads(got: Got) -> list[str]:
    """Return every URL that an answer names, and those that these hand over."""
    found = list(_of_head(got))
    if is_html(got):
        found += _of_page(_ID.sub(b"", got.body))
    elif got.field(b"content-type").startswith(b"application/json") and got.body:
        found += _of_json(json.loads(got.body))
    more = [
        value
        for url in found
        for name, value in parse_qsl(url.partition("?")[2], keep_blank_values=True)
        if name in HAND_OVER
    ]
    return found + more


def stays(url: str, listed: Iterable[str]) -> bool:
    """Say whether a URL leads to this very host, or to a listed origin, for every reader."""
    if _VISIBLE.fullmatch(url) is None:
        return False
    if url == "" or (url.startswith("/") and not url.startswith("//")):
        return True
    return any(url == origin or url.startswith(f"{origin}/") for origin in listed)


def astray(got: Got, listed: Iterable[str]) -> list[str]:
    """Return the URLs of an answer that lead elsewhere."""
    listed = tuple(listed)
    return [url for url in leads(got) if not stays(url, listed)]


def _of_head(got: Got) -> Iterator[str]:
    for name in FIELDS:
        for value in got.all(name):
            text = value.decode("latin-1")
            if name == b"refresh":
                seconds, _, text = text.partition("; url=")
                assert seconds == "0", value
            yield text


@lru_cache(maxsize=512)
def _of_page(body: bytes) -> tuple[str, ...]:
    # Remembered, as most refusals are one page: the parser costs more than the daemon.
    read = Page()
    read.feed(body.decode("utf-8"))
    read.close()
    return tuple(
        value
        for tag, given in read.elements
        for name, value in given
        if name in ATTRIBUTES or (tag == "meta" and name == "content" and "url" in value.lower())
    )


def _of_json(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for value in document.values():
            yield from _of_json(value)
    elif isinstance(document, list):
        for value in document:
            yield from _of_json(value)
    elif isinstance(document, str) and _SCHEMED.match(document):
        yield document
