"""Typed configuration: defaults live in the types, YAML files and `key=value` overrides only change them.

    class Ppo(Config):
        learning_rate: float = 1e-3

    ppo = load_config(Ppo, "ppo.yaml", ["learning_rate=3e-4"])

Unknown keys are refused with the nearest known name. `Config.to_yaml()` writes the resolved config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from robolearn.errors import ConfigError, unknown
from robolearn.files.printable import printable
from robolearn.files.reading import read_regular
from robolearn.files.strict_yaml import MAX_BYTES, Document, dump_yaml, parse_yaml, plain_scalar

_PACKAGED = Path(__file__).parent / "configs"
_CHECKOUT = Path(__file__).parent.parent / "configs"


def _strict_scalars(schema: Any) -> Any:
    """The schema with every scalar in it strict; pydantic's own switch would make tuples and paths strict as well."""
    if isinstance(schema, dict):
        if schema.get("type") in ("float", "int", "bool", "str"):
            schema.setdefault("strict", True)
        for key, part in schema.items():
            if key not in ("default", "metadata", "serialization"):
                _strict_scalars(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _strict_scalars(part)
    return schema


class Config(BaseModel):
    """Base of every config: frozen, closed to keys it does not know, and strict about kinds of scalars.

    Numbers are accepted neither as text nor as booleans, integers must be whole, and every number is finite. Lists
    become tuples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _strict_scalars(handler(source))

    def to_yaml(self) -> str:
        """The resolved config as YAML, in the order of its fields."""
        return dump_yaml(self.model_dump(mode="json"))


C = TypeVar("C", bound=BaseModel)
Line = Callable[..., int | None]
_MOST_FAULTS = 20
_LONGEST_VALUE = 120


def config_dir() -> Path:
    """The folder of configs that came with robolearn: in a wheel, or at the top of a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def config_path(name: str | Path) -> Path:
    """The file that a path or a packaged name such as `safety/fr3.yaml` means.

    A file in the working directory wins over a packaged one of the same name.
    Raises ConfigError if there is none.
    """
    given = Path(name).expanduser()
    if given.is_file() or (
        given.exists() and not given.is_dir()
    ):  # what is not a regular file is refused on reading
        return given
    packaged = config_dir() / name
    if not given.is_absolute() and packaged.is_file():
        return packaged
    if given.is_absolute() or len(given.parts) < 2:
        raise ConfigError(f"No config file '{name}'. Give the path of a YAML file.")
    folder = given.parent if given.parent.is_dir() else config_dir() / given.parent
    known = [f"{given.parent}/{p.name}" for p in folder.glob("*.yaml")] if folder.is_dir() else []
    raise ConfigError(unknown("config file", str(name), known))


def read_document(path: str | Path) -> Document:
    """The mapping in a YAML file, with the line of each key and the digest of the bytes that were read.

    Raises ConfigError if the file is missing, unreadable, not strict YAML (`files.strict_yaml`) or no mapping.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"No file '{path}'.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read '{path}': {error.strerror}.") from None
    return parse_yaml(data, str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError like `read_document`."""
    return read_document(path).data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of data with `a.b=value` overrides applied; values are read by `scalar`."""
    result = _copy(data)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(
                f"Override '{override}' is not of the form key=value, such as ppo.learning_rate=3e-4."
            )
        target = result
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"Override '{override}': '{parent}' is a value, not a group of keys.")
        target[leaf] = scalar(text)
    return result


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of data with changes laid over it, group by group."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def build(kind: type[C], data: Mapping[str, Any], where: str = "config", line: Line | None = None) -> C:
    """Validate data into a config type; every problem becomes one ConfigError that names key, line and remedy.

    line: of a key by its path, such as `Document.line`.
    """
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(faults(kind, data, error, where, line)) from None


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Where the first fault is, a dotted path of at most 200 characters, and what it is; the input is not quoted.

    For files that others write, where one fault is enough.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in first["loc"])[:200], first["msg"]


def faults(
    kind: type[BaseModel], data: Any, error: ValidationError, where: str, line: Line | None = None
) -> str:
    """What is wrong with data, in words: one sentence for each fault, at most twenty."""
    found = error.errors(include_url=False, include_context=False)
    texts = dict.fromkeys(_explain(kind, data, item, where, line) for item in found)
    shown = list(texts)[:_MOST_FAULTS]
    more = len(texts) - len(shown)
    return " ".join(shown) + (f" {more} more faults are not shown." if more else "")


def overridden(
    kind: type[C], data: dict[str, Any], overrides: Iterable[str], name: str, line: Line | None = None
) -> C:
    """A config of data with `key=value` overrides. A fault that only they bring is blamed on them, not on name."""
    overrides = list(overrides)
    if not overrides:
        return build(kind, data, name, line)
    changed = apply_overrides(data, overrides)
    try:
        return build(kind, changed, name)  # an override has no line
    except ConfigError as error:
        try:
            build(kind, data, name, line)
        except ConfigError:
            raise error from None  # the file's own, or both
        return build(kind, changed, f"{' '.join(overrides)} (command line)")


def load_config(kind: type[C], path: str | Path | None = None, overrides: Iterable[str] = ()) -> C:
    """A config from its defaults, then a YAML file, then overrides."""
    document = read_document(config_path(path)) if path is not None else Document({}, "config")
    return overridden(kind, document.data, overrides, str(path) if path else "config", document.line)


def scalar(text: str) -> Any:
    """A value that was typed: as an unquoted scalar in YAML, a list or group in YAML's flow form, or text.

    Text that YAML 1.1 takes for something else, such as `yes` and `1:30`, stays text, which no number accepts.
    """
    if text[:1] in ("[", "{", "'", '"'):
        try:
            return parse_yaml(f"value: {text}\n", "value").data["value"]
        except (ConfigError, KeyError):
            return text
    try:
        return plain_scalar(text)
    except ValueError:
        return text


def _copy(data: Any) -> Any:
    return {k: _copy(v) for k, v in data.items()} if isinstance(data, dict) else data


# Keys of versions before 0.2, for the error message.
RENAMED = {
    "imitate": "imitation_fraction",
    "trace_decay": "gae_lambda",
    "gradient_norm_max": "max_grad_norm",
}


def _explain(kind: type[BaseModel], data: Any, item: Any, where: str, line: Line | None) -> str:
    location = list(_in_data(data, item["loc"], item["type"] == "missing"))
    key = printable(".".join(str(part) for part in location))
    at = None if line is None else line(*location)
    where = where if at is None else f"{where}, line {at}"
    if item["type"] == "extra_forbidden":
        groups = [str(part) for part in location[:-1]]
        renamed = RENAMED.get(str(location[-1]))
        if renamed is not None:
            return f"{where}: key '{key}' is now called '{'.'.join([*groups, renamed])}'."
        known = [".".join([*groups, name]) for name in _fields_at(kind, groups)]
        return f"{where}: " + unknown("key", key, known)
    if item["type"] == "missing":
        return f"{where}: key '{key}' is missing."
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], Mapping):
        # A check of several keys together: it names them itself, and the group may hold very many.
        return f"{where}: key '{key}': {message}." if key else f"{where}: {message}."
    value = printable(repr(item["input"]))
    if len(value) > _LONGEST_VALUE:
        value = f"{value[:_LONGEST_VALUE]}..."
    return f"{where}: key '{key}' is {value}: {message.rstrip('.')}" + ("" if message.endswith("?") else ".")


def _in_data(data: Any, location: tuple[str | int, ...], missing: bool) -> Iterator[str | int]:
    """The location without the names that pydantic puts in for the members of a union."""
    for number, part in enumerate(location):
        if isinstance(data, Mapping):
            inside = part in data
        else:
            inside = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if inside:
            data = data[part]  # pyright: ignore[reportCallIssue, reportArgumentType]
        if inside or (missing and number == len(location) - 1):
            yield part


def _fields_at(kind: type[BaseModel], groups: list[str]) -> list[str]:
    """The keys that exist in a group; indices of lists and names in mappings are passed over."""
    current = [kind]
    for part in groups:
        fields = [model.model_fields[name] for model in current for name in _names(model, part)]
        if fields:
            current = list(_models(fields[0].annotation))
    return [field.alias or name for model in current for name, field in model.model_fields.items()]


def _names(model: type[BaseModel], key: str) -> list[str]:
    return [name for name, field in model.model_fields.items() if key in (name, field.alias)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)
