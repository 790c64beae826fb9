"""Tests of pomeriumd.acme.store and what it shares with pomeriumd.settings.automatic."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from datetime import datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.acme.problems import REFUSED, AcmeError
from pomeriumd.acme.schedule import Trouble
from pomeriumd.acme.store import AccountFile, Store
from pomeriumd.settings.automatic import missing_names, wanted_names, with_kept
from pomeriumd.settings.files import UNREADABLE, Files
from tests.support.certificates import BEGIN, NOW, Issued, days, issue
from tests.support.settings import make_settings, route

YEAR = BEGIN + days(365)
URL = "https://ca.example.com/directory"


def pem(issued: Issued) -> bytes:
    """Return a key and its certificate as they are kept."""
    return issued.key_pem + issued.pem


class StoreCase(SynchronousTestCase):
    """A store in an empty directory."""

    def setUp(self) -> None:
        """Make it."""
        self.place = str(Path(self.enterContext(TemporaryDirectory()), "place"))
        numbers = count()
        self.store = Store(self.place, lambda size: next(numbers).to_bytes(size))

    def keep(self, *names: str, end: datetime = YEAR) -> Issued:
        """Keep a certificate for names."""
        issued = issue(*names, end=end)
        self.store.keep(names, pem(issued), NOW)
        return issued

    def files(self) -> set[str]:
        """Return what lies beside the index."""
        return {path.name for path in Path(self.place, "certificates").glob("*.pem")}


class CertificatesTests(StoreCase):
    """What is kept is there for this host and the other, and goes when it is needless."""

    def test_kept(self) -> None:
        """A certificate is found with its names and its time; only its owner can read it."""
        self.keep("*.example.com", "example.com")
        [found] = self.store.kept()
        self.assertEqual(found.names, {"*.example.com", "example.com"})
        self.assertEqual((found.begin, found.must_staple), (BEGIN.timestamp(), False))
        for path in Path(self.place).rglob("*"):
            wanted = 0o700 if path.is_dir() else 0o600
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), wanted, path)

    def test_renewed(self) -> None:
        """One that another makes needless, or that has expired, is forgotten; no other is."""
        self.keep("a.example.com", "b.example.com")
        self.keep("c.example.com", end=BEGIN + days(1))
        self.keep("a.example.com")
        self.assertEqual(len(self.files()), 2)
        self.keep("a.example.com", "b.example.com")
        self.assertEqual(
            [sorted(one.names) for one in self.store.kept()], [["a.example.com", "b.example.com"]]
        )
        self.assertEqual(len(self.files()), 1)

    def test_broken_files(self) -> None:
        """What is missing, broken, another's key or not ours is passed over."""
        self.keep("a.example.com")
        directory = Path(self.place, "certificates")
        (directory / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n")
        (directory / "other.pem").write_bytes(issue().key_pem + issue("b.example.com").pem)
        (directory / "secret.pem").write_bytes(pem(issue("c.example.com")))
        index = directory / "index"
        index.write_text(
            index.read_text() + "broken.pem\nother.pem\ngone.pem\n../certificates/secret.pem\n"
        )
        self.assertEqual([one.names for one in self.store.kept()], [{"a.example.com"}])
        index.write_bytes(b"\xff\xfe\0")
        self.assertEqual(self.store.kept(), [])

    def test_in_the_settings(self) -> None:
        """A kept certificate is one of the settings; an index that is not there is watched for."""
        settings = make_settings(
            route("app.example.com"),
            insecure_server=False,
            autocert=True,
            autocert_dir=self.place,
        )
        files = Files()
        self.assertEqual(with_kept(settings, files).certificates, ())
        self.assertEqual(files.seen, {f"{self.place}/certificates/index": UNREADABLE})
        self.assertEqual(missing_names(settings), ("app.example.com", "auth.example.com"))

        self.keep("other.example.org")
        self.keep("app.example.com", end=BEGIN + days(400))
        self.keep("app.example.com", "x.example.com", end=BEGIN + days(300))
        found = with_kept(settings, Files())
        self.assertEqual([pair.automatic for pair in found.certificates], [True])
        self.assertEqual(missing_names(found), ("auth.example.com",))
        self.assertFalse(found.grpc_tls)


class WantedTests(SynchronousTestCase):
    """wanted_names() is what is served here with TLS and has no certificate of somebody's."""

    def test_hosts(self) -> None:
        """Each host once; no address, and nothing without a dot."""
        hosts = ("b.example.com", "a.example.com", "a.example.com", "10.0.0.1", "[::1]", "intranet")
        settings = make_settings(*map(route, hosts), autocert=True)
        self.assertEqual(
            wanted_names(settings), ("a.example.com", "auth.example.com", "b.example.com")
        )

    def test_configured(self) -> None:
        """A host that a configured certificate covers is not ordered, by a wildcard neither."""
        pairs = (issue("*.example.com").pair(), issue("a.example.org").pair())
        settings = make_settings(
            *map(route, ("a.example.com", "a.b.example.com", "a.example.org")),
            autocert=True,
            certificates=pairs,
        )
        self.assertEqual(wanted_names(settings), ("a.b.example.com",))

    def test_wildcards(self) -> None:
        """Hosts under a wildcard that is ordered are not ordered one by one."""
        settings = make_settings(
            *map(route, ("a.example.com", "a.b.example.com")),
            autocert=True,
            autocert_names=("*.example.com",),
        )
        self.assertEqual(wanted_names(settings), ("*.example.com", "a.b.example.com"))

    def test_off(self) -> None:
        """Without autocert nothing is wanted."""
        self.assertEqual(wanted_names(make_settings(route())), ())

    def test_roles(self) -> None:
        """A proxy orders for its routes, authenticate for itself."""
        for services, wanted in (
            (("proxy",), ("app.example.com",)),
            (("authenticate",), ("auth.example.com",)),
        ):
            settings = make_settings(route(), services=services, autocert=True)
            self.assertEqual(wanted_names(settings), wanted)


class AccountTests(StoreCase):
    """The account is made once."""

    def test_the_same_again(self) -> None:
        """The key is there again, for its authority; what is known goes with it."""
        key = self.store.account_key(URL)
        self.assertEqual(self.store.account_key(URL).private_numbers(), key.private_numbers())
        other = self.store.account_key("https://other.example.com/")
        self.assertNotEqual(other.private_numbers(), key.private_numbers())
        self.assertEqual(self.store.account(URL), AccountFile())
        account = AccountFile(directory=URL, kid="https://ca/1", key="x", contact=("mailto:a@b",))
        self.store.keep_account(account)
        self.assertEqual(self.store.account(URL), account)

    def test_no_key(self) -> None:
        """A file that holds another thing is left as it is, and named."""
        self.store.account_key(URL)
        [path] = Path(self.place, "accounts").glob("*/key.pem")
        path.write_text("no key")
        with self.assertRaises(AcmeError) as caught:
            self.store.account_key(URL)
        self.assertEqual(
            str(caught.exception),
            f"'{path}' holds no EC P-256 key; put back what was there, or remove the directory "
            "that it is in, and another account is made",
        )
        self.assertEqual(path.read_text(), "no key")

    def test_a_key_is_private(self) -> None:
        """It is PKCS8 without a passphrase, for its owner alone."""
        self.store.account_key(URL)
        [path] = Path(self.place, "accounts").glob("*/key.pem")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        serialization.load_pem_private_key(path.read_bytes(), None)


class TroublesTests(StoreCase):
    """What went wrong outlives the process that saw it."""

    def test_remembered(self) -> None:
        """It is read as it was written; nonsense is as good as nothing."""
        self.assertEqual(self.store.troubles(), {})
        troubles = {"a.example.com": Trouble(failures=2, next=5.5, outcome=REFUSED, text="no")}
        self.store.remember(troubles)
        self.assertEqual(self.store.troubles(), troubles)
        for nonsense in ("", "[]", "{", '{"troubles": {"a": 1}}', '{"troubles": 5}'):
            Path(self.place, "state.json").write_text(nonsense)
            self.assertEqual(self.store.troubles(), {}, nonsense)


HOLDER = """
import sys, time
from pomeriumd.acme.store import Store
assert Store(sys.argv[1], None).lock() is not None
print("held", flush=True)
time.sleep(600)
"""


class LockTests(StoreCase):
    """One orders at a time."""

    def test_one_at_a_time(self) -> None:
        """Whoever comes second does not wait; when the first has ended, it is free."""
        lock = self.store.lock()
        assert lock is not None
        self.assertIsNone(self.store.lock())
        os.close(lock)
        again = self.store.lock()
        assert again is not None
        os.close(again)

    def test_a_dead_holder(self) -> None:
        """One that was killed holds nothing."""
        words = [sys.executable, "-c", HOLDER, self.place]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), "held\n")
            self.assertIsNone(self.store.lock())
            holder.send_signal(signal.SIGKILL)
        lock = self.store.lock()
        assert lock is not None
        os.close(lock)
