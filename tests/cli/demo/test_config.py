"""The demo's settings: what `pomeriumd check` takes, with secrets that last."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.demo import pki
from pomeriumd.cli.demo.config import ALLOWED, DENIED, Ports, people, secrets_in, text
from pomeriumd.settings.load import load

PORTS = Ports(8443, 9000, 9001)


class SecretsTests(SynchronousTestCase):
    """secrets_in() makes secrets once."""

    def setUp(self) -> None:
        """Find a place."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_made_once(self) -> None:
        """Who is signed in stays so over a restart."""
        made, fresh = secrets_in(self.place, os.urandom)
        self.assertTrue(fresh)
        self.assertEqual(len(set(made.values())), 3)
        self.assertEqual(secrets_in(self.place, os.urandom), (made, False))
        self.assertEqual((self.place / "secrets.json").stat().st_mode & 0o777, 0o600)

    def test_broken_ones_are_made_anew(self) -> None:
        """A file that is no good is replaced whole."""
        for octets in ("", "{}", "[]", '{"shared_secret": 1}', '{"shared_secret": "AAAA"}', "\xff"):
            (self.place / "secrets.json").write_text(octets, encoding="latin-1")
            made, fresh = secrets_in(self.place, os.urandom)
            self.assertTrue(fresh, octets)
            self.assertEqual(secrets_in(self.place, os.urandom), (made, False))


class TextTests(SynchronousTestCase):
    """text() is a settings file that says what the demo promises."""

    def test_it_is_good(self) -> None:
        """It loads, lets in one person, and has a public route; also from an odd directory."""
        place = Path(self.enterContext(tempfile.TemporaryDirectory())) / 'a "b" : #c'
        place.mkdir()
        pki.ensure(place, datetime.now(UTC))  # noqa: TID251  # load() looks at the clock, too
        (place / "config.yaml").write_text(text(place, PORTS, secrets_in(place, os.urandom)[0]))
        settings = load(str(place / "config.yaml"), {})
        private, public = settings.routes
        self.assertEqual(private.from_.text, "https://verify.pomerium.localhost:8443")
        self.assertEqual(private.allowed_users, (ALLOWED,))
        self.assertTrue(public.allow_public_unauthenticated_access)
        self.assertEqual(settings.idp_provider_url, "http://127.0.0.1:9000")
        self.assertEqual(settings.state_dir, str(place / "state"))

    def test_the_people(self) -> None:
        """Both have verified e-mail addresses: it is the policy that tells them apart."""
        claims = [json.loads(person) for person in people()]
        self.assertEqual([one["email"] for one in claims], [ALLOWED, DENIED])
        self.assertTrue(all(one["email_verified"] is True for one in claims))
