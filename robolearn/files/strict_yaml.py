"""YAML of others within a budget, read so that no value means two things.

Scalars follow the core schema of YAML 1.2 (yaml.org/spec/1.2.2, 10.3.2). What YAML 1.1 reads otherwise (`yes`, `010`,
`1:30`, `1_000`) is refused with its line, as are keys given twice, tags, anchors, aliases and several documents.
The text is read event by event, so that no nesting and no alias costs more than the budget before it is refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from robolearn.errors import ConfigError
from robolearn.files.printable import UNPRINTABLE, printable
from robolearn.files.reading import MIB

MAX_BYTES = MIB
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_KEY = 256
MAX_TEXT = 65_536
_DIGITS = 40

Path = tuple[str | int, ...]
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML has it

_NULL = ("", "~", "null", "Null", "NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[1-9][0-9]*[eE]\+?[0-9]{1,2}")  # 2e6 is a whole number
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_AMBIGUOUS = (
    (re.compile(r"(?i)yes|no|on|off"), "true or false to some readers; write true, false, or quotes around text"),
    (re.compile(r"[-+]?0[0-9][0-9_.]*([eE][-+]?[0-9]+)?"), "octal to some readers; leave out the leading zero"),
    (re.compile(r"[-+]?(0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+)"), "a number to some readers; write it in decimal"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"), "a number to some readers; leave out the underscores"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "a number in base 60 to some readers; write it in decimal, or quotes around text",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A mapping that was read, and in which line each of its keys and items stands."""

    data: dict[str, Any]
    name: str
    lines: Mapping[Path, int] = field(default_factory=dict, repr=False)
    digest: str = ""  # SHA-256 of the bytes

    def line(self, *path: str | int) -> int | None:
        """The line of a key, or of the nearest group around it; None where nothing is known."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def parse_yaml(data: bytes | str, name: str) -> Document:
    """The mapping in a YAML text; an empty text is an empty mapping.

    name: of the file, for messages. Raises ConfigError with file, line, and what to write instead.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"'{name}' is larger than the {MAX_BYTES:,} bytes that are read of such a file.")
    reader = _Reader(name)
    try:
        for event in _events(data):
            reader.take(event)
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{name}' is not UTF-8 text: byte {error.start}. Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"'{name}' is not valid YAML: {printable(' '.join(str(error).split()))}") from None
    except RecursionError:
        raise ConfigError(f"'{name}' is nested deeper than {MAX_DEPTH} levels.") from None
    digest = hashlib.sha256(data if isinstance(data, bytes) else data.encode("utf-8", "replace")).hexdigest()
    if reader.root is None:
        return Document({}, name, digest=digest)
    if not isinstance(reader.root, dict):
        raise ConfigError(
            f"'{name}' must hold `key: value` lines at the top, not a {type(reader.root).__name__}."
        )
    return Document(reader.root, name, reader.lines, digest)


def plain_scalar(text: str) -> Any:
    """What an unquoted scalar is: None, bool, int, float, or the text itself.

    Raises ValueError, with what to write instead, where YAML 1.1 and 1.2 disagree or no finite number holds it.
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.fullmatch(text) or _WHOLE.fullmatch(text):
        if len(text) > _DIGITS:
            raise ValueError(f"has {len(text)} digits; no number here needs more than {_DIGITS}")
        if "e" not in text and "E" not in text:
            return int(text)
        mantissa, _, exponent = text.lower().partition("e")
        return int(mantissa) * 10 ** int(exponent)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("is beyond what a number can hold; write a smaller one, or quotes around text")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("is not finite; write a number")
    for pattern, why in _AMBIGUOUS:
        if pattern.fullmatch(text):
            raise ValueError(f"is {why}")
    return text


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back as the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    try:
        same = plain_scalar(text) == text
    except ValueError:
        same = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if same else "'")


_Dumper.add_representer(str, _represent_text)


def _events(data: bytes | str) -> Iterator[yaml.Event]:
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    loader = _PARSER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Group:
    """A mapping or a list that is being filled."""

    def __init__(self, value: dict[str, Any] | list[Any], path: Path) -> None:
        self.value, self.path = value, path
        self.key: str | None = None

    @property
    def next_path(self) -> Path:
        """Where the next value goes."""
        return (*self.path, len(self.value) if self.key is None else self.key)


class _Reader:
    """Builds plain values from events."""

    def __init__(self, name: str) -> None:
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self._name = name
        self._open: list[_Group] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """One event of the parser, in order."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(event, "a second document begins here. Keep one document to a file")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"the alias *{event.anchor} is not read. Write the value out")
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)

    def _node(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES:,} values")
        if event.anchor is not None:
            self._refuse(
                event, f"the anchor &{event.anchor} is not read. Write the value out where it is needed"
            )
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag} is not read. Leave it out; put text in quotes")
        group = self._open[-1] if self._open else None
        if group is not None and isinstance(group.value, dict) and group.key is None:
            group.key = self._key(event, group)
            return
        path = () if group is None else group.next_path
        if isinstance(event, yaml.ScalarEvent):
            value: Any = self._scalar(event)
        else:
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
        if group is None:
            self.root = value
        else:
            self.lines.setdefault(path, event.start_mark.line + 1)
            if isinstance(group.value, list):
                group.value.append(value)
            else:
                assert group.key is not None
                group.value[group.key], group.key = value, None
        if not isinstance(event, yaml.ScalarEvent):
            self._open.append(_Group(value, path))
            if len(self._open) > MAX_DEPTH:
                self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")

    def _key(self, event: Any, group: _Group) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key must be text, not a list or a group")
        value = self._scalar(event)
        if not isinstance(value, str) or not value:
            self._refuse(event, f"a key must be text: put '{event.value[:40]}' in quotes")
        if value == "<<" or len(value) > MAX_KEY:
            self._refuse(
                event, "merge keys are not read" if value == "<<" else f"a key of {len(value)} characters"
            )
        path = (*group.path, value)
        if path in self.lines:
            self._refuse(
                event, f"key '{value}' is given twice, first in line {self.lines[path]}. Keep one of them"
            )
        self.lines[path] = event.start_mark.line + 1
        return value

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if len(text) > MAX_TEXT:
            self._refuse(event, f"a text of {len(text):,} characters, at most {MAX_TEXT:,} are read")
        bad = UNPRINTABLE.search(text)
        if bad:
            self._refuse(event, f"holds the control character U+{ord(bad.group()):04X}. Leave it out")
        if event.style is not None and event.style != "":
            return text
        try:
            return plain_scalar(text)
        except ValueError as error:
            self._refuse(event, f"'{text[:40]}' {error}")

    def _refuse(self, event: yaml.Event, what: str) -> Any:
        raise ConfigError(f"'{self._name}', line {event.start_mark.line + 1}: {printable(what)}.")
