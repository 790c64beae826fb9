"""Tests of pomeriumd.settings.trees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.node import Node, placed, shown_key
from pomeriumd.settings.trees import DEEPEST, MOST_NODES, parse

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10).filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


def plain(node: Node) -> Any:
    """Return a tree as plain values."""
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


class TreeCase(SynchronousTestCase):
    """Helpers."""

    def refuses(self, text: str, suffix: str, wanted: str) -> None:
        """Assert that a file is refused in exactly these words."""
        with self.assertRaises(SettingsError) as caught:
            parse(text, suffix)
        self.assertEqual([str(problem) for problem in caught.exception.problems], [wanted])


class YAMLTests(TreeCase):
    """YAML keeps its lines and none of its traps."""

    def test_lines(self) -> None:
        """Every value knows the line of its key."""
        tree = placed(parse("a: 1\n\nb:\n  - c: x\n    d:\n      y\n", ".yaml"))
        item = tree.entries["b"].items[0]
        found = [
            (node.path, node.where) for node in (*tree.entries.values(), *item.entries.values())
        ]
        self.assertEqual(
            found, [("a", "line 1"), ("b", "line 3"), ("b[0].c", "line 4"), ("b[0].d", "line 5")]
        )

    def test_types(self) -> None:
        """Types are YAML 1.2's: no octal, no clock, no date in disguise."""
        text = "[true, False, null, ~, '', 12, -1, 1.5, 0644, 1:30, 2026-01-01, 0x10, '12', 1_0]"
        self.assertEqual(
            plain(parse(text, ".yml")),
            [
                True,
                False,
                None,
                None,
                "",
                12,
                -1,
                1.5,
                "0644",
                "1:30",
                "2026-01-01",
                "0x10",
                "12",
                "1_0",
            ],
        )

    def test_ambiguous_words(self) -> None:
        """Yes and no are not guessed at."""
        self.refuses("a: x\nb: Yes", ".yaml", "line 2: want true or false, or yes in quotes")
        self.assertEqual(plain(parse("'no'", ".yaml")), "no")

    def test_empty(self) -> None:
        """A file of nothing is a map of nothing."""
        self.assertEqual(plain(parse("", ".yaml")), {})
        self.assertEqual(plain(parse("# nothing\n", ".yaml")), {})

    def test_twice(self) -> None:
        """A key that is there twice is refused; one of the two would be ignored."""
        self.refuses("a: 1\nb: 2\na: 3", ".yaml", "line 3: 'a' is there twice")

    def test_aliases(self) -> None:
        """Aliases and merges give what they stand for."""
        text = "base: &base {to: x, timeout: 1s}\nr:\n  - {<<: *base, to: y}\n  - *base"
        self.assertEqual(
            plain(parse(text, ".yaml"))["r"],
            [{"to": "y", "timeout": "1s"}, {"to": "x", "timeout": "1s"}],
        )
        two = "a: &a {x: 1, y: 2}\nb: &b {x: 3, z: 4}\nc:\n  <<: [*a, *b]"
        self.assertEqual(plain(parse(two, ".yaml"))["c"], {"x": 1, "y": 2, "z": 4})
        self.refuses(
            "a: &a 1\nb:\n  <<: *a", ".yaml", "line 3: want a map, or a list of maps, to merge"
        )

    def test_alias_of_nothing(self) -> None:
        """A value that looks like an alias is not repeated: it could be a secret."""
        wanted = "line 2: has an alias of nothing; put a value that begins with * in quotes"
        self.refuses("a: 1\nb: *hunter2", ".yaml", wanted)
        self.refuses("a: 1\nb: &b [*b]", ".yaml", wanted)

    def test_bomb(self) -> None:
        """Aliases count in full, so a small file cannot become a large one."""
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        self.refuses(
            "\n".join(lines),
            ".yaml",
            f"line 6: want at most {MOST_NODES} values, aliases counted in full",
        )

    def test_depth(self) -> None:
        """Levels are bounded."""
        for suffix, where in ((".yaml", "line 1: "), (".json", "")):
            self.refuses("[" * 5_000 + "]" * 5_000, suffix, f"{where}want at most {DEEPEST} levels")
        self.refuses("[" * 200_000, ".json", f"want at most {DEEPEST} levels")

    def test_tags(self) -> None:
        """No tag makes anything, and none is repeated."""
        for tag in ("!!python/object/apply:os.system", "!hunter2", "!!binary", "!!timestamp"):
            self.refuses(f"a: 1\nb: {tag} x", ".yaml", "line 2: has a tag; want a plain value")
        self.assertEqual(plain(parse("!!str 12", ".yaml")), "12")

    def test_malformed(self) -> None:
        """What is no YAML is refused with its line, and shows nothing of the file."""
        self.refuses(
            "a: 1\nb: [hunter2\nc: 2",
            ".yaml",
            "line 3: is no YAML: while parsing a flow sequence, did not find expected ',' or ']'",
        )
        self.refuses("a: 1\n---\nb: 2", ".yaml", "line 2: holds a second document; want one")
        self.refuses("? [a]\n: b", ".yaml", "line 1: want a text for a key")
        self.refuses("a: \x01hunter2", ".yaml", "is no YAML: holds a character that is not allowed")

    @hypothesis.settings(deadline=None)
    @given(PLAIN)
    def test_json_is_yaml(self, value: Any) -> None:
        """A document means the same as JSON and as YAML."""
        text = json.dumps(value)
        self.assertEqual(plain(parse(text, ".json")), value)
        if "\\ud" not in text and "\\u007f" not in text:
            self.assertEqual(plain(parse(text, ".yaml")), value)

    @hypothesis.settings(deadline=None)
    @given(st.text(), st.sampled_from([".yaml", ".json", ".toml"]))
    def test_any_text_is_read_or_refused(self, text: str, suffix: str) -> None:
        """No text fails in another way than by being refused, in ASCII."""
        try:
            parse(text, suffix)
        except SettingsError as error:
            self.assertTrue(str(error).isascii())

    @hypothesis.settings(deadline=None)
    @given(st.text(alphabet="*&!?:{}[]'\"\n ,-|>%@`#", max_size=10))
    def test_no_secret_in_a_malformed_file(self, noise: str) -> None:
        """However a file is malformed, what stands in it is not shown."""
        for text in (
            f"a: {noise}hunter2",
            f"{noise}: hunter2{noise}",
            f"cookie_secret:{noise}hunter2",
        ):
            for suffix in (".yaml", ".json", ".toml"):
                try:
                    parse(text, suffix)
                except SettingsError as error:
                    self.assertNotIn("hunter2", str(error))


class OtherFormatTests(TreeCase):
    """JSON and TOML make the same trees; other formats are refused by name."""

    def test_json(self) -> None:
        """JSON is refused with its line where it is malformed."""
        self.refuses('{"a": 1,\n"b": hunter2}', ".json", "line 2: is no JSON: expecting value")
        self.refuses('{"a": 1, "a": 2}', ".json", "'a' is there twice")
        self.refuses('{"a": NaN}', ".json", "holds a number that is none")
        self.refuses('{"a": 1' + "0" * 20 + "}", ".json", "holds too large a number")
        self.refuses('{"a": 1' + "0" * 5_000 + "}", ".json", "is no JSON: holds too long a number")

    def test_toml(self) -> None:
        """TOML has tables and dates; a date is a text."""
        text = 'a = 1979-05-27\nb = [1.5, true]\n[[policy]]\nfrom = "x"\n'
        self.assertEqual(
            plain(parse(text, ".toml")),
            {"a": "1979-05-27", "b": [1.5, True], "policy": [{"from": "x"}]},
        )
        self.refuses("a = 1\na = 2\n", ".toml", "line 2: is no TOML, or holds a key twice")
        self.refuses("a = hunter2\n", ".toml", "line 1: is no TOML, or holds a key twice")

    def test_others(self) -> None:
        """A format that we do not read is said to be none."""
        wanted = "want a file whose name ends in .yaml, .yml, .json or .toml"
        self.refuses("a=1", ".properties", wanted)
        self.refuses("a=1", "", wanted)


class ShownKeyTests(SynchronousTestCase):
    """A key is shown as far as it looks like one."""

    def test_shown(self) -> None:
        """What follows an odd character could be the secret that belongs to the key."""
        for key, shown in (
            ("cookie_secret", "cookie_secret"),
            ("cookie_secret:hunter2", "cookie_secret..."),
            ("t\u043e", r"t\u043e"),
            ("a" * 65, "..."),
            ("a-" * 33, "a-" * 32 + "..."),
            ("idp_client_id2", "idp_client_id2"),
            ("bE9nZ2VkSW5Cb3RoV2F5cw", "..."),
            ("cookie_secret_bE9nZ2VkSW5Cb3RoV2F5cw", "cookie_secret_..."),
            ("3f9ac1d07be2", "..."),
            ("", ""),
            ("\x1b[0m", "..."),
        ):
            self.assertEqual(shown_key(key), shown)
