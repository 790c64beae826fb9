"""Tests of pomeriumd.settings.canonical: what makes settings the same, and what does not."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.canonical import digest
from pomeriumd.settings.load import load
from tests.support.settings_files import SHARED_SECRET, minimal, pair, route, settings

ROUTES = [
    route(prefix="/a", allowed_users=["ann@example.com"], set_request_headers={"X-A": "1"}),
    route(prefix="/b", to="https://b.internal", timeout="90s"),
]
GIVEN = minimal(
    control_socket="/run/pomerium/control.sock",
    shared_secret=SHARED_SECRET,
    cookie_expire="20h",
    trusted_proxies=["192.0.2.0/24", "2001:db8::1"],
    headers={"X-A": "b", "X-C": "d"},
    idp_request_params={"prompt": "login", "hd": "a"},
    policy=ROUTES,
)


def shuffled(value: Any, order: Any) -> Any:
    """Return the same value with the keys of every map in another order."""
    if isinstance(value, dict):
        keys = sorted(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


class SameTests(SynchronousTestCase):
    """What says the same has the same digest."""

    def of(self, text: str, suffix: str = ".yaml") -> str:
        """Return the digest of a file."""
        with tempfile.NamedTemporaryFile("w", suffix=suffix) as file:
            file.write(text)
            file.flush()
            return digest(load(file.name, {}))

    @hypothesis.settings(max_examples=20)
    @given(st.randoms(use_true_random=False))
    def test_order_and_form(self, order: Any) -> None:
        """The order of keys, comments, lines and the format make no difference."""
        wanted = digest(settings(**GIVEN))
        other = shuffled(GIVEN, order)
        block = pyyaml.safe_dump(other, sort_keys=False, default_flow_style=False)
        self.assertEqual(self.of(f"# above\n\n\n{block}\n# below\n"), wanted)
        self.assertEqual(self.of(json.dumps(other), ".json"), wanted)

    def test_spelling(self) -> None:
        """A duration in other words, and a default that is written out, make none either."""
        other = {**GIVEN, "cookie_expire": "1200m", "log_level": "info", "routes": []}
        self.assertEqual(digest(settings(**other)), digest(settings(**GIVEN)))

    def test_where_it_stands(self) -> None:
        """A file says what its content says, and so does the environment."""
        chain, key = pair()
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            (directory / "x.crt").write_bytes(chain)
            (directory / "x.key").write_bytes(key)
            tls = minimal(insecure_server=None)
            inline = {**tls, "certificate": chain.decode(), "certificate_key": key.decode()}
            named = {**tls, "certificate_file": "x.crt", "certificate_key_file": "x.key"}
            found = []
            for given, more in ((inline, {}), (named, {}), (named, {"LOG_LEVEL": "info"})):
                (directory / "c.json").write_text(json.dumps(given))
                found.append(digest(load(str(directory / "c.json"), more)))
        self.assertEqual(found, found[:1] * 3)

    def test_same_in_every_process(self) -> None:
        """Another process, whose hashes have another seed, finds the same."""
        program = (
            "import sys; from pomeriumd.settings import load; "
            "print(load.load_whole(sys.argv[1], {}, 1.78e9).digest)"
        )
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(GIVEN, file)
            file.flush()
            found = {
                subprocess.run(
                    [sys.executable, "-c", program, file.name],
                    env={"PYTHONHASHSEED": seed},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.strip()
                for seed in ("1", "2")
            }
        self.assertEqual(found, {digest(settings(**GIVEN))})
        self.assertRegex(found.pop(), "^[0-9a-f]{64}$")


class DifferentTests(SynchronousTestCase):
    """What says something else has another digest."""

    def test_each_change_counts(self) -> None:
        """Secrets, contents, values, the order of routes: each makes another one."""
        chain, key = pair()
        first, second = ROUTES
        variants: list[dict[str, Any]] = [
            GIVEN,
            {**GIVEN, "cookie_expire": "21h"},
            {**GIVEN, "shared_secret": None},
            {**GIVEN, "idp_client_secret": "another"},
            {**GIVEN, "headers": {"X-A": "b", "X-C": "e"}},
            {**GIVEN, "headers": {"disable": True}},
            {**GIVEN, "trusted_proxies": ["2001:db8::1", "192.0.2.0/24"]},
            {**GIVEN, "signing_key": key.decode()},
            {**GIVEN, "policy": [second, first]},
            {**GIVEN, "policy": [first]},
            {**GIVEN, "policy": [{**first, "allowed_users": ["bob@example.com"]}, second]},
            {**GIVEN, "policy": [{**first, "set_request_headers": {"X-A": "2"}}, second]},
            {**GIVEN, "policy": [{**first, "from": "https://wiki.example.com:8443"}, second]},
            {**GIVEN, "policy": [first, {**second, "tls_custom_ca": chain.decode()}]},
            {
                **GIVEN,
                "insecure_server": False,
                "certificate": chain.decode(),
                "certificate_key": key.decode(),
            },
        ]
        digests = {digest(settings(**variant)) for variant in variants}
        self.assertEqual(len(digests), len(variants))
