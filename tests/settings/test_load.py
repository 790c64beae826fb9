"""Tests of pomeriumd.settings.load: the example that we ship, and laws over whole files."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import attrs
import hypothesis
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.canonical import digest
from pomeriumd.settings.check import check
from pomeriumd.settings.fields import ASYMMETRIC, written
from pomeriumd.settings.files import UNREADABLE
from pomeriumd.settings.keys import GLOBAL_KEYS, LISTS_OF_MAPS, ROUTE_KEYS, file_forms
from pomeriumd.settings.load import control_sockets, load, load_whole
from pomeriumd.settings.model import RouteSettings, Settings
from pomeriumd.settings.roles import needed
from pomeriumd.settings.trees import parse
from tests.support.settings_files import COOKIE_SECRET, SHARED_SECRET, minimal, pair, route, yaml

EXAMPLE = Path(__file__).parents[2] / "etc" / "pomerium" / "config.yaml"

SECONDS = st.integers(1, 86_400).map(float)
FLAGS = st.booleans()
NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
PATHS = st.from_regex(r"(/[a-z0-9-]{1,8}){1,4}", fullmatch=True)
ROUTES = st.fixed_dictionaries(
    {"to": st.sampled_from(["https://a.internal:8443/x", "https://[::1]", "https://10.0.0.1"])},
    optional={
        "allowed_users": st.lists(st.builds("{}@{}.example".format, NAMES, NAMES), max_size=3),
        "allowed_groups": st.lists(
            st.from_regex(r"[\w #:!'\"-]{1,8}\w", fullmatch=True), max_size=3
        ),
        "allowed_domains": st.lists(NAMES.map("{}.example".format), max_size=3),
        "allow_any_authenticated_user": FLAGS,
        "allow_websockets": FLAGS,
        "preserve_host_header": FLAGS,
        "pass_identity_headers": FLAGS,
        "tls_skip_verify": FLAGS,
        "timeout": SECONDS.map(written),
        "set_request_headers": st.dictionaries(
            NAMES.map("X-{}".format), st.from_regex(r"[!-~]([ -~]{0,8}[!-~])?", fullmatch=True)
        ).filter(lambda found: not any("pomerium" in str(item) for item in found.items())),
        "prefix": PATHS,
    },
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "address": st.sampled_from([":443", "127.0.0.1:8443", "[::1]:1"]),
        "trusted_proxies": st.lists(st.ip_addresses().map(str), max_size=3),
        "shared_secret": st.just(SHARED_SECRET),
        "cookie_name": NAMES,
        "cookie_http_only": FLAGS,
        "cookie_same_site": st.sampled_from(["lax", "none"]),
        "session_idle": st.integers(60, 86_400).map(lambda seconds: written(float(seconds))),
        "idp_signing_algorithms": st.lists(st.sampled_from(ASYMMETRIC), min_size=1),
        "idp_request_params": st.dictionaries(
            NAMES.filter(lambda name: name not in ("nonce", "scope", "state", "request")), NAMES
        ),
        "headers": st.dictionaries(NAMES.map("X-{}".format), NAMES),
        "timeout_read": SECONDS.map(written),
        "max_connections": st.integers(1, 10**6),
        "log_level": st.sampled_from(["debug", "info", "warn", "error"]),
        "pomerium_debug": FLAGS,
    },
)


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as an operator could write them, every key written out."""
    found = {
        name: _plain(getattr(settings, key.attribute))
        for name, key in GLOBAL_KEYS.items()
        if key.attribute and name not in LISTS_OF_MAPS
    }
    found["cookie_secret"] = COOKIE_SECRET
    if settings.shared_secret:
        found["shared_secret"] = SHARED_SECRET
    found["idp_client_secret"] = needed(settings.idp_client_secret, "").reveal().decode()
    found["headers"] = dict(settings.headers) or {"disable": True}
    found["idp_request_params"] = dict(settings.idp_request_params)
    found["policy"] = [_route(one) for one in settings.routes]
    return {name: value for name, value in found.items() if value is not None}


def _route(one: RouteSettings) -> dict[str, Any]:
    found = {name: _plain(getattr(one, key.attribute)) for name, key in ROUTE_KEYS.items()}
    found["set_request_headers"] = dict(one.set_request_headers)
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return written(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return getattr(value, "text", str(value))


NOW = 1_780_000_000.0
"""Within the certificate of ``pair``."""


class ExampleTests(SynchronousTestCase):
    """The example in etc/ is one that works."""

    def test_loads(self) -> None:
        """With the files that it names, the example loads as it is."""
        chain, key = pair()
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for path, octets in (
                ("tls/example.com.crt", chain),
                ("tls/example.com.key", key),
                ("secrets/idp_client_secret", b"secret\n"),
                ("secrets/shared_secret", SHARED_SECRET.encode() + b"\n"),
                ("secrets/cookie_secret", COOKIE_SECRET.encode() + b"\n"),
            ):
                (directory / path).parent.mkdir(exist_ok=True)
                (directory / path).write_bytes(octets)
            (directory / "config.yaml").write_text(EXAMPLE.read_text())
            found = load(str(directory / "config.yaml"), {"HOME": "/root"})
        self.assertEqual([r.place for r in found.routes], ["policy[0]", "policy[1]"])
        self.assertEqual(found.cookie_expire, 14 * 3600)

    def test_missing_files_are_all_there_is_to_do(self) -> None:
        """As shipped, it lacks five files and nothing else."""
        with self.assertRaises(SettingsError) as caught:
            load(str(EXAMPLE), {"HOME": "/root"})
        texts = {problem.text.partition(" ")[2] for problem in caught.exception.problems}
        self.assertEqual(texts, {"cannot be read: no such file or directory"})
        self.assertEqual(len(caught.exception.problems), 5)


class ControlSocketsTests(SynchronousTestCase):
    """control_sockets() says where to ask a daemon with such a file."""

    def places(self, text: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
        """Return where to look for a file of this text."""
        place = Path(self.enterContext(tempfile.TemporaryDirectory())) / "config.yaml"
        place.write_text(text)
        return control_sockets(str(place), environment or {"HOME": "/h"})

    def test_the_setting(self) -> None:
        """What the file says is the only place."""
        self.assertEqual(self.places("control_socket: /run/a.sock"), ("/run/a.sock",))

    def test_no_setting(self) -> None:
        """Else where the daemon would have it by itself, and then where systemd has it."""
        systemd = ("/run/pomerium/control.sock", "/var/lib/pomerium/control.sock")
        self.assertEqual(self.places("state_dir: /s"), ("/s/control.sock", *systemd))
        self.assertEqual(
            self.places("state_dir: /s", {"RUNTIME_DIRECTORY": "/run/pomerium"}), systemd
        )

    def test_nothing_else_need_be_right(self) -> None:
        """Faulty settings, and secrets that cannot be read, are in nobody's way."""
        text = "state_dir: /s\nnonsense: 1\ncookie_secret_file: /not/there\npolicy: 5"
        self.assertEqual(self.places(text)[0], "/s/control.sock")

    def test_what_cannot_be_used(self) -> None:
        """A fault in what is needed is told with its place."""
        for text, place in (
            ("control_socket: a", "control_socket (line 1)"),
            ("state_dir: a", "state_dir (line 1)"),
            ("[]", ""),
        ):
            with self.assertRaises(SettingsError) as caught:
                self.places(text)
            (problem,) = caught.exception.problems
            self.assertTrue(problem.place.startswith(place), problem)


class LawTests(SynchronousTestCase):
    """What holds for every file."""

    @hypothesis.settings(deadline=None)
    @given(FILES, st.lists(ROUTES, max_size=4))
    def test_round_trip(self, more: dict[str, Any], routes: list[dict[str, Any]]) -> None:
        """Settings written out as YAML, every key of them, are the same settings again."""
        given_routes = [
            {**one, "from": f"https://r{index}.example.com"} for index, one in enumerate(routes)
        ]
        found = check(parse(yaml(minimal(**more, policy=given_routes)), ".yaml"))
        text = pyyaml.safe_dump(plain(found), allow_unicode=True, sort_keys=False)
        self.assertEqual(check(parse(text, ".yaml")), found)

    @hypothesis.settings(deadline=None)
    @given(
        st.sampled_from(sorted({*GLOBAL_KEYS, *file_forms(GLOBAL_KEYS)})),
        st.sampled_from(sorted({*ROUTE_KEYS, *file_forms(ROUTE_KEYS)})),
        st.sampled_from(["", "*", "&", "!", "{", "[", "\n", "%", "/", "-----BEGIN "]),
        FLAGS,
    )
    def test_no_secret_is_shown(self, key: str, in_route: str, noise: str, whole: bool) -> None:
        """Whatever is done to secrets, no error and no repr shows one."""
        secret = "c2VjcmV0IG9mIHRoaXMgdGVzdCE"
        secrets = [name for name, one in GLOBAL_KEYS.items() if one.secret]
        values = dict.fromkeys(secrets, noise + secret)
        values |= {f"{name}_file": noise + secret for name in secrets[1:3]}
        headers = {"Authorization": f"Bearer {secret}\u00e9"}
        one = route(tls_client_key=noise + secret, set_request_headers=headers)
        more: dict[str, Any] = {key: 5} if whole else {}
        one |= {in_route: 5}
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "config.yaml"
            path.write_text(yaml({**minimal(**values), "policy": [one], **more}))
            with self.assertRaises(SettingsError) as caught:
                load(str(path), {"HEADERS": secret, "POLICY": secret if whole else ""})
        self.assertNotIn(secret, str(caught.exception))
        self.assertNotIn(secret, repr(caught.exception.problems))

    def test_repr_of_good_settings(self) -> None:
        """Good settings can be logged whole: none of their secrets is in their repr."""
        chain, key = pair()
        given = minimal(
            insecure_server=None,
            shared_secret=SHARED_SECRET,
            signing_key=key.decode(),
            certificate=chain.decode(),
            certificate_key=key.decode(),
            policy=[
                route(
                    to="https://a",
                    tls_client_cert=chain.decode(),
                    tls_client_key=key.decode(),
                    set_request_headers={"Authorization": "Bearer hunter2"},
                )
            ],
        )
        shown = repr(check(parse(yaml(given), ".yaml")))
        line = key.decode().splitlines()[1]
        for secret in ("hunter2", "client-secret-of-the-test", line, repr(bytes(range(32)))):
            self.assertNotIn(secret, shown)

    def test_everything_is_frozen(self) -> None:
        """Settings, routes and all in them can be hashed: nothing in them can change."""
        found = check(parse(yaml(minimal(policy=[route()])), ".yaml"))
        hash(found)
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            found.log_level = "x"  # type: ignore[misc]  # that it is refused is the test


class LoadWholeTests(SynchronousTestCase):
    """load_whole() tells which files were read, whatever came of them."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = str(self.directory / "config.yaml")

    def sha256(self, name: str) -> str:
        """Return the digest of a file."""
        return hashlib.sha256((self.directory / name).read_bytes()).hexdigest()

    def test_good(self) -> None:
        """Good settings come with their digest and all files that they name."""
        (self.directory / "secret").write_text("hunter2\n")
        Path(self.path).write_text(
            yaml(minimal(idp_client_secret=None, idp_client_secret_file="secret"))
        )
        found = load_whole(self.path, {}, NOW)
        self.assertEqual(found.settings, load(self.path, {}))
        self.assertEqual(found.digest, digest(load(self.path, {})))
        self.assertIsNone(found.error)
        self.assertEqual(
            found.files,
            {
                self.path: self.sha256("config.yaml"),
                str(self.directory / "secret"): self.sha256("secret"),
            },
        )

    def test_a_missing_file(self) -> None:
        """A file that is missing is told of, so that it can be waited for."""
        Path(self.path).write_text(yaml(minimal(signing_key_file="tls/none", certificate_file="x")))
        found = load_whole(self.path, {}, NOW)
        self.assertIsNone(found.settings)
        self.assertIsInstance(found.error, SettingsError)
        self.assertEqual(
            found.files,
            {
                self.path: self.sha256("config.yaml"),
                str(self.directory / "tls/none"): UNREADABLE,
                str(self.directory / "x"): UNREADABLE,
            },
        )

    def test_no_settings_file(self) -> None:
        """Without the file, and with one that is malformed, the file itself is told of."""
        self.assertEqual(load_whole(self.path, {}, NOW).files, {self.path: UNREADABLE})
        for content in (b"a: [", b"\xff", b"- 1"):
            Path(self.path).write_bytes(content)
            found = load_whole(self.path, {}, NOW)
            self.assertEqual(found.files, {self.path: self.sha256("config.yaml")})
            self.assertEqual((found.settings, found.digest), (None, ""))
