"""Tests of pomeriumd.settings.sources, through load(): what goes over what, and from where."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.files import LARGEST_FILE, LARGEST_NAMED
from pomeriumd.settings.keys import GLOBAL_KEYS, ROUTE_KEYS
from pomeriumd.settings.load import load
from pomeriumd.settings.model import Address, Secret, Settings
from tests.support.settings_files import SHARED_SECRET, minimal, pair, route, yaml


class SourceCase(SynchronousTestCase):
    """A directory with a settings file in it."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, text: str | bytes, name: str = "config.yaml") -> str:
        """Write a file and return its path."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def load(self, environment: dict[str, str] | None = None, **more: Any) -> Settings:
        """Return the settings of the least good file and more."""
        return load(self.write(yaml(minimal(**more))), environment or {})

    def refuses(
        self, wanted: list[str], environment: dict[str, str] | None = None, **more: Any
    ) -> None:
        """Assert that loading finds exactly these problems."""
        with self.assertRaises(SettingsError) as caught:
            self.load(environment, **more)
        self.assertEqual([str(problem) for problem in caught.exception.problems], wanted)


class FileTests(SourceCase):
    """The file itself."""

    def refused(self, path: str, wanted: str) -> None:
        """Assert that a file is refused in exactly these words."""
        with self.assertRaises(SettingsError) as caught:
            load(path, {})
        self.assertEqual(str(caught.exception), f"1 problem in the settings:\n  {wanted}")

    def test_formats(self) -> None:
        """JSON, YAML and TOML say the same."""
        given = minimal(address=":8443", policy=[route(prefix="/a")])
        toml = (
            "".join(
                f"{key} = {json.dumps(value)}\n" for key, value in given.items() if key != "policy"
            )
            + "[[policy]]\n"
            + "".join(f"{k} = {json.dumps(v)}\n" for k, v in given["policy"][0].items())
        )
        wanted = load(self.write(yaml(given)), {})
        for name, text in (("c.json", yaml(given)), ("c.YML", yaml(given)), ("c.toml", toml)):
            self.assertEqual(load(self.write(text, name), {}), wanted)

    def test_byte_order_mark(self) -> None:
        """A mark that some editors leave is no part of the first key."""
        self.assertEqual(
            load(self.write(b"\xef\xbb\xbf" + yaml(minimal()).encode()), {}), self.load()
        )

    def test_unreadable(self) -> None:
        """What cannot be read gives the system's reason."""
        self.refused(str(self.directory / "none.yaml"), "cannot be read: no such file or directory")
        self.refused(str(self.directory), "cannot be read: not a regular file")
        self.refused(self.write(b"\xff", "x.yaml"), "is not UTF-8")
        self.refused("a\0b", "cannot be read: holds a nul character")

    def test_no_waiting_for_a_pipe(self) -> None:
        """A pipe nobody writes to does not hold us up."""
        path = self.directory / "pipe.yaml"
        os.mkfifo(path)
        self.refused(str(path), "cannot be read: not a regular file")

    def test_too_large(self) -> None:
        """The size is bounded before anything is parsed."""
        self.refused(
            self.write(b"#" * (LARGEST_FILE + 1), "x.yaml"),
            f"cannot be read: larger than {LARGEST_FILE} bytes",
        )

    def test_places_have_lines(self) -> None:
        """A problem names the key and its line."""
        text = "insecure_server: 1\npolicy:\n\n  - to: x\n    from: https://a\n"
        with self.assertRaises(SettingsError) as caught:
            load(self.write(text), {"STATE_DIR": "/s"})
        places = [problem.place for problem in caught.exception.problems]
        self.assertIn("insecure_server (line 1)", places)
        self.assertIn("policy[0].to (line 4)", places)
        self.assertIn("cookie_secret", places)


class EnvironmentTests(SourceCase):
    """The environment goes over the file."""

    def test_over(self) -> None:
        """A variable wins; an empty one is none."""
        self.assertEqual(self.load({"ADDRESS": ":1"}, address=":2").address, Address("", 1))
        self.assertEqual(self.load({"ADDRESS": ""}, address=":2").address, Address("", 2))

    def test_kinds(self) -> None:
        """Every kind of value can be said as text."""
        found = self.load(
            {
                "COOKIE_SECURE": "False",
                "COOKIE_EXPIRE": "20h",
                "MAX_CONNECTIONS": "7",
                "IDP_SCOPES": "openid, email ,",
                "HEADERS": "X-A:b, X-C: d:e",
                "IDP_REQUEST_PARAMS": '{"hd": "a,b"}',
            }
        )
        self.assertEqual(
            (found.cookie_secure, found.cookie_expire, found.max_connections),
            (False, 72_000.0, 7),
        )
        self.assertEqual(found.idp_scopes, ("openid", "email"))
        self.assertEqual(found.headers, (("X-A", "b"), ("X-C", "d:e")))
        self.assertEqual(found.idp_request_params, (("hd", "a,b"),))

    def test_every_key_has_its_variable(self) -> None:
        """Each key of the process is read from its variable: a wrong value is found there."""
        for key in GLOBAL_KEYS.values():
            with self.assertRaises(SettingsError) as caught:
                self.load({key.name.upper(): "\x7f"})
            text = str(caught.exception)
            self.assertIn(f"(environment {key.name.upper()}", text)

    def test_routes(self) -> None:
        """POLICY and ROUTES are base64 of YAML and replace the file's lists."""
        encoded = base64.b64encode(b"- from: https://a.example\n  to: http://b\n").decode()
        found = self.load(
            {"POLICY": encoded}, policy=[route(), route(prefix="/x")], routes=[route()]
        )
        self.assertEqual([r.from_.host for r in found.routes], ["a.example", "wiki.example.com"])
        self.refuses(
            ["policy[0].to (environment POLICY, line 2): no host in 'http://'"],
            {"POLICY": base64.b64encode(b"- from: https://a\n  to: http://").decode()},
        )
        for text in ("- from: https://a", "%%%", base64.b64encode(b"\xff").decode()):
            self.refuses(
                ["policy (environment POLICY): want base64 of a YAML list, got neither"],
                {"POLICY": text},
            )
        self.refuses(
            [
                (
                    "routes (environment ROUTES): line 2: is no YAML: while parsing a flow node, "
                    "did not find expected node content"
                )
            ],
            {"ROUTES": base64.b64encode(b"[").decode()},
        )

    def test_malformed_maps(self) -> None:
        """A map that cannot be read is a problem, and is not shown."""
        for text, wanted in (
            ("hunter2", "want Key:Value,Key2:Value2 or a JSON object"),
            ("{hunter2", "want a JSON object of texts, got no JSON"),
            ('{"a": 1}', "want a JSON object of texts, got another value in it"),
        ):
            self.refuses([f"headers (environment HEADERS): {wanted}"], {"HEADERS": text})

    def test_file_only(self) -> None:
        """Certificates stand in the file only."""
        self.refuses(
            ["certificates (environment CERTIFICATES): stands in the settings file only"],
            {"CERTIFICATES": "x"},
        )

    def test_known_variables_are_refused(self) -> None:
        """A variable of Pomerium that would do nothing is refused; others are none of ours."""
        self.refuses(
            [("proxy_log_level (environment PROXY_LOG_LEVEL): not yet; log_level is for all")],
            {"PROXY_LOG_LEVEL": "info", "PATH": "/bin", "OTEL_SDK_DISABLED": "true", "FROM": "x"},
        )

    def test_state_dir(self) -> None:
        """Systemd's directory, then XDG's, then the home directory's."""
        for environment, wanted in (
            ({"STATE_DIR": "/own", "STATE_DIRECTORY": "/a"}, "/own"),
            ({"STATE_DIRECTORY": "/a:/b", "HOME": "/h"}, "/a"),
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/pomeriumd"),
            ({"HOME": "/h"}, "/h/.local/state/pomeriumd"),
        ):
            self.assertEqual(self.load(environment, state_dir=None).state_dir, wanted)
        self.refuses(
            ["state_dir: missing; want it here, or STATE_DIRECTORY or HOME in the environment"],
            state_dir=None,
        )

    def test_control_socket(self) -> None:
        """The settings' own, else in systemd's directory, else in that of the state."""
        for environment, more, wanted in (
            ({"CONTROL_SOCKET": "/e", "RUNTIME_DIRECTORY": "/r"}, {"control_socket": "/f"}, "/e"),
            ({"RUNTIME_DIRECTORY": "/r"}, {"control_socket": "/f"}, "/f"),
            ({"RUNTIME_DIRECTORY": "/r:/s"}, {}, "/r/control.sock"),
            ({}, {"state_dir": "/v"}, "/v/control.sock"),
            ({"STATE_DIRECTORY": "/a", "STATE_DIR": "/b"}, {}, "/b/control.sock"),
        ):
            self.assertEqual(self.load(environment, **more).control_socket, wanted)

    def test_a_socket_path_that_is_too_long(self) -> None:
        """The place is that of the directory, if it is the directory that is too long."""
        for given, place in (
            ({"control_socket": "/" + "a" * 107}, "control_socket"),
            ({"control_socket": "/" + "\u00e4" * 53 + "a"}, "control_socket"),
            ({"state_dir": "/" + "a" * 94}, "state_dir"),
        ):
            with self.assertRaises(SettingsError) as caught:
                self.load({}, **given)
            (problem,) = caught.exception.problems
            self.assertEqual(problem.place.partition(" ")[0], place)
            self.assertIn("want at most 107 bytes", problem.text)
            self.assertTrue(problem.text.endswith("; name a shorter one in control_socket"))

    def test_one_problem_of_a_faulty_state_dir(self) -> None:
        """The socket that would be in it is not complained of as well."""
        for given in ("relative", 5, ["a"]):
            with self.assertRaises(SettingsError) as caught:
                self.load({}, state_dir=given)
            self.assertEqual(len(caught.exception.problems), 1)


class NamedFileTests(SourceCase):
    """Keys that name files."""

    def test_secrets_and_certificates(self) -> None:
        """What a file holds stands for the key; paths count from the settings file."""
        chain, key = pair()
        self.write(SHARED_SECRET + "\n", "secrets/shared")
        self.write("from a file\n", "secrets/client")
        self.write(chain, "tls.crt")
        tls_key = self.write(key, "tls.key")
        found = self.load(
            {"IDP_CLIENT_SECRET_FILE": "secrets/client"},
            insecure_server=None,
            idp_client_secret_file="elsewhere",
            shared_secret_file="secrets/shared",
            certificates=[{"cert": "tls.crt", "key": tls_key}],
            certificate_file="tls.crt",
            certificate_key_file="tls.key",
            signing_key_file="tls.key",
            policy=[route(to="https://a", tls_custom_ca_file="tls.crt")],
        )
        self.assertEqual(found.shared_secret, Secret(bytes(range(32, 64))))
        self.assertEqual(found.idp_client_secret, Secret(b"from a file"))
        self.assertEqual([p.chain for p in found.certificates], [chain, chain])
        self.assertEqual(found.signing_key, Secret(key))
        self.assertEqual(found.routes[0].tls_custom_ca, chain)

    def test_unreadable(self) -> None:
        """A file that cannot be read prints its path and the system's reason."""
        self.refuses(
            [
                "signing_key_file (line 9): 'no/such' cannot be read: no such file or directory",
                "policy[0].tls_custom_ca_file (line 14): want the path of a file",
            ],
            signing_key_file="no/such",
            policy=[route(to="https://a", tls_custom_ca_file=5)],
        )

    def test_a_secret_in_place_of_its_path(self) -> None:
        """A secret that stands where its file's path belongs is not shown."""
        for given in (SHARED_SECRET, "hunter2hunter2", "/" + SHARED_SECRET[1:]):
            self.refuses(
                [
                    (
                        "shared_secret_file (line 9): want the path of a file; this one cannot be "
                        "read: no such file or directory"
                    )
                ],
                shared_secret_file=given,
            )

    def test_both_forms(self) -> None:
        """A key and its file together: which one counts would be a guess."""
        self.refuses(
            ["idp_client_secret_file (line 9): idp_client_secret is there too; want one of them"],
            idp_client_secret_file="x",
        )

    def test_every_secret_may_stand_in_a_file(self) -> None:
        """No setting forces a secret into the settings file."""
        for key in (*GLOBAL_KEYS.values(), *ROUTE_KEYS.values()):
            if key.secret:
                self.assertEqual(key.file_form, f"{key.name}_file")

    def test_a_map(self) -> None:
        """A map stands in its file as it would stand in the settings, in YAML or JSON."""
        wanted = (("Authorization", "Basic aHVudGVyMg=="), ("X-Key", "a: b"))
        for name, text in (
            ("headers.yaml", 'Authorization: Basic aHVudGVyMg==\nX-Key: "a: b"\n'),
            ("headers", '{"Authorization": "Basic aHVudGVyMg==", "X-Key": "a: b"}'),
            ("headers.json", '{\n\t"Authorization": "Basic aHVudGVyMg==",\n\t"X-Key": "a: b"}'),
            ("headers.json", '\ufeff{"Authorization": "Basic aHVudGVyMg==", "X-Key": "a: b"}'),
        ):
            self.write(text, f"secrets/{name}")
            found = self.load(policy=[route(set_request_headers_file=f"secrets/{name}")])
            self.assertEqual(found.routes[0].set_request_headers, wanted)

    def test_a_faulty_map(self) -> None:
        """Each fault has its place, in both files; nothing of what the file holds is shown."""
        control = "holds a character that a header field may not: want printable ASCII"
        nested = "is no YAML: mapping values are not allowed in this context"
        host = "Host is not set here; see 'preserve_host_header'"
        nothing = "has no value; want text, or take the line out"
        name = "want a header name of letters, digits and dashes"
        sign = "is no YAML: holds a character that is not allowed"
        faults: tuple[tuple[str | bytes, dict[str, str]], ...] = (
            ("hunter2", {"": "want a map, got text"}),
            ("Bearer hunter2\n", {"": "want a map, got text"}),
            ("- hunter2", {"": "want a map, got a list"}),
            ("", {"": "the file is empty; want a map"}),
            ("# X-Key: hunter2\n", {"": "the file is empty; want a map"}),
            ("{}", {"": "the file is empty; want a map"}),
            ("X-Key: hunter2: hunter2", {"": f"the file's line 1: {nested}"}),
            ("X-Key: a\nX-Key: b", {"": "the file's line 2: 'X-Key' is there twice"}),
            ("X-Key: a\nx-key: b", {"2.x-key": "is there twice, in another case"}),
            (
                "A: 17\nHost: h",
                {"1.A": "want text, got a number; put it in quotes", "2.Host": host},
            ),
            ("A: [hunter2]\nB:", {"1.A": "want text, got a list", "2.B": nothing}),
            ("A: {hunter2: a}", {"1.A": "want text, got a map"}),
            ('X-Key: "hunter2\\n"', {"1.X-Key": control}),
            ("X-Key;hunter2: hunter2", {"1.X-Key...": name}),
            ("X-Key: !!binary hunter2", {"": "the file's line 1: has a tag; want a plain value"}),
            (b"X-Key: \xff", {"": "is not UTF-8"}),
            ("X-Key: \x07", {"": sign}),
        )
        for text, wanted in faults:
            self.write(text, "headers")
            problems = []
            for place, said in wanted.items():
                line, _, entry = place.partition(".")
                within = f".{entry} (line 13, the file's line {line})" if entry else " (line 13)"
                problems.append(f"policy[0].set_request_headers_file{within}: {said}")
            self.refuses(problems, policy=[route(set_request_headers_file="headers")])

    def test_environment_covers_both_forms(self) -> None:
        """A variable goes over either form in the file."""
        self.assertEqual(
            self.load({"SHARED_SECRET": SHARED_SECRET}, shared_secret_file="none").shared_secret,
            Secret(bytes(range(32, 64))),
        )

    def test_bounded(self) -> None:
        """A file that is named is bounded, and no device is read."""
        self.write(b"x" * (LARGEST_NAMED + 1), "a/large")
        self.refuses(
            [
                (
                    "signing_key_file (line 9): 'a/large' cannot be read: larger than "
                    f"{LARGEST_NAMED} bytes"
                )
            ],
            signing_key_file="a/large",
        )
        self.refuses(
            ["signing_key_file (line 9): '/dev/zero' cannot be read: not a regular file"],
            signing_key_file="/dev/zero",
        )
