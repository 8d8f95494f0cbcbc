"""YAML that means one thing, within a budget: what is refused, in which line; the rest is read as written."""

from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.config import config_dir, read_document, read_yaml
from robolearn.errors import ConfigError
from robolearn.files import strict_yaml
from robolearn.files.strict_yaml import MAX_BYTES, dump_yaml, parse_yaml, plain_scalar


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n",
            5,
            "key 'c' is given twice, first in line 3. Keep one of them",
        ),
        ("a: 1\nb: 2\na: 1\n", 3, "key 'a' is given twice, first in line 1"),
        ("a: yes", 1, "'yes' is true or false to some readers; write true, false, or quotes around text"),
        ("a: [1, Off]", 1, "'Off' is true or false"),
        ("a: 010", 1, "'010' is octal to some readers; leave out the leading zero"),
        ("a: 007.5", 1, "leave out the leading zero"),
        ("a: 1:30", 1, "'1:30' is a number in base 60"),
        ("a: 12:30:00", 1, "base 60"),
        ("a: 1_000", 1, "leave out the underscores"),
        ("a: 0x1F", 1, "write it in decimal"),
        ("a: 0o17", 1, "write it in decimal"),
        ("a: .nan", 1, "'.nan' is not finite; write a number"),
        ("a: -.inf", 1, "not finite"),
        ("a: 1e400", 1, "beyond what a number can hold"),
        ("a: 1" + "0" * 5000, 1, "5001 digits"),
        ("a: !!python/object/apply:os.system [id]", 1, "the tag tag:yaml.org,2002:python"),
        ("a: !mine 1", 1, "the tag !mine is not read. Leave it out"),
        ("a: &x 1\nb: *x", 1, "the anchor &x is not read. Write the value out"),
        ("a: 1\nb: *x", 2, "the alias *x is not read. Write the value out"),
        ("<<: {a: 1}", 1, "merge keys are not read"),
        ("a: 1\n---\nb: 2", 2, "a second document begins here. Keep one document to a file"),
        ("? [1]\n: 2", 1, "a key must be text, not a list or a group"),
        ("1: 2", 1, "a key must be text: put '1' in quotes"),
        ("~: 2", 1, "a key must be text"),
        ("x" * 300 + ": 1", 1, "a key of 300 characters"),
        ("a:\n  - " + "x" * 70_000, 2, "at most 65,536 are read"),
        ('a: "\\e[2J"', 1, "control character U+001B"),
        ('"\\e[31m": 1', 1, "control character U+001B"),
        ("a: ce\u202ell", 1, "control character U+202E"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested deeper than 32 levels"),
        ("a:\n" + "- 1\n" * 50_001, 49_999, "more than 50,000 values"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text, line, message):
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "my.yaml")
    assert str(error.value).startswith(f"'my.yaml', line {line}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: \xff", "is not UTF-8 text: byte 3. Save it as UTF-8"),
        ("a: [1", "is not valid YAML"),
        ("\ta: 1", "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("- 1", "must hold `key: value` lines at the top, not a list"),
        ("1", "not a int"),
        ("a: 1 #" + "x" * MAX_BYTES, "is larger than the 1,048,576 bytes"),
        ("[" * 100_000, "not valid YAML|nested deeper"),
        ("{a: " * 100_000, "not valid YAML|nested deeper"),
    ],
)
def test_what_is_no_mapping_or_no_yaml_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "my.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-0", 0),
        ("3e-4", 3e-4),
        ("2e6", 2_000_000),
        ("1.", 1.0),
        ("+.5", 0.5),
        ("1.5E+3", 1500.0),
        ("y", "y"),
        ("0b0b", "0b0b"),
        ("2024-01-01", "2024-01-01"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, value):
    found = plain_scalar(text)
    assert (found, type(found)) == (value, type(value))


def test_quoted_text_is_text_whatever_it_looks_like():
    assert parse_yaml("a: 'yes'\nb: \"010\"\nc: |\n  1:30\n", "f").data == {
        "a": "yes",
        "b": "010",
        "c": "1:30\n",
    }


def test_an_empty_file_and_a_byte_order_mark_are_read():
    assert parse_yaml("# nothing\n", "f").data == {}
    assert parse_yaml("\ufeffa: 1".encode(), "f").data == {"a": 1}


def test_lines_are_known_for_every_key_and_item():
    document = parse_yaml("a:\n  b: 1\n  c:\n    - 5\n    - d: 6\n", "f")
    assert document.line("a", "c", 1, "d") == 5
    assert document.line("a", "c", 0) == 4
    assert document.line("a", "nowhere") == 1
    assert document.line("z") is None


@pytest.mark.parametrize("path", sorted(config_dir().rglob("*.yaml")), ids=lambda path: path.name)
def test_every_packaged_config_reads_as_yaml_1_1_reads_it(path):
    assert read_yaml(path) == yaml.safe_load(path.read_text())


def test_without_libyaml_the_same_is_read_and_refused(monkeypatch):
    monkeypatch.setattr(strict_yaml, "_PARSER", yaml.SafeLoader)
    path = config_dir() / "safety" / "fr3.yaml"
    assert read_yaml(path) == yaml.safe_load(path.read_text())
    for text in ("a: 1\na: 2", "a: " + "[" * 5000, "a: *b"):
        with pytest.raises(ConfigError):
            parse_yaml(text, "f")


_LOOKALIKES = [
    "yes",
    "010",
    "1:30",
    "3e-4",
    "~",
    "0x10",
    "1_0",
    ".inf",
    "#",
    "*a",
    "&a",
    "<<",
    "",
    "a: b",
    "- x",
]
_LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"])
_LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(_LOOKALIKES),
    st.text(_LETTERS, max_size=20),
)
_KEY = st.text("abcdefghij_0123456789 -:.", min_size=1, max_size=12)
_TREE = st.recursive(
    _LEAF, lambda x: st.lists(x, max_size=3) | st.dictionaries(_KEY, x, max_size=3), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_KEY, _TREE, max_size=4))
def test_what_is_written_reads_back_the_same(data):
    assert parse_yaml(dump_yaml(data), "f").data == data


def special(tmp_path, kind):
    path = tmp_path / f"{kind}.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "large":
        path.write_text("a: 1\n#" + "x" * MAX_BYTES)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fifo", "is a FIFO, expected a regular file"),
        ("device", "is a device, expected a regular file"),
        ("directory", "is a directory, expected a regular file"),
        ("loop", "Too many levels of symbolic links"),
        ("large", "is larger than the 1,048,576 bytes"),
        ("missing", "No file"),
        ("nul\0", "holds a null character"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind, message):
    with pytest.raises(ConfigError, match=message):
        read_document(special(tmp_path, kind))
