"""``pomeriumd secrets``: what it prints is what has to be done."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import yaml as pyyaml
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main
from pomeriumd.crypto.keys import mark
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Settings
from tests.support.settings_files import COOKIE_SECRET, SHARED_SECRET, minimal, pem_key, proxy

OTHER = base64.b64encode(bytes(range(200, 232))).decode()
NAMES = {"shared": "shared_secret", "cookie": "cookie_secret"}
OLD = {"shared": SHARED_SECRET, "cookie": COOKIE_SECRET}


def octets(text: str) -> bytes:
    """Return a secret's octets."""
    return base64.b64decode(text)


class SecretsCase(SynchronousTestCase):
    """A directory with a settings file in it."""

    def setUp(self) -> None:
        """Make it."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, suffix: str = ".yaml", **more: Any) -> Path:
        """Write a settings file."""
        given = {"state_dir": str(self.place / "state"), **more}
        path = self.place / f"config{suffix}"
        settings = minimal(**given)
        if suffix == ".toml":
            lines = (f"{name} = {json.dumps(value)}" for name, value in settings.items())
            path.write_text("\n".join(lines))
        elif suffix == ".json":
            path.write_text(json.dumps(settings))
        else:
            path.write_text(pyyaml.safe_dump(settings))
        return path

    def run_it(self, *words: str | Path, **environment: str) -> Result:
        """Run the command."""
        return CliRunner().invoke(
            main, ["secrets", *(str(word) for word in words)], env=environment
        )

    def said(self, *words: str | Path) -> str:
        """Return what the command prints, and nothing goes wrong."""
        ran = self.run_it(*words)
        self.assertEqual((ran.exit_code, ran.stderr), (0, ""), ran.output)
        return ran.stdout


class NewTests(SecretsCase):
    """``new`` prints a secret."""

    def test_it_is_a_root(self) -> None:
        """Each is 32 bytes in base64, and no two are the same."""
        made = {self.said("new") for _ in range(20)}
        self.assertEqual({len(octets(text)) for text in made}, {32})
        self.assertEqual(len(made), 20)


class RotateTests(SecretsCase):
    """``rotate`` prints the steps."""

    def after(self, text: str, path: Path, which: str) -> list[Settings]:
        """Do what each step says, and return the settings that are then in force."""
        name, suffix = NAMES[which], path.suffix
        before = path.read_text()
        found = []
        for step in re.split(r"\n[123]\. ", f"\n{text}")[1:]:
            lines = [line.strip() for line in step.split("\n") if line.startswith(" " * 7)]
            kept = re.compile(rf'[{{"]*{name}(_previous)?(_file)?\b')
            if suffix == ".json":
                given = {**json.loads(before), **json.loads(f"{{{''.join(lines)[:-1]}}}")}
            elif suffix == ".toml":
                given = {**tomllib.loads(before), **tomllib.loads("\n".join(lines))}
            else:
                given = {**pyyaml.safe_load(before), **pyyaml.safe_load("\n".join(lines))}
            shown = "\n".join(lines)
            given = {
                key: value
                for key, value in given.items()
                if not kept.fullmatch(key) or re.search(rf"\b{key}\b", shown)
            }
            if suffix == ".toml":
                out = "\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
            else:
                out = json.dumps(given)
            path.write_text(out)
            found.append(load(str(path), {}))
        path.write_text(before)
        return found

    def check_steps(self, steps: list[Settings], which: str, old: bytes, new: bytes) -> None:
        """Assert that the secrets are those of the three steps."""
        name = NAMES[which]
        found = []
        for one in steps:
            pair = getattr(one, name), getattr(one, f"{name}_previous")
            found.append(tuple(None if secret is None else secret.reveal() for secret in pair))
        self.assertEqual(found, [(old, new), (new, old), (new, None)])

    def new_in(self, text: str) -> bytes:
        """Return the new secret that was printed."""
        found = re.search(r"mark ([0-9a-f]{8}):\n\n +(\S{44})\n", text)
        assert found is not None, text
        self.assertEqual(mark(octets(found[2])), found[1])
        return octets(found[2])

    def test_the_lines_do_it(self) -> None:
        """Whoever does what is printed rotates the secret, in any format of the settings."""
        for which, suffix in product(NAMES, (".yaml", ".yml", ".json", ".toml")):
            path = self.write(suffix, shared_secret=SHARED_SECRET)
            text = self.said("rotate", which, "-c", path)
            steps = self.after(text, path, which)
            self.check_steps(steps, which, octets(OLD[which]), self.new_in(text))

    def test_the_lines_do_it_with_files(self) -> None:
        """A secret in a file of its own gets another one beside it, time after time."""
        for which, suffix in product(NAMES, (".yaml", ".json", ".toml")):
            name = NAMES[which]
            old, here, there = octets(OLD[which]), self.place / "a", self.place / "a.next"
            here.write_text(OLD[which])
            for at, beside in ((here, there), (there, here)):
                path = self.write(suffix, **{name: None, f"{name}_file": at.name})
                text = self.said("rotate", which, "-c", path)
                self.assertIn(f"install -m 0600 /dev/stdin {beside}\n", text)
                self.assertIn(f"chown --reference={at} {beside}\n", text)
                self.assertIn(f"Then remove {at}.\n", text)
                new = self.new_in(text)
                beside.write_text(base64.b64encode(new).decode())
                self.check_steps(self.after(text, path, which), which, old, new)
                old = new

    def test_from_the_kept_one(self) -> None:
        """Where the daemon has made the present one, it goes over to a configured one."""
        path = self.write()
        text = self.said("rotate", "shared", "-c", path)
        new = base64.b64encode(self.new_in(text)).decode()
        state = self.place / "state"
        one, two, three = re.findall(r"(?:^ {7}shared\S+ .*\n)+", text, re.MULTILINE)
        self.assertEqual(one.split(), ["shared_secret_previous:", new])
        kept = f"shared_secret_previous: (what `base64 < {state}/shared_secret` prints)"
        self.assertEqual(
            [line.strip() for line in two.splitlines()], [f"shared_secret: {new}", kept]
        )
        self.assertEqual(three.split(), ["shared_secret:", new])
        self.assertIn(f"Remove {state}/shared_secret;", text)

    def test_how_long_to_wait(self) -> None:
        """As long as a session lasts, and never shorter than what else the secret made."""
        for which, expire, wanted in (
            ("shared", None, "14h (cookie_expire: the longest"),
            ("shared", "90m", "1h30m (cookie_expire: the longest"),
            ("shared", "30m", "1h (more than cookie_expire: a sign-in"),
            ("cookie", None, "24h (more than cookie_expire: a sign-in"),
            ("cookie", "72h", "72h (cookie_expire: the longest"),
        ):
            path = self.write(
                shared_secret=SHARED_SECRET, cookie_expire=expire, session_recheck_max="20m"
            )
            self.assertIn(f"wait {wanted}", self.said("rotate", which, "-c", path))

    def test_the_signing_key_is_announced(self) -> None:
        """Applications have to hear of a key before it signs, if it comes from the secret."""
        told = "When all have it, wait 5m: the key"
        own = {"signing_key": pem_key().decode()}
        for which, more, wanted in (
            ("shared", {}, True),
            ("shared", own, False),
            ("cookie", {}, False),
        ):
            path = self.write(shared_secret=SHARED_SECRET, **more)
            self.assertEqual(told in self.said("rotate", which, "-c", path), wanted)

    def test_without_settings(self) -> None:
        """The steps are the same, and a note says what they took for granted."""
        for which, name in NAMES.items():
            text = self.said("rotate", which)
            new = base64.b64encode(self.new_in(text)).decode()
            self.assertEqual(text.count(f"{name}: {new}\n"), 2)
            self.assertIn("-c FILE tells it for yours", text)

    def test_one_is_under_way(self) -> None:
        """Then no new one is made; marks tell where this replica is, and what comes next."""
        for which, name in NAMES.items():
            path = self.write(**{"shared_secret": SHARED_SECRET, f"{name}_previous": OTHER})
            text = self.said("rotate", which, "-c", path)
            old, new = mark(octets(OLD[which])), mark(octets(OTHER))
            self.assertTrue(
                text.startswith(f"{name} has the mark {old}, {name}_previous has the mark {new}.\n")
            )
            _, first, second = text.split("\nIf it is ")
            self.assertTrue(first.startswith(f"{new}, this replica is at step 1."))
            self.assertIn(f"{name}: {OTHER}\n       {name}_previous: {OLD[which]}\n", first)
            self.assertTrue(second.startswith(f"{old}, this replica is at step 2."))
            self.assertIn(f"       {name}: {OLD[which]}\n\n", second)
            self.assertEqual(self.said("rotate", which, "-c", path), text)

    def test_the_kept_one_is_under_way(self) -> None:
        """Without a present one in the settings there is only one step that it can be at."""
        path = self.write(shared_secret_previous=OTHER)
        text = self.said("rotate", "shared", "-c", path)
        self.assertTrue(text.startswith("This replica is at step 1: "), text)
        self.assertIn(f"       shared_secret: {OTHER}\n", text)
        self.assertNotIn("If it is", text)

    def test_the_environment(self) -> None:
        """What no reload reads again cannot be rotated by reloads."""
        path = self.write()
        ran = self.run_it("rotate", "shared", "-c", path, SHARED_SECRET=SHARED_SECRET)
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertEqual(
            ran.stderr,
            f"{path}: 1 problem in the settings:\n"
            "  shared_secret: is from the environment, which a reload does not read again; put it "
            "into the settings file first\n",
        )

    def test_faulty_settings(self) -> None:
        """They are told as ``check`` tells them, and nothing is made."""
        ran = self.run_it("rotate", "shared", "-c", self.write(cookie_secret="hunter2"))
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("cookie_secret", ran.stderr)
        self.assertNotIn("hunter2", ran.stderr)

    def test_a_role_without_that_secret(self) -> None:
        """Who has no cookie_secret is told whose settings to rotate it in."""
        path = self.place / "proxy.yaml"
        path.write_text(pyyaml.safe_dump(proxy()))
        ran = self.run_it("rotate", "cookie", "-c", str(path))
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn(
            "cookie_secret: is not there, and proxy can do without; want authenticate's settings",
            ran.stderr,
        )

    def test_nothing_is_written(self) -> None:
        """What is printed is nowhere but on standard output."""
        path = self.write(shared_secret=SHARED_SECRET)
        before = {each: each.read_bytes() for each in self.place.iterdir()}
        self.said("rotate", "shared", "-c", path)
        self.assertEqual({each: each.read_bytes() for each in self.place.iterdir()}, before)
