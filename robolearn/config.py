"""Typed configuration: defaults live in the types, YAML files and `key=value` overrides only change them.

    class Ppo(Config):
        learning_rate: float = 1e-3

    ppo = load_config(Ppo, "ppo.yaml", ["learning_rate=3e-4"])

Unknown keys are refused with the nearest known name. `Config.to_yaml()` writes the resolved config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from robolearn.errors import ConfigError, unknown

_PACKAGED = Path(__file__).parent / "configs"
_CHECKOUT = Path(__file__).parent.parent / "configs"


class Config(BaseModel):
    """Base of every config: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def to_yaml(self) -> str:
        """The resolved config as YAML, in the order of its fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=110)


C = TypeVar("C", bound=BaseModel)


def config_dir() -> Path:
    """The folder of configs that came with robolearn: in a wheel, or at the top of a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def config_path(name: str | Path) -> Path:
    """The file that a path or a packaged name such as `safety/fr3.yaml` means.

    A file in the working directory wins over a packaged one of the same name.
    Raises ConfigError if there is none.
    """
    given = Path(name).expanduser()
    if given.is_file():
        return given
    packaged = config_dir() / name
    if not given.is_absolute() and packaged.is_file():
        return packaged
    if given.is_absolute() or len(given.parts) < 2:
        raise ConfigError(f"No config file '{name}'. Give the path of a YAML file.")
    folder = config_dir() / given.parent
    known = [f"{given.parent}/{p.name}" for p in folder.glob("*.yaml")] if folder.is_dir() else []
    raise ConfigError(unknown("config file", str(name), known))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError if the file is missing, unreadable or no mapping."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No file '{path}'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read '{path}': {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"'{path}' must hold `key: value` lines at the top, not a {type(data).__name__}.")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of data with `a.b=value` overrides applied; values are read as YAML."""
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
        target[leaf] = _scalar(text)
    return result


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of data with changes laid over it, group by group."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def build(kind: type[C], data: Mapping[str, Any], where: str = "config") -> C:
    """Validate data into a config type; every problem becomes one ConfigError that names key and remedy."""
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(kind, item, where) for item in error.errors())) from None


def load_config(kind: type[C], path: str | Path | None = None, overrides: Iterable[str] = ()) -> C:
    """A config from its defaults, then a YAML file, then overrides."""
    data = read_yaml(config_path(path)) if path is not None else {}
    return build(kind, apply_overrides(data, overrides), str(path) if path else "config")


def _scalar(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):  # YAML 1.1 reads 3e-4 as a string
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _copy(data: Any) -> Any:
    return {k: _copy(v) for k, v in data.items()} if isinstance(data, dict) else data


def _explain(kind: type[BaseModel], item: Any, where: str) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        fields = _fields_at(kind, location[:-1])
        return f"{where}: " + unknown("key", key, [".".join([*location[:-1], name]) for name in fields])
    if item["type"] == "missing":
        return f"{where}: key '{key}' is missing."
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], Mapping):
        # A check of several keys together: it names them itself, and the group may hold very many.
        return f"{where}: key '{key}': {message}." if key else f"{where}: {message}."
    return f"{where}: key '{key}' is {item['input']!r}: {message}."


def _fields_at(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the model nested at a location; empty where the types do not tell."""
    current: Any = kind
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return []
        current = field.annotation
        for option in getattr(current, "__args__", ()):  # Optional[Model], list[Model], dict[str, Model]
            if isinstance(option, type) and issubclass(option, BaseModel):
                current = option
    return list(getattr(current, "model_fields", {}))
