"""Promises of Strict-Transport-Security: never where it would lock people out."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.model import RESPONSE_HEADERS
from tests.support.certificates import Issued, issue, leaf
from tests.support.logged import Logged
from tests.support.rig import NAVIGATION, Got, Rig, parse, request
from tests.support.settings import route

HSTS = b"strict-transport-security"
GOOD, TRIAL, AUTH = "good.test", "trial.test", "auth.example.com"


class HeadersTests(SynchronousTestCase):
    """Answers of a host carry what its certificate allows."""

    def rig(self, *certificates: Issued, **more: Any) -> Rig:
        """Return a daemon with routes for both hosts, open to all."""
        pairs = tuple(
            one.pair(f"certificates[{number}]") for number, one in enumerate(certificates)
        )
        routes = (route(host, allow_public_unauthenticated_access=True) for host in (GOOD, TRIAL))
        return Rig(*routes, insecure_server=False, certificates=pairs, **more)

    def got(self, rig: Rig, host: str, *fields: tuple[bytes, bytes]) -> Got:
        """Return what the application's answer became, that says so itself."""
        client = rig.connect()
        client.sends(request(b"/", host=host.encode()))
        said = b"".join(b"%s: %s\r\n" % field for field in fields)
        rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\n" + said + b"content-length: 0\r\n\r\n")
        return parse(client.got())

    def own(self, rig: Rig, host: str) -> Got:
        """Return a page of ours at this host."""
        client = rig.connect()
        client.sends(request(b"/.pomerium/", *NAVIGATION, host=host.encode()))
        return parse(client.got())

    def test_a_host_with_a_good_certificate_insists(self) -> None:
        """So do its application's answers and our own pages."""
        rig = self.rig(leaf(GOOD, TRIAL, AUTH))
        for host in (GOOD, TRIAL):
            self.assertTrue(self.got(rig, host).field(HSTS))
            self.assertTrue(self.own(rig, host).field(HSTS))

    def test_a_host_with_a_self_signed_one_does_not(self) -> None:
        """Nor do our pages there, nor may its application; the host beside it is as before."""
        rig = self.rig(leaf(GOOD, AUTH), issue(TRIAL))
        said = (HSTS, b"max-age=1")
        self.assertEqual(self.got(rig, TRIAL, said).all(HSTS), [])
        self.assertEqual(self.own(rig, TRIAL).all(HSTS), [])
        self.assertEqual(len(self.got(rig, GOOD, said).all(HSTS)), 1)
        self.assertEqual(len(self.own(rig, GOOD).all(HSTS)), 1)

    def test_other_fields_stay(self) -> None:
        """Only this one is left out."""
        rig = self.rig(issue(GOOD, TRIAL, AUTH))
        names = {name.lower() for name, _ in RESPONSE_HEADERS} - {HSTS.decode()}
        got = {name.decode().lower() for name, _ in self.got(rig, TRIAL).fields}
        self.assertTrue(names and names <= got)

    def test_a_host_that_falls_back_to_a_self_signed_one_does_not(self) -> None:
        """What is shown counts, and not whether its names fit."""
        rig = self.rig(issue("else.test"), leaf(GOOD, AUTH))
        self.assertEqual(self.got(rig, TRIAL).all(HSTS), [])
        self.assertTrue(self.got(rig, GOOD).field(HSTS))

    def test_a_host_that_nobody_configured_does_not(self) -> None:
        """Where any certificate is for a time of trial, 404s of strangers' hosts say nothing."""
        rig = self.rig(leaf(GOOD, AUTH), issue(TRIAL))
        client = rig.connect()
        client.sends(request(b"/", host=b"nobody.test"))
        self.assertEqual(parse(client.got()).all(HSTS), [])

    def test_a_staging_authority_is_for_a_time_of_trial(self) -> None:
        """Its certificates are treated alike."""
        staging = issue(authority=True, title="(STAGING) Pretend Pear X1")
        rig = self.rig(leaf(GOOD, AUTH), issue(TRIAL, by=staging))
        self.assertEqual(self.got(rig, TRIAL).all(HSTS), [])

    def test_what_is_written_is_sent(self) -> None:
        """Who writes headers has what is written."""
        headers = (("Strict-Transport-Security", "max-age=60"),)
        rig = self.rig(issue(GOOD, TRIAL, AUTH), headers=headers)
        self.assertEqual(self.got(rig, TRIAL).field(HSTS), b"max-age=60")

    def test_without_tls_of_ours_it_is_sent(self) -> None:
        """A balancer in front has its own certificate."""
        rig = Rig(route(GOOD, allow_public_unauthenticated_access=True))
        self.assertTrue(self.got(rig, GOOD).field(HSTS))

    def test_it_is_logged_once_a_generation(self) -> None:
        """The hosts are named; requests say no more of it."""
        logged = Logged(self)
        rig = self.rig(leaf(GOOD), issue(TRIAL, AUTH))
        self.got(rig, TRIAL)
        self.own(rig, TRIAL)
        (line,) = logged.lines()
        self.assertEqual(
            line,
            "no Strict-Transport-Security is sent for trial.test, auth.example.com: the "
            "certificate is self-signed or of a staging authority, and browsers that insisted on "
            "it would lock people out; get one that browsers trust",
        )

    def test_where_all_is_well_nothing_is_logged(self) -> None:
        """No line for good certificates."""
        logged = Logged(self)
        self.rig(leaf(GOOD, TRIAL, AUTH))
        self.assertEqual(logged.lines(), [])
