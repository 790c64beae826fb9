"""Which field names a client may not send on, in every spelling."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.names import (
    FAMILIES,
    NAMES,
    REMEMBERED_SIZE,
    VERDICTS,
    VERDICTS_MOST,
    ends_here,
)

TOKEN_SIGNS = b"!#$%&'*+-.^_`|~"
"""What a field name may hold beside letters and digits (RFC 9110 section 5.6.2)."""

BROWSERS_OWN = """
    accept accept-encoding accept-language authorization cache-control content-encoding
    content-language content-type cookie date dnt from if-match if-modified-since if-none-match
    if-range if-unmodified-since last-event-id origin pragma priority range referer
    sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site
    sec-fetch-user sec-gpc sec-websocket-extensions sec-websocket-key sec-websocket-protocol
    sec-websocket-version traceparent tracestate upgrade-insecure-requests user-agent via
    access-control-request-method access-control-request-headers x-requested-with x-csrf-token
    x-xsrf-token x-api-key x-auth-token x-auth-key x-amz-date x-b3-traceid soapaction depth
    destination overwrite lock-token timeout if x-goog-upload-protocol x-ms-date mcp-session-id
    x-pomeriumish x-forward remotely x-remotely x-envoyage proxy-status x-usertype
"""
"""Names that clients use for their own purposes, and some that only look like ours."""

OURS_AND_OTHERS = """
    x-pomerium x-pomerium-jwt-assertion x-pomerium-authenticated-user-email
    x-pomerium-claim-email x-pomerium-authorization x-forwarded-for x-forwarded-user
    x-forwarded-uri x-forwarded-client-cert x-forwarded forwarded x-real-ip x-client-ip
    true-client-ip cf-connecting-ip x-original-url x-original-uri x-rewrite-url
    x-accel-redirect x-envoy-original-path x-http-method-override x-http-method
    x-method-override remote-user x-remote-user x-remote-group x-auth-request-email
    x-webauth-user x-request-id proxy client-cert x-auth-user
"""
"""What we or another proxy would say."""

identity_names = st.one_of(
    st.sampled_from(sorted(NAMES | set(FAMILIES))),
    st.builds(lambda family, rest: family + b"-" + rest, st.sampled_from(FAMILIES), st.binary()),
)


class EndsHereTests(SynchronousTestCase):
    """ends_here()."""

    def test_clients_own(self) -> None:
        """What browsers and API clients send for themselves goes on."""
        self.assertEqual([name for name in BROWSERS_OWN.split() if ends_here(name.encode())], [])

    def test_ours_and_forwarded(self) -> None:
        """Identity, forwarding, rewriting and overriding names end here."""
        for name in OURS_AND_OTHERS.split():
            with self.subTest(name):
                self.assertTrue(ends_here(name.encode()))

    @given(identity_names, st.data())
    def test_every_fold(self, name: bytes, data: st.DataObject) -> None:
        """Any sign for any hyphen, and any case, ends here all the same."""
        spelled = bytearray()
        for octet in name:
            if octet == ord("-"):
                spelled += bytes([data.draw(st.sampled_from(TOKEN_SIGNS))])
            else:
                spelled += data.draw(st.sampled_from([bytes([octet]), bytes([octet]).upper()]))
        self.assertTrue(ends_here(bytes(spelled)))

    @given(st.from_regex(rb"[a-z0-9-]*[^A-Za-z0-9-][a-z0-9-]*", fullmatch=True))
    def test_only_letters_digits_and_hyphens_go_on(self, name: bytes) -> None:
        """A name with any other sign ends here: some backend folds each of them."""
        self.assertTrue(ends_here(name))

    def test_no_name(self) -> None:
        """An empty name ends here."""
        self.assertTrue(ends_here(b""))

    def test_a_line_end_does_not_end_the_look(self) -> None:
        """A newline behind a good name does not make it pass."""
        self.assertTrue(ends_here(b"accept\n"))
        self.assertTrue(ends_here(b"x-pomerium-\n"))

    @given(st.from_regex(rb"[a-z0-9-]{1,40}", fullmatch=True))
    def test_remembers_what_it_found(self, name: bytes) -> None:
        """A name is judged the same the first time and after."""
        first = ends_here(name)
        self.assertEqual(ends_here(name), first)


class MemoryTests(SynchronousTestCase):
    """What an attacker with made-up names can make us keep."""

    def test_is_bounded(self) -> None:
        """However many names come, a bounded number is kept, and verdicts stay right."""
        for number in range(VERDICTS_MOST + 50):
            self.assertFalse(ends_here(b"a%d" % number))
            self.assertLessEqual(len(VERDICTS), VERDICTS_MOST)
        self.assertTrue(ends_here(b"x-pomerium-user"))
        self.assertFalse(ends_here(b"accept"))

    def test_long_names_are_not_kept(self) -> None:
        """A long name is judged and forgotten."""
        for name in (b"a" * (REMEMBERED_SIZE + 1), b"x-pomerium-" + b"a" * 60_000):
            self.assertEqual(ends_here(name), name.startswith(b"x-"))
            self.assertNotIn(name, VERDICTS)


class ManualTests(SynchronousTestCase):
    """docs/policy.md, where operators look a lost field up."""

    def test_names_every_name(self) -> None:
        """Each name and family that ends here stands in the manual."""
        manual = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
        names = [name.decode() for name in sorted(NAMES)]
        families = [f"{family.decode()}-*" for family in FAMILIES]
        self.assertEqual([one for one in names + families if f"`{one}`" not in manual], [])
